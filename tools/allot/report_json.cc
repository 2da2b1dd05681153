// SPDX-License-Identifier: MIT
//
// report_json: the document.
//
// Idea.        Sizes are numbers of bytes, "no limit" is null, and strings that are not UTF-8 have their bad bytes replaced.
// Concurrency. one thread.
#include "report.hpp"

#include <nlohmann/json.hpp>

namespace allot::tool {

namespace {

using json = nlohmann::ordered_json;

json limit(std::uint64_t bytes) { return bytes == UINT64_MAX ? json(nullptr) : json(bytes); }

json to_json(const group_figures& g) {
    return {{"path", g.path},
            {"closed", g.dying},
            {"own", g.own},
            {"current", g.current},
            {"peak", g.peak},
            {"min", g.min},
            {"low", g.low},
            {"high", limit(g.high)},
            {"max", limit(g.max)},
            {"allocations", g.allocations},
            {"failures", g.failures},
            {"max_events", g.max_events},
            {"high_events", g.high_events},
            {"slab", g.slab},
            {"shared", g.shared},
            {"large", g.large},
            {"external", g.external},
            {"metadata", g.metadata}};
}

json to_json(const process_figures& program) {
    json groups = json::array();
    for (const group_figures& g : program.groups)
        groups.push_back(to_json(g));
    return {{"groups", std::move(groups)},
            {"total",
             {{"current", program.total()},
              {"in_flight", program.in_flight},
              {"peak", program.groups.front().peak},
              {"allocations", program.allocations()},
              {"failures", program.failures()},
              {"unpublished_groups", program.unpublished}}}};
}

json to_json(const stat_folder::children& children) {
    json groups = json::array();
    for (const auto& [path, sum] : children.groups)
        groups.push_back({{"path", path},
                          {"processes", sum.processes},
                          {"own", sum.own},
                          {"largest_peak", sum.peak},
                          {"allocations", sum.allocations},
                          {"failures", sum.failures}});
    return {{"processes", children.processes}, {"groups", std::move(groups)}};
}

json to_json(const std::optional<process_end>& end) {
    if (!end)
        return nullptr;
    return {{"status", end->signal == 0 ? json(end->status) : json(nullptr)},
            {"signal", end->signal != 0 ? json(signal_name(end->signal)) : json(nullptr)},
            {"core_dumped", end->core_dumped}};
}

} // namespace

std::string to_json(const run_report& report, bool indented) {
    json document{{"command", report.command},
                  {"pid", report.pid},
                  {"seconds", report.end ? report.end->seconds : report.seconds},
                  {"end", to_json(report.end)},
                  {"program", report.program ? to_json(*report.program) : json(nullptr)},
                  {"children", to_json(report.children)}};
    return document.dump(indented ? 2 : -1, ' ', false, json::error_handler_t::replace) + "\n";
}

} // namespace allot::tool
