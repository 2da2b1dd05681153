// SPDX-License-Identifier: MIT
//
// giveback: asks the worker for each way of freeing, and compares what is left with the bar.
#include "giveback.hpp"

#include "answers.hpp"

#include <algorithm>

namespace allot_bench {

namespace {

namespace fs = std::filesystem;

constexpr double mib = 1 << 20;

struct way {
    const char* name;
    const char* title;
};

constexpr way ways[] = {{"own", "freed by the thread that allocated"},
                        {"other", "freed by the other thread"},
                        {"polled", "without the library's thread, allot_poll called"}};

void print_way(const way& one, const answers& all, std::vector<verdict>& verdicts) {
    const auto sample = [&](const char* what) { return sum_up(samples_of(all, std::string{one.name} + "_" + what)); };
    const figure base = sample("base");
    const figure left = sample("left");
    print_row(one.title, text("%.1f MiB +- %.1f", left.median / mib, left.spread() / mib));
    print_row("  before the first group; at the peak",
              text("%.1f MiB; %.1f MiB", base.median / mib, sample("peak").median / mib));
    print_row("  under the bar after",
              text("%.2f s +- %.2f", sample("under_bar_s").median, sample("under_bar_s").spread()));
    // The slowest round counts, against the lowest bar.
    const double worst = left.most / mib;
    verdicts.push_back(
        judge(11, std::string{"left, "} + one.title, {{worst, worst, worst}}, sample("bar").least / mib, "MiB"));
}

} // namespace

std::string run_giveback(const giveback_task& what, const fs::path& folder, std::vector<verdict>& verdicts) {
    answers all;
    for (std::size_t round = 0; round < what.rounds; ++round) {
        std::fprintf(stderr, "allot_bench: giveback, round %zu of %zu\n", round + 1, what.rounds);
        for (const way& one : ways)
            if (std::string trouble = ask(beside("allot_bench_giveback"),
                                          {one.name, std::to_string(what.peak_mib), std::to_string(what.groups)}, all,
                                          std::string{one.name} + "_");
                !trouble.empty())
                return trouble;
    }
    std::printf("\nresident memory 2 s after a peak of %zu MiB in %zu groups; median +- spread of %zu rounds\n",
                what.peak_mib, what.groups, what.rounds);
    for (const way& one : ways)
        print_way(one, all, verdicts);
    plot picture{"giveback", "memory that comes back", "", "resident MiB", {}, {"before", "peak", "2 s later"}};
    for (const way& one : ways) {
        const std::string name = std::string{one.name} + "_";
        picture.lines.push_back(line_through(all, one.name, {name + "base", name + "peak", name + "left"}, mib, true));
    }
    return write_and_draw(all, {picture}, folder, "giveback");
}

} // namespace allot_bench
