// SPDX-License-Identifier: MIT
//
// scaling: asks the worker each question for each number, and prints the answers.
#include "scaling.hpp"

#include <algorithm>

namespace allot_bench {

namespace fs = std::filesystem;

namespace {

std::string measure(const scaling_task& what, answers& all) {
    for (std::size_t round = 0; round < what.rounds; ++round) {
        std::fprintf(stderr, "allot_bench: scaling, round %zu of %zu\n", round + 1, what.rounds);
        for (const sweep& one : sweeps())
            for (const unsigned long place : one.places)
                if (std::string trouble = ask(beside("allot_bench_scaling"),
                                              {one.question, std::to_string(place), std::to_string(what.cell_ms)}, all,
                                              one.question + "_");
                    !trouble.empty())
                    return trouble;
    }
    return "";
}

void print_sweep(const sweep& one, const answers& all) {
    std::printf("\n%s\n%9s", one.title.c_str(), one.x_label.c_str());
    for (const sweep::curve& curve : one.curves)
        std::printf("%18s", curve.title.c_str());
    for (const unsigned long place : one.places) {
        const std::string number = one.is_bytes ? short_bytes(static_cast<double>(place)) : std::to_string(place);
        std::printf("\n%9s", number.c_str());
        for (const sweep::curve& curve : one.curves) {
            const std::vector<double>& samples = samples_of(all, one.prefix(curve) + std::to_string(place));
            const figure ns = samples.empty() ? figure{} : sum_up(samples);
            std::printf("%18s", samples.empty()
                                    ? "-"
                                    : text("%.2f %3.0f%%", ns.median, std::min(ns.spread_percent(), 999.0)).c_str());
        }
    }
    std::putchar('\n');
}

} // namespace

const std::vector<sweep>& sweeps() {
    static const std::vector<sweep> all{{"threads",
                                         "threads, all in one group (cold: in groups of their own)",
                                         "threads",
                                         {1, 2, 4, 8, 16, 64},
                                         {{"pair", "hot pair"},
                                          {"batch", "hot batch"},
                                          {"scope", "scope"},
                                          {"cold", "cold pair"},
                                          {"remote", "freed by another"},
                                          {"pages", "pair of 2 MiB"},
                                          {"group", "create and close"}}},
                                        {"groups",
                                         "groups that one thread goes through, one after the other",
                                         "groups",
                                         {1, 10, 100, 1000, 10'000},
                                         {{"scope", "scope"}, {"scope_pair", "scope, hot pair"}}},
                                        {"depth",
                                         "depth of the group",
                                         "depth",
                                         {1, 2, 3, 5, 8, 16},
                                         {{"hot", "hot pair"}, {"cold", "cold pair"}, {"slab", "new slab, 64 KiB"}}},
                                        {"size",
                                         "size of the block, bytes",
                                         "bytes",
                                         {16, 64, 256, 1024, 4096, 16'384, 65'536, 262'144, 1'048'576, 4'194'304},
                                         {{"hot", "hot pair"}, {"cold", "cold pair"}},
                                         true}};
    return all;
}

plot picture_of(const sweep& what, const answers& all) {
    plot picture{"scaling_" + what.question, what.title, what.x_label, "ns of a core for a call", {}, {}};
    picture.counts = !what.is_bytes;
    for (const sweep::curve& curve : what.curves)
        picture.lines.push_back(line_over(all, curve.title, what.prefix(curve), what.places, 1, false));
    return picture;
}

std::string run_scaling(const scaling_task& what, const fs::path& folder) {
    answers all;
    if (std::string trouble = measure(what, all); !trouble.empty())
        return trouble;
    std::printf("\nhow calls of the library grow: ns of a core for one, median and spread of %zu rounds\n",
                what.rounds);
    std::vector<plot> pictures;
    for (const sweep& one : sweeps()) {
        print_sweep(one, all);
        pictures.push_back(picture_of(one, all));
    }
    return write_and_draw(all, pictures, folder, "scaling");
}

} // namespace allot_bench
