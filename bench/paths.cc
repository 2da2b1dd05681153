// SPDX-License-Identifier: MIT
//
// paths: what single paths of the library cost: scopes, and pairs in warm and in cold groups.
#include "paths.hpp"

#include "answers.hpp"

#include <cstdio>

namespace allot_bench {

namespace {

namespace fs = std::filesystem;

constexpr double scope_bar_ns = 2;
constexpr double switch_bar_ns = 10;
constexpr double cold_bar = 2.5;

struct known_path {
    const char* name;
    const char* what;
};

constexpr known_path known_paths[] = {
    {"scope", "enter and leave one group"},
    {"switch", "enter and leave the next of 1,000 groups"},
    {"hot_pair", "a pair of 64 B, hot"},
    {"cold_pair", "a pair of 64 B, cold"},
};

std::string measure_round(answers& all) {
    if (std::string trouble = ask(beside("allot_bench_paths"), {}, all); !trouble.empty())
        return trouble;
    for (const known_path& path : known_paths)
        if (all[path.name].empty())
            return std::string{"did not measure "} + path.name;
    return "";
}

plot picture_of_paths(const answers& all) {
    plot picture{"paths", "paths of the library", "", "ns", {}, {}};
    for (const known_path& path : known_paths)
        picture.x_names.emplace_back(path.name);
    picture.lines.push_back(line_through(all, "allot", picture.x_names, 1, true));
    return picture;
}

} // namespace

std::string run_paths(std::size_t rounds, const fs::path& folder, std::vector<verdict>& verdicts) {
    answers all;
    for (std::size_t round = 0; round < rounds; ++round)
        if (std::string trouble = measure_round(all); !trouble.empty())
            return trouble;
    std::printf("\npaths of the library, static; median +- spread of %zu rounds\n", rounds);
    for (const known_path& path : known_paths) {
        const figure ns = sum_up(all.at(path.name));
        std::printf("%-46s %7.2f ns +- %.0f %%\n", path.what, ns.median, ns.spread_percent());
    }
    verdicts.push_back(judge(8, "enter and leave one group", {sum_up(all.at("scope"))}, scope_bar_ns, "ns"));
    verdicts.push_back(judge(8, "the next of 1,000 groups", {sum_up(all.at("switch"))}, switch_bar_ns, "ns"));
    verdicts.push_back(
        judge(10, "cold pair / hot pair", ratio_between(all.at("cold_pair"), all.at("hot_pair")), cold_bar, "x"));
    return write_and_draw(all, {picture_of_paths(all)}, folder, "paths");
}

} // namespace allot_bench
