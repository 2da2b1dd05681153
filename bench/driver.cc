// SPDX-License-Identifier: MIT
//
// allot_bench: measures allot beside other allocators, each in a process of its own, round by round.
//
// Idea.        A round runs every variant once, each round beginning with another one, so that what changes slowly on the machine
//              (clock, neighbours, heat) meets all of them. docs/benchmarks.md says how to read the output.
#include "bars.hpp"
#include "cells.hpp"
#include "child.hpp"
#include "density.hpp"
#include "giveback.hpp"
#include "heaps.hpp"
#include "lifecycle.hpp"
#include "paths.hpp"
#include "programs.hpp"
#include "scaling.hpp"
#include "tables.hpp"
#include "variants.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string_view>
#include <sys/utsname.h>
#include <thread>

namespace allot_bench {

namespace {

constexpr const char* usage = "usage: allot_bench [OPTIONS]\n"
                              "  --quick              3 rounds, 4 ms a cell: a first look, no result\n"
                              "  --rounds N           rounds (7)\n"
                              "  --cell-ms N          milliseconds that a cell takes (20; in scaling 10)\n"
                              "  --tables LIST        of speed,paths,scaling,lifecycle,heaps,density,giveback,\n"
                              "                       programs (all)\n"
                              "  --works LIST         of pair,lifo,fifo,random,churn,remote,ring,oversub (all)\n"
                              "  --sizes LIST         bytes, for all works; without: 16 to 1024, and 4 KiB to 1 MiB\n"
                              "                       where threads work alone, by factors of 4\n"
                              "  --threads LIST       where threads work alone (1,2)\n"
                              "  --only LIST          allocators (all that are there)\n"
                              "  --linkage HOW        preloaded or static (both)\n"
                              "  --peer NAME=PATH.so  one more peer to preload; may be given again\n"
                              "  --no-group           allot without a group: charges the root alone\n"
                              "  --out DIR            where the CSV files and plots go (build/bench)\n";

struct options {
    std::size_t rounds = 7;
    task what;
    std::vector<std::string> works = names_of_works();
    std::vector<unsigned long> sizes; // none: the usual ones
    std::vector<unsigned long> threads{1, 2};
    scaling_task scaling;
    lifecycle_task groups;
    heaps_task heaps;
    density_task density;
    giveback_task giveback;
    programs_task programs;
    std::vector<std::string> shown{"speed", "paths",   "scaling",  "lifecycle",
                                   "heaps", "density", "giveback", "programs"};
    std::vector<std::string> only;
    std::string linkage;
    std::vector<extra_peer> peers;
    std::filesystem::path out;
};

[[noreturn]] void bad_use(const std::string& text) {
    std::fprintf(stderr, "allot_bench: %s; see --help\n", text.c_str());
    std::exit(2);
}

unsigned long number(std::string_view option, std::string_view text, unsigned long least, unsigned long most) {
    unsigned long value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value < least || value > most)
        bad_use(std::string{option} + " takes numbers from " + std::to_string(least) + " to " + std::to_string(most) +
                ", not '" + std::string{text} + "'");
    return value;
}

std::vector<std::string> split(const std::string& list) {
    std::vector<std::string> parts;
    std::istringstream in{list};
    for (std::string part; std::getline(in, part, ',');)
        parts.push_back(part);
    return parts;
}

std::vector<unsigned long> numbers(std::string_view option, const std::string& list, unsigned long most) {
    std::vector<unsigned long> values;
    for (const std::string& part : split(list))
        values.push_back(number(option, part, 1, most));
    if (values.empty())
        bad_use(std::string{option} + " needs a value");
    return values;
}

std::vector<std::string> some_of(const std::vector<std::string>& known, const std::string& kind,
                                 const std::string& list) {
    std::vector<std::string> chosen = split(list);
    for (const std::string& one : chosen)
        if (std::find(known.begin(), known.end(), one) == known.end())
            bad_use("there is no " + kind + " '" + one + "'");
    if (chosen.empty())
        bad_use("--" + kind + "s needs a value");
    return chosen;
}

extra_peer peer(const std::string& text) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0)
        bad_use("--peer takes NAME=PATH, not '" + text + "'");
    extra_peer one{text.substr(0, equals), text.substr(equals + 1)};
    for (const char* taken : {"allot", "glibc", "jemalloc", "mimalloc", "tcmalloc", "tbb", "allot-root", "floor"})
        if (one.name == taken)
            bad_use("--peer: the name '" + one.name + "' is taken");
    if (one.name.find(',') != std::string::npos || !std::filesystem::exists(one.library))
        bad_use("--peer: there is no file '" + one.library.string() + "'");
    return one;
}

void set_rounds(options& chosen, unsigned long rounds) {
    chosen.rounds = chosen.groups.rounds = chosen.heaps.rounds = rounds;
    chosen.scaling.rounds = chosen.density.rounds = chosen.giveback.rounds = chosen.programs.rounds = rounds;
}

