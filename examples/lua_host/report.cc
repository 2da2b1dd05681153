// SPDX-License-Identifier: MIT
//
// report.cc: the table, the JSON document and the progress line. See report.hpp.

#include "report.hpp"

#include "format.hpp"

#include <allot/control.hpp>
#include <lua.hpp>
#include <nlohmann/json.hpp>

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <numeric>

namespace lua_host {
namespace {

using nlohmann::json;

std::size_t terminal_columns() {
    winsize size{};
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void print_total(const char* what, std::uint64_t bytes) { std::printf("%-40s %15s\n", what, grouped(bytes).c_str()); }

void print_table(const summary& result) {
    std::printf("\nAll tenants idle, none closed yet; the last two columns are of their whole lives\n");
    std::printf("%-23s %8s %7s %15s %14s %10s %8s\n", "script", "tenants", "as due", "bytes charged", "Lua's own sum",
                "peak of 1", "refused");
    for (const kind_row& row : result.kinds)
        if (row.tenants != 0)
            std::printf(
                "%-23.23s %8s %7s %15s %14s %10s %8s\n", (row.hostile ? "hostile/" + row.kind : row.kind).c_str(),
                grouped(row.tenants).c_str(), grouped(row.as_expected).c_str(), grouped(row.charged_bytes).c_str(),
                grouped(row.lua_bytes).c_str(), human_bytes(row.peak_bytes).c_str(), grouped(row.refusals).c_str());
    print_total("/tenants: its groups' structures", result.structures_bytes);
    print_total("library, free parts of shared slabs", result.library_bytes);
    if (result.others_bytes != 0)
        print_total("groups outside /tenants", result.others_bytes);
    print_total("sum", result.table_bytes());
    print_total("root", result.root_bytes);
}

json kinds_json(const summary& result) {
    json rows = json::array();
    for (const kind_row& row : result.kinds)
        if (row.tenants != 0)
            rows.push_back({{"script", row.kind},
                            {"hostile", row.hostile},
                            {"tenants", row.tenants},
                            {"as_expected", row.as_expected},
                            {"charged_bytes", row.charged_bytes},
                            {"lua_bytes", row.lua_bytes},
                            {"peak_bytes", row.peak_bytes},
                            {"refusals", row.refusals}});
    return rows;
}

void print_document(const json& document) {
    std::printf("%s\n", document.dump(2, ' ', false, json::error_handler_t::replace).c_str());
}

} // namespace

std::uint64_t summary::table_bytes() const noexcept {
    return std::accumulate(kinds.begin(), kinds.end(), structures_bytes + library_bytes + others_bytes,
                           [](std::uint64_t sum, const kind_row& row) { return sum + row.charged_bytes; });
}

bool summary::passed() const noexcept { return signal == 0 && std::ranges::all_of(checks, &check::passed); }

void progress::begin(const char* phase, std::size_t total) {
    phase_ = phase;
    total_ = total;
    begun_ = shown_ = clock::now();
}

void progress::show(std::size_t done, std::uint64_t bytes) {
    const clock::time_point now = clock::now();
    if (style_ == style::none || (style_ == style::plain && (done == total_ || now - shown_ < std::chrono::seconds{2})))
        return;
    shown_ = now;
    const double seconds = std::max(1e-3, std::chrono::duration<double>(now - begun_).count());
    char rate[32];
    std::snprintf(rate, sizeof rate, "%.0f a second", static_cast<double>(done) / seconds);
    std::string line = std::string{phase_} + ": " + grouped(done) + " of " + grouped(total_) + ", " + rate;
    if (bytes != 0)
        line += ", /tenants at " + human_bytes(bytes);
    if (style_ == style::plain) {
        std::printf("%s\n", line.c_str());
    } else {
        line.resize(std::min(line.size(), terminal_columns() - 1)); // a line that wraps cannot be drawn over
        std::printf("\r%-*s", static_cast<int>(drawn_), line.c_str());
        drawn_ = line.size();
    }
    std::fflush(stdout);
}

void progress::end() {
    if (drawn_ != 0)
        std::printf("\r%*s\r", static_cast<int>(drawn_), "");
    drawn_ = 0;
}

void print_heading(const options& wanted, std::size_t hostile) {
    std::printf("%s tenants of %s each, %s of them hostile, on %u threads (allot %s, %s)\n",
                grouped(wanted.tenants).c_str(), human_bytes(wanted.max_bytes).c_str(), grouped(hostile).c_str(),
                wanted.threads, allot::version(), LUA_RELEASE);
    std::fflush(stdout);
}

void print_text(const options& wanted, const summary& result) {
    std::printf("%s reference results under malloc in %.1f s; %s of %s tenants run in %.1f s, closed in %.1f s\n",
                grouped(result.plain_runs).c_str(), result.plain_seconds, grouped(result.tenants_run).c_str(),
                grouped(wanted.tenants).c_str(), result.run_seconds, result.close_seconds);
    for (const std::string& line : result.hostile_ends)
        std::printf("%s\n", line.c_str());
    for (const std::string& line : result.surprises)
        std::printf("unexpected: %s\n", line.c_str());
    print_table(result);
    std::printf("\n/tenants had %s at its peak, and has %s bytes with all tenants closed;\n"
                "the root had %s bytes before the first tenant, and has %s after the last\n",
                human_bytes(result.tenants_peak_bytes).c_str(), grouped(result.after_bytes).c_str(),
                grouped(result.root_before_bytes).c_str(), grouped(result.root_after_bytes).c_str());
    for (const check& one : result.checks)
        std::printf("%-4s  %-9s  %s\n", one.passed ? "ok" : "FAIL", one.name.c_str(), one.detail.c_str());
    if (result.signal != 0)
        std::printf("interrupted: %s of %s tenants had run\n", grouped(result.tenants_run).c_str(),
                    grouped(wanted.tenants).c_str());
    else
        std::printf("%s\n", result.passed() ? "all checks hold" : "NOT all checks hold");
}

void print_json(const options& wanted, const summary& result) {
    json checks = json::array();
    for (const check& one : result.checks)
        checks.push_back({{"name", one.name}, {"passed", one.passed}, {"detail", one.detail}});
    print_document({
        {"allot", allot::version()},
        {"lua", LUA_RELEASE},
        {"options",
         {{"tenants", wanted.tenants},
          {"max_bytes", wanted.max_bytes},
          {"threads", wanted.threads},
          {"hostile_percent", wanted.hostile_percent}}},
        {"passed", result.passed()},
        {"interrupted", result.signal != 0},
        {"checks", checks},
        {"kinds", kinds_json(result)},
        {"structures_bytes", result.structures_bytes},
        {"library_bytes", result.library_bytes},
        {"others_bytes", result.others_bytes},
        {"root_bytes", result.root_bytes},
        {"tenants_peak_bytes", result.tenants_peak_bytes},
        {"after_bytes", result.after_bytes},
        {"root_before_bytes", result.root_before_bytes},
        {"root_after_bytes", result.root_after_bytes},
        {"plain_runs", result.plain_runs},
        {"tenants_run", result.tenants_run},
        {"plain_seconds", result.plain_seconds},
        {"run_seconds", result.run_seconds},
        {"close_seconds", result.close_seconds},
        {"hostile_ends", result.hostile_ends},
        {"surprises", result.surprises},
    });
}

void print_json_error(const std::string& what) { print_document({{"passed", false}, {"error", what}}); }

} // namespace lua_host
