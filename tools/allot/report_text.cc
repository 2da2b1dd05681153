// SPDX-License-Identifier: MIT
//
// report_text: the table.
//
// Idea.        Own shares are written to the byte, so that a reader can add them up; the other sizes in units, so that a reader
//              can take them in.
// Concurrency. one thread.
#include "report.hpp"

#include "base/bytes.hpp"
#include "front/rules.hpp"

#include <algorithm>
#include <cstdio>

namespace allot::tool {

namespace {

std::string size_text(std::uint64_t bytes) {
    char buffer[base::bytes_text_size];
    base::format_bytes(buffer, sizeof buffer, bytes);
    return bytes == base::bytes_unlimited ? "-" : buffer;
}

/// 1234567 as 1,234,567.
std::string count_text(std::uint64_t count) {
    std::string digits = std::to_string(count);
    for (std::size_t at = digits.size(); at > 3;) {
        at -= 3;
        digits.insert(at, ",");
    }
    return digits;
}

std::string signed_text(std::int64_t number) {
    return number < 0 ? "-" + count_text(std::uint64_t{0} - static_cast<std::uint64_t>(number))
                      : count_text(static_cast<std::uint64_t>(number));
}

/// Columns that the eye can put: of UTF-8, the bytes that begin a character.
std::size_t width_of(const std::string& text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

/// Rows of cells; the first column is set left, the others right.
class table {
  public:
    explicit table(std::vector<std::string> head) { add(std::move(head)); }
    void add(std::vector<std::string> row) {
        widths_.resize(std::max(widths_.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i)
            widths_[i] = std::max(widths_[i], width_of(row[i]));
        rows_.push_back(std::move(row));
    }
    std::string text() const {
        std::string out;
        for (const auto& row : rows_) {
            std::string line;
            for (std::size_t i = 0; i < row.size(); ++i) {
                const std::string padding(widths_[i] - width_of(row[i]), ' ');
                line += i == 0 ? row[i] + padding : "  " + padding + row[i];
            }
            out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
        }
        return out;
    }

  private:
    std::vector<std::vector<std::string>> rows_;
    std::vector<std::size_t> widths_;
};

std::string seconds_text(double seconds) {
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, seconds < 100 ? "%.2f s" : "%.0f s", seconds);
    return buffer;
}

std::string headline(const run_report& report) {
    std::string line = "allot: " + std::string(front::file_name_of(report.command.front()));
    if (!report.end)
        return line + " has been running for " + seconds_text(report.seconds) + "\n";
    if (report.end->signal != 0)
        line += " was killed by " + signal_name(report.end->signal) + (report.end->core_dumped ? " (core dumped)" : "");
    else
        line += " ended with status " + std::to_string(report.end->status);
    return line + " after " + seconds_text(report.end->seconds) + "\n";
}

std::string program_table(const process_figures& program) {
    table t({"group", "own bytes", "current", "peak", "max", "allocations", "failures"});
    for (const group_figures& g : program.groups)
        if (g.worth_a_line())
            t.add({std::string(std::size_t{2} * g.depth, ' ') + (g.depth == 0 ? "/" : g.name) +
                       (g.dying ? " (closed)" : ""),
                   signed_text(g.own), size_text(g.current), size_text(g.peak), size_text(g.max),
                   count_text(g.allocations), count_text(g.failures)});
    if (program.in_flight != 0)
        t.add({"in flight", signed_text(program.in_flight), "", "", "", "", ""});
    t.add({"total", count_text(program.total()), size_text(program.total()), size_text(program.groups.front().peak), "",
           count_text(program.allocations()), count_text(program.failures())});
    std::string out = t.text();
    if (program.unpublished != 0)
        out += count_text(program.unpublished) +
               " groups found no room in the stat file; their bytes are in flight above\n";
    return out;
}

std::string children_table(const stat_folder::children& children) {
    table t({"group", "processes", "own bytes", "largest peak", "allocations", "failures"});
    std::int64_t own = 0;
    std::uint64_t peak = 0;
    std::uint64_t allocations = 0;
    std::uint64_t failures = 0;
    for (const auto& [path, sum] : children.groups) {
        t.add({path, count_text(sum.processes), signed_text(sum.own), size_text(sum.peak), count_text(sum.allocations),
               count_text(sum.failures)});
        own += sum.own;
        peak = std::max(peak, sum.peak);
        allocations += sum.allocations;
        failures += sum.failures;
    }
    t.add({"total", count_text(children.processes), signed_text(own), size_text(peak), count_text(allocations),
           count_text(failures)});
    return "and " + count_text(children.processes) +
           (children.processes == 1 ? " child process\n" : " child processes\n") + t.text();
}

} // namespace

std::string to_text(const run_report& report) {
    std::string out = headline(report);
    if (report.program)
        out += program_table(*report.program);
    else
        out += "it published no figures: the preload did not start in it, or it may not write files of that size "
               "(ulimit)\n";
    if (report.children.processes != 0)
        out += children_table(report.children);
    return out;
}

} // namespace allot::tool
