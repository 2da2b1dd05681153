// SPDX-License-Identifier: MIT
//
// answers: asks workers, prints rows and writes samples.
#include "answers.hpp"

#include "child.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>

namespace allot_bench {

namespace fs = std::filesystem;

namespace {

/// Writes "what,round,value" lines. Returns: "" or what went wrong.
std::string write_samples(const answers& all, const fs::path& file) {
    std::error_code error;
    fs::create_directories(file.parent_path(), error);
    std::FILE* const out = std::fopen(file.c_str(), "w");
    if (out == nullptr)
        return file.string() + ": " + std::strerror(errno);
    std::fprintf(out, "what,round,value\n");
    for (const auto& [name, samples] : all)
        for (std::size_t round = 0; round < samples.size(); ++round)
            std::fprintf(out, "%s,%zu,%.4f\n", name.c_str(), round + 1, samples[round]);
    return std::fclose(out) == 0 ? "" : std::strerror(errno);
}

/// Adds the samples' point, divided by `unit`; none if there are no samples.
void add_point(plot_line& line, double x, const std::vector<double>& samples, double unit) {
    if (samples.empty())
        return;
    const figure found = sum_up(samples);
    line.points.push_back({x, {found.median / unit, found.least / unit, found.most / unit}});
}

} // namespace

fs::path beside(const std::string& name) { return fs::read_symlink("/proc/self/exe").parent_path() / name; }

std::string ask(const fs::path& worker, const std::vector<std::string>& question, answers& all,
                const std::string& prefix) {
    constexpr double seconds_most = 600;
    const outcome ended = run(worker, question, "", seconds_most);
    if (!ended.trouble.empty())
        return prefix + (question.empty() ? worker.filename().string() : question[0]) + ": " + ended.trouble;
    std::istringstream in{ended.output};
    for (std::string line; std::getline(in, line);)
        if (const std::size_t comma = line.find(','); comma != std::string::npos)
            all[prefix + line.substr(0, comma)].push_back(std::strtod(line.c_str() + comma + 1, nullptr));
    return "";
}

const std::vector<double>& samples_of(const answers& all, const std::string& name) {
    static const std::vector<double> none;
    const auto found = all.find(name);
    return found == all.end() ? none : found->second;
}

ratio ratio_between(const std::vector<double>& above, const std::vector<double>& below) {
    std::vector<double> ratios;
    for (std::size_t round = 0; round < std::min(above.size(), below.size()); ++round)
        ratios.push_back(above[round] / below[round]);
    return ratios.empty() ? ratio{} : ratio{sum_up(ratios)};
}

void print_row(const std::string& what, const std::string& measured) {
    std::printf("%-48s %s\n", what.c_str(), measured.c_str());
}

plot_line line_through(const answers& all, std::string title, const std::vector<std::string>& names, double unit,
                       bool strong) {
    plot_line line{std::move(title), {}, strong};
    for (std::size_t place = 0; place < names.size(); ++place)
        add_point(line, static_cast<double>(place), samples_of(all, names[place]), unit);
    return line;
}

plot_line line_over(const answers& all, std::string title, const std::string& prefix,
                    const std::vector<unsigned long>& places, double unit, bool strong) {
    plot_line line{std::move(title), {}, strong};
    for (const unsigned long place : places)
        add_point(line, static_cast<double>(place), samples_of(all, prefix + std::to_string(place)), unit);
    return line;
}

std::string write_and_draw(const answers& all, const std::vector<plot>& plots, const fs::path& folder,
                           const std::string& name) {
    if (std::string trouble = write_samples(all, folder / (name + ".csv")); !trouble.empty())
        return trouble;
    if (const std::string reason = draw(plots, folder, name); !reason.empty())
        std::printf("left out  the plot: %s\n", reason.c_str());
    return "";
}

} // namespace allot_bench
