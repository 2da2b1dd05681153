// SPDX-License-Identifier: MIT
//
// lifecycle: asks the worker each question, compares the answers with the bars, and measures the kernel's groups beside ours.
//
// Idea.        The kernel's price of a memory cgroup is measured where this process may make one, directly below the root of a
//              hierarchy, so that no group of anybody else is touched; elsewhere a constant stands for it, and is called one.
#include "lifecycle.hpp"

#include "answers.hpp"

#include <chrono>
#include <fstream>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace allot_bench {

namespace {

namespace fs = std::filesystem;

constexpr double close_ratio_bar = 1.5;
constexpr double kernel_ratio_bar = 200;
constexpr double live_bytes_bar = 1024;
constexpr double growth_bytes_bar = 1 << 20;
constexpr double idle_seconds_bar = 1;
/// mkdir and rmdir of an empty memory cgroup, as measured on a machine that lets one make them.
constexpr double kernel_ns_constant = 81'000;

std::string ask_everything(const lifecycle_task& what, answers& all) {
    std::vector<std::vector<std::string>> questions{
        {"close", std::to_string(what.rounds), std::to_string(what.objects_most)}};
    for (std::size_t round = 0; round < what.rounds; ++round)
        questions.push_back({"empty", std::to_string(what.cycles / 10)});
    questions.push_back({"live", std::to_string(what.live_groups)});
    questions.push_back({"cycles", std::to_string(what.cycles)});
    for (std::size_t round = 0; round < what.rounds; ++round)
        questions.push_back({"idle", std::to_string(what.idle_groups)});
    for (const auto& question : questions) {
        std::fprintf(stderr, "allot_bench: lifecycle, %s\n", question[0].c_str());
        if (std::string trouble = ask(beside("allot_bench_lifecycle"), question, all); !trouble.empty())
            return trouble;
    }
    return "";
}

// --- The kernel's groups -----------------------------------------------------------------------------------------------------

bool has_word(const std::string& text, const std::string& word, char separator) {
    std::istringstream in{text};
    for (std::string part; std::getline(in, part, separator);)
        if (part == word)
            return true;
    return false;
}

/// The root of a hierarchy in which a new directory is a memory cgroup and may be made; "" if there is none.
fs::path writable_hierarchy() {
    std::ifstream in{"/proc/mounts"};
    for (std::string line; std::getline(in, line);) {
        std::istringstream words{line};
        std::string device, place, type, options;
        words >> device >> place >> type >> options;
        bool controls_memory = type == "cgroup" && has_word(options, "memory", ',');
        if (type == "cgroup2") {
            std::string enabled;
            std::getline(std::ifstream{place + "/cgroup.subtree_control"}, enabled);
            controls_memory = has_word(enabled, "memory", ' ');
        }
        if (controls_memory && access(place.c_str(), W_OK) == 0)
            return place;
    }
    return "";
}

/// ns of a mkdir with its rmdir, by round; empty if they cannot be had.
std::vector<double> kernel_samples(std::size_t rounds) {
    using steady = std::chrono::steady_clock;
    constexpr int cycles = 200;
    const fs::path hierarchy = writable_hierarchy();
    const std::string place = (hierarchy / ("allot_bench_" + std::to_string(getpid()))).string();
    std::vector<double> samples;
    for (std::size_t round = 0; !hierarchy.empty() && round < rounds; ++round) {
        const steady::time_point start = steady::now();
        for (int i = 0; i < cycles; ++i)
            if (mkdir(place.c_str(), 0700) != 0 || rmdir(place.c_str()) != 0)
                return {};
        samples.push_back(std::chrono::duration<double, std::nano>(steady::now() - start).count() / cycles);
    }
    return samples;
}

// --- The table ----------------------------------------------------------------------------------------------------------------

void print_row(const std::string& what, const std::string& measured, const std::string& bar, const char* verdict) {
    std::printf("%-46s %-26s %-16s %s\n", what.c_str(), measured.c_str(), bar.c_str(), verdict);
}

const char* verdict(bool holds) { return holds ? "holds" : "MISSED"; }

/// A ratio that is smaller than its own spread says nothing, whatever side of the bar it is on.
const char* verdict(const ratio& measured, bool holds) { return measured.may_be_printed() ? verdict(holds) : "noisy"; }

std::string microseconds(const figure& ns) { return text("%.2f us +- %.0f %%", ns.median / 1e3, ns.spread_percent()); }

void print_closes(const lifecycle_task& what, const answers& all) {
    std::vector<double> most;
    for (std::size_t count = 100; count <= what.objects_most; count *= 10) {
        most = all.at("close_" + std::to_string(count));
        print_row(text("close(), %zu live objects", count), microseconds(sum_up(most)), "", "");
        print_row("  and all that it defers", microseconds(sum_up(all.at("settle_" + std::to_string(count)))), "", "");
    }
    const ratio grown = ratio_between(most, all.at("close_100"));
    print_row("close(), most objects to fewest", text("%.2f x +- %.0f %%", grown.median, grown.spread_percent()),
              text("<= %.1f x", close_ratio_bar), verdict(grown, grown.median <= close_ratio_bar));
}

void print_empty(const answers& all, const std::vector<double>& kernel) {
    const std::vector<double>& ours = all.at("empty");
    const bool is_measured = !kernel.empty();
    const std::vector<double> theirs = is_measured ? kernel : std::vector<double>(ours.size(), kernel_ns_constant);
    print_row("create + close, empty, the caller's part", microseconds(sum_up(all.at("empty_called"))), "", "");
    print_row("create + close, empty, until freed", microseconds(sum_up(ours)), "", "");
    print_row("kernel: mkdir + rmdir of a memory cgroup", microseconds(sum_up(theirs)), "",
              is_measured ? "(measured here)" : "(a constant: no hierarchy to measure in)");
    const ratio faster = ratio_between(theirs, ours);
    print_row("  ours is faster by", text("%.0f x +- %.0f %%", faster.median, faster.spread_percent()),
              text(">= %.0f x", kernel_ratio_bar), verdict(faster, faster.median >= kernel_ratio_bar));
}

void print_memory(const lifecycle_task& what, const answers& all) {
    const double live = all.at("live")[0];
    print_row(text("a live empty group, of %zu", what.live_groups), text("%.0f B resident", live),
              text("<= %.0f B", live_bytes_bar), verdict(live <= live_bytes_bar));
    const double before = all.at("cycles_before")[0];
    const double after = all.at("cycles_after")[0];
    const double start = all.at("cycles_start")[0];
    print_row(text("%zu create + close: resident memory", what.cycles),
              text("%.2f -> %.2f MiB", before / (1 << 20), after / (1 << 20)),
              text("<= +%.0f MiB", growth_bytes_bar / (1 << 20)), verdict(after - before <= growth_bytes_bar));
    print_row("  before the first tenth of them", text("%.2f MiB", start / (1 << 20)), "", "");
    const figure idle = sum_up(all.at("idle_s"));
    const double dying = sum_up(all.at("idle_dying")).most;
    const double left = sum_up(all.at("idle_left")).median / (1 << 20);
    print_row("closed groups' memory back, idling", text("%.2f s, %.0f groups left", idle.median, dying),
              text("<= %.0f s", idle_seconds_bar), verdict(idle.most <= idle_seconds_bar && dying == 0));
    print_row("  resident: before, most, then",
              text("%.0f, %.0f, %.0f MiB", sum_up(all.at("idle_before")).median / (1 << 20),
                   sum_up(all.at("idle_most")).median / (1 << 20), left),
              "", "");
}

plot picture_of_closes(const lifecycle_task& what, const answers& all) {
    std::vector<unsigned long> counts;
    for (std::size_t count = 100; count <= what.objects_most; count *= 10)
        counts.push_back(count);
    plot picture{"lifecycle", "closing a group", "live objects", "us", {}, {}};
    picture.counts = true;
    picture.lines = {line_over(all, "close()", "close_", counts, 1e3, true),
                     line_over(all, "until all is done", "settle_", counts, 1e3, false)};
    return picture;
}

} // namespace

std::string run_lifecycle(const lifecycle_task& what, const fs::path& folder) {
    answers all;
    if (std::string trouble = ask_everything(what, all); !trouble.empty())
        return trouble;
    const std::vector<double> kernel = kernel_samples(what.rounds);
    std::printf("\nlife of groups; median +- spread of %zu rounds\n", what.rounds);
    print_row("", "measured", "bar", "");
    print_closes(what, all);
    print_empty(all, kernel);
    print_memory(what, all);
    if (!kernel.empty())
        all["kernel"] = kernel;
    return write_and_draw(all, {picture_of_closes(what, all)}, folder, "lifecycle");
}

} // namespace allot_bench
