// SPDX-License-Identifier: MIT
//
// paths: what single paths of the library cost: scopes, and pairs in warm and in cold groups.
#include "paths.hpp"

#include "child.hpp"
#include "plot.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>

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

/// ns by path, a number for each round.
using times = std::map<std::string, std::vector<double>>;

std::string measure_round(times& all) {
    const fs::path worker = fs::read_symlink("/proc/self/exe").parent_path() / "allot_bench_paths";
    const outcome ended = run(worker, {}, "", 60);
    if (!ended.trouble.empty())
        return ended.trouble;
    std::istringstream in{ended.output};
    for (std::string line; std::getline(in, line);)
        if (const std::size_t comma = line.find(','); comma != std::string::npos)
            all[line.substr(0, comma)].push_back(std::strtod(line.c_str() + comma + 1, nullptr));
    for (const known_path& path : known_paths)
        if (all[path.name].empty())
            return std::string{"did not measure "} + path.name;
    return "";
}

ratio cold_to_hot(const times& all) {
    std::vector<double> ratios;
    const std::vector<double>& cold = all.at("cold_pair");
    const std::vector<double>& hot = all.at("hot_pair");
    for (std::size_t round = 0; round < std::min(cold.size(), hot.size()); ++round)
        ratios.push_back(cold[round] / hot[round]);
    return {sum_up(ratios)};
}

std::string write_times(const times& all, const fs::path& folder) {
    std::error_code error;
    fs::create_directories(folder, error);
    std::FILE* const file = std::fopen((folder / "paths.csv").c_str(), "w");
    if (file == nullptr)
        return folder.string() + ": " + std::strerror(errno);
    std::fprintf(file, "path,round,ns\n");
    for (const known_path& path : known_paths)
        for (std::size_t round = 0; round < all.at(path.name).size(); ++round)
            std::fprintf(file, "%s,%zu,%.4f\n", path.name, round + 1, all.at(path.name)[round]);
    return std::fclose(file) == 0 ? "" : std::strerror(errno);
}

void draw_times(const times& all, const fs::path& folder) {
    plot picture{"paths", "paths of the library", "", "ns", {{"allot", {}, true}}, {}};
    for (const known_path& path : known_paths) {
        const auto place = static_cast<double>(picture.x_names.size());
        picture.lines[0].points.push_back({place, sum_up(all.at(path.name))});
        picture.x_names.emplace_back(path.name);
    }
    if (const std::string trouble = draw({picture}, folder, "paths"); !trouble.empty())
        std::printf("left out  the plot: %s\n", trouble.c_str());
}

} // namespace

std::string run_paths(std::size_t rounds, const fs::path& folder, std::vector<verdict>& verdicts) {
    times all;
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
    verdicts.push_back(judge(10, "cold pair / hot pair", cold_to_hot(all), cold_bar, "x"));
    if (std::string trouble = write_times(all, folder); !trouble.empty())
        return trouble;
    draw_times(all, folder);
    return "";
}

} // namespace allot_bench
