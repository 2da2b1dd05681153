// SPDX-License-Identifier: MIT
//
// checks.cc: what has to hold after a run. Each check stands on figures from two sources; see host.hpp.

#include "format.hpp"
#include "host.hpp"

#include <algorithm>
#include <utility>

namespace lua_host {

void host::add_check(const char* name, bool passed, std::string detail) {
    summary_.checks.push_back({name, passed, std::move(detail)});
}

void host::check_results() {
    std::uint64_t healthy = 0;
    std::uint64_t identical = 0;
    std::uint64_t hostile = 0;
    std::uint64_t ended = 0;
    for (const tenant& one : tenants_) {
        const bool is_hostile = one.todo().hostile;
        const bool as_expected = one.result() == (is_hostile ? outcome::out_of_memory : outcome::identical);
        (is_hostile ? hostile : healthy) += 1;
        (is_hostile ? ended : identical) += as_expected;
        row_of(one).as_expected += as_expected;
        if (is_hostile && as_expected)
            summary_.hostile_ends.push_back(one.describe());
        else if (!as_expected && one.result() != outcome::waiting && one.result() != outcome::interrupted)
            summary_.surprises.push_back(one.describe());
    }
    if (summary_.signal != 0)
        return; // a run that was cut short proves nothing about those that did not get to their end
    add_check("results", identical == healthy,
              grouped(identical) + " of " + grouped(healthy) + " healthy tenants: byte for byte malloc's result");
    add_check("hostile", ended == hostile,
              grouped(ended) + " of " + grouped(hostile) + " hostile tenants: out of memory, by their own limit");
}

void host::check_limits() {
    std::uint64_t over = 0;
    std::int64_t kept = 0;
    std::uint64_t largest = 0;
    std::uint64_t refusals = 0;
    std::uint64_t failures = 0;
    for (const tenant& one : tenants_) {
        kind_row& row = row_of(one);
        row.peak_bytes = std::max(row.peak_bytes, one.peak_bytes());
        row.refusals += one.refusals();
        refusals += one.refusals();
        failures += one.failures();
        largest = std::max(largest, one.peak_bytes());
        over += one.peak_bytes() > options_.max_bytes;
        kept += one.lua_bytes();
    }
    add_check("limits", over == 0,
              "largest peak of a tenant " + grouped(largest) + " of " + grouped(options_.max_bytes) + " bytes");
    add_check("refusals", failures == refusals,
              "the groups count " + grouped(failures) + ", the tenants were told " + grouped(refusals));
    add_check("lua", kept == 0, "Lua kept " + std::to_string(kept) + " bytes after closing");
}

void host::check_table() {
    const std::uint64_t rows = summary_.table_bytes();
    add_check("table", rows == summary_.root_bytes,
              "rows add up to " + grouped(rows) + ", the root has " + grouped(summary_.root_bytes) + " bytes");
}

void host::check_base_line() {
    allot::quiesce();
    allot::root().reclaim(); // empty slabs that are kept for the next allocation
    const allot::stat stat = group_->stat();
    summary_.after_bytes = stat.current;
    summary_.root_after_bytes = allot::root().stat().current;
    add_check("base line", stat.current == 0 && stat.nr_children == 0 && stat.nr_dying == 0,
              "/tenants has " + grouped(stat.current) + " bytes, " + std::to_string(stat.nr_children) + " open and " +
                  std::to_string(stat.nr_dying) + " dying children");
    check_recount("all tenants closed");
}

void host::check_recount(const char* when) {
    const allot::verify_report report = allot::verify();
    std::string detail = std::string{when} + ": " + grouped(report.objects) + " blocks in " + grouped(report.slabs) +
                         " slabs of " + grouped(report.groups) + " groups recounted, ";
    detail += report ? "no difference" : grouped(report.errors) + " differences: " + report.first_error;
    add_check("recount", report.agrees, std::move(detail));
}

} // namespace lua_host