/// A first look: 3 rounds at most, and little of everything.
void be_quick(options& chosen) {
    set_rounds(chosen, 3);
    chosen.scaling.cell_ms = 2;
    chosen.groups = quick_lifecycle;
    chosen.heaps.cell_ms = 30;
    chosen.density = {1, 2'000};
    chosen.giveback = {1, 256, 50};
    chosen.programs.rounds = 1;
    chosen.what.cell_ms = 4;
}

void take(options& chosen, const std::string& option, const std::string& value) {
    if (option == "--rounds")
        set_rounds(chosen, number(option, value, 1, 1000));
    else if (option == "--cell-ms")
        chosen.what.cell_ms = static_cast<double>(chosen.scaling.cell_ms = number(option, value, 1, 10'000));
    else if (option == "--works")
        chosen.works = some_of(names_of_works(), "work", value);
    else if (option == "--tables")
        chosen.shown = some_of(options{}.shown, "table", value);
    else if (option == "--sizes")
        chosen.sizes = numbers(option, value, 1ul << 20);
    else if (option == "--threads")
        chosen.threads = numbers(option, value, 64);
    else if (option == "--only")
        chosen.only = split(value);
    else if (option == "--linkage" && (value == "preloaded" || value == "static"))
        chosen.linkage = value;
    else if (option == "--linkage")
        bad_use("--linkage is preloaded or static, not '" + value + "'");
    else if (option == "--peer")
        chosen.peers.push_back(peer(value));
    else if (option == "--out")
        chosen.out = value;
    else
        bad_use("there is no option '" + option + "'");
}

options parse(int argc, char** argv) {
    options chosen;
    for (int index = 1; index < argc; ++index) {
        const std::string option = argv[index];
        if (option == "--help" || option == "-h") {
            std::fputs(usage, stdout);
            std::exit(0);
        }
        if (option == "--quick") {
            be_quick(chosen);
        } else if (option == "--no-group") {
            chosen.what.grouped = false;
        } else if (const std::size_t equals = option.find('=');
                   option.starts_with("--") && equals != std::string::npos) {
            take(chosen, option.substr(0, equals), option.substr(equals + 1));
        } else if (index + 1 < argc) {
            take(chosen, option, argv[++index]);
        } else {
            bad_use(option.starts_with("--") ? option + " needs a value, or does not exist"
                                             : "what is '" + option + "'?");
        }
    }
    chosen.what.cells = make_cells(chosen.works, chosen.sizes, chosen.threads);
    if (chosen.out.empty())
        chosen.out = std::filesystem::weakly_canonical(std::filesystem::read_symlink("/proc/self/exe").parent_path() /
                                                       ALLOT_BENCH_OUT);
    return chosen;
}

std::string processor() {
    std::ifstream in{"/proc/cpuinfo"};
    for (std::string line; std::getline(in, line);)
        if (line.starts_with("model name"))
            return line.substr(std::min(line.size(), line.find(':') + 2));
    return "unknown processor";
}

/// Prints what it runs on, with a warning if it is not alone there.
void print_machine() {
    utsname system{};
    uname(&system);
    const unsigned cores = std::thread::hardware_concurrency();
    double load = 0;
    getloadavg(&load, 1);
    std::printf("machine   %s, %u cores, %s %s %s\n", processor().c_str(), cores, system.sysname, system.release,
                system.machine);
    if (load > 0.5 * cores)
        std::printf("warning   the load is %.1f on %u cores: other programs disturb the times\n", load, cores);
}

void print_heading(const options& chosen, const std::vector<variant>& usable, const std::vector<absence>& absent) {
    print_machine();
    std::printf("runs      %zu rounds, interleaved; %.0f ms a cell; each allocator in a process of its own\n",
                chosen.rounds, chosen.what.cell_ms);
    std::printf("allot     %s\n",
                chosen.what.grouped ? "inside /bench/tenant/query, a limit at each level" : "no group");
    std::printf("measured ");
    for (const variant& who : usable)
        std::printf(" %s (%s)", who.name.c_str(), name_of(who.how));
    std::putchar('\n');
    for (const absence& one : absent)
        std::printf("left out  %s (%s): %s\n", one.name.c_str(), name_of(one.how), one.reason.c_str());
    std::fflush(stdout);
}

/// Leaves the variants that the user wants.
void choose(std::vector<variant>& usable, const options& chosen) {
    std::erase_if(usable, [&](const variant& who) {
        const bool named = std::find(chosen.only.begin(), chosen.only.end(), who.name) != chosen.only.end();
        const bool pointless = who.is == role::root && !chosen.what.grouped;
        return pointless || (!chosen.only.empty() && !named) ||
               (!chosen.linkage.empty() && chosen.linkage != name_of(who.how));
    });
}

/// Runs all rounds. A variant that fails is taken out, with all its samples. Returns: false if that was ours.
bool measure_all(std::vector<variant>& usable, const options& chosen) {
    bool ours_ran = true;
    for (std::size_t round = 0; round < chosen.rounds; ++round) {
        std::fprintf(stderr, "allot_bench: round %zu of %zu\n", round + 1, chosen.rounds);
        for (std::size_t turn = 0; turn < usable.size(); ++turn) {
            variant& who = usable[(turn + round) % usable.size()];
            if (who.worker.empty())
                continue;
            const std::string trouble = run_round(who, chosen.what);
            if (trouble.empty())
                continue;
            std::printf("failed    %s (%s), round %zu: %s\n", who.name.c_str(), name_of(who.how), round + 1,
                        trouble.c_str());
            ours_ran = ours_ran && who.is != role::ours;
            who.worker.clear();
        }
    }
    std::erase_if(usable, [](const variant& who) { return who.worker.empty(); });
    return ours_ran;
}

bool shows(const options& chosen, const char* table) {
    return std::find(chosen.shown.begin(), chosen.shown.end(), table) != chosen.shown.end();
}

/// Measures and prints how fast blocks come and go. Returns: the exit status.
int show_speed(const options& chosen, std::vector<verdict>& verdicts) {
    std::vector<absence> absent;
    std::vector<variant> usable = find_variants(chosen.peers, absent);
    choose(usable, chosen);
    print_heading(chosen, usable, absent);
    const bool ours_ran = measure_all(usable, chosen);
    if (usable.empty()) {
        std::fprintf(stderr, "allot_bench: nothing was measured\n");
        return 1;
    }
    print_tables(usable, chosen.what, stdout);
    print_means(usable, chosen.what, stdout);
    if (const std::string trouble = write_csv(usable, chosen.out); !trouble.empty()) {
        std::fprintf(stderr, "allot_bench: cannot write to %s: %s\n", chosen.out.c_str(), trouble.c_str());
        return 1;
    }
    std::printf("\nwrote samples.csv, medians.csv and ratios.csv to %s\n", chosen.out.c_str());
    if (const std::string reason = draw_tables(usable, chosen.what, chosen.out); !reason.empty())
        std::printf("left out  the plots: %s\n", reason.c_str());
    for (verdict& one : judge_speed(usable, chosen.what.cells))
        verdicts.push_back(std::move(one));
    return ours_ran ? 0 : 1;
}

/// Measures and prints what single paths cost. Returns: the exit status.
int show_paths(const options& chosen, std::vector<verdict>& verdicts) {
    if (const std::string trouble = run_paths(chosen.rounds, chosen.out, verdicts); !trouble.empty()) {
        std::fprintf(stderr, "allot_bench: paths: %s\n", trouble.c_str());
        return 1;
    }
    std::printf("\nwrote paths.csv to %s\n", chosen.out.c_str());
    return 0;
}

/// Prints all verdicts. Returns: the exit status, which does not depend on them: the numbers are the machine's too.
int show_verdicts(const options& chosen, const std::vector<verdict>& verdicts) {
    if (verdicts.empty())
        return 0;
    print_verdicts(verdicts, stdout);
    const std::string trouble = write_verdicts(verdicts, chosen.out);
    if (!trouble.empty())
        std::fprintf(stderr, "allot_bench: bars.csv: %s\n", trouble.c_str());
    return trouble.empty() ? 0 : 1;
}

/// Tells where a table went, or what went wrong. Returns: the exit status.
int say_end(const options& chosen, const char* table, const std::string& trouble) {
    if (!trouble.empty())
        std::fprintf(stderr, "allot_bench: %s: %s\n", table, trouble.c_str());
    else
        std::printf("\nwrote %s.csv to %s\n", table, chosen.out.c_str());
    std::fflush(stdout);
    return trouble.empty() ? 0 : 1;
}

int bench(int argc, char** argv) {
    options chosen = parse(argc, argv);
    chosen.programs.peers = chosen.peers;
    if (!shows(chosen, "speed"))
        print_machine();
    std::vector<verdict> verdicts;
    int status = shows(chosen, "speed") ? show_speed(chosen, verdicts) : 0;
    if (shows(chosen, "paths"))
        status |= show_paths(chosen, verdicts);
    const auto show = [&](const char* table, auto measure) {
        if (shows(chosen, table))
            status |= say_end(chosen, table, measure());
    };
    show("scaling", [&] { return run_scaling(chosen.scaling, chosen.out); });
    show("lifecycle", [&] { return run_lifecycle(chosen.groups, chosen.out); });
    show("heaps", [&] { return run_heaps(chosen.heaps, chosen.out, verdicts); });
    show("density", [&] { return run_density(chosen.density, chosen.out, verdicts); });
    show("giveback", [&] { return run_giveback(chosen.giveback, chosen.out, verdicts); });
    show("programs", [&] { return run_programs(chosen.programs, chosen.out, verdicts); });
    return status | show_verdicts(chosen, verdicts);
}

} // namespace

} // namespace allot_bench

int main(int argc, char** argv) { return allot_bench::bench(argc, argv); }
