// SPDX-License-Identifier: MIT
//
// host: the whole run, in phases, and the checks that make it more than a show.
//
// Phases.      plain   every script (and seed) that will be needed, under the system's malloc: the results to compare with.
//              run     every tenant, in a group of its own; afterwards all of them idle side by side.
//              survey  with nothing running: each group's figures, and a recount of the whole library.
//              close   every tenant; then /tenants has to be back at its base line.
// Tenants.     Which are hostile follows from their number alone, spread evenly; so the same options give the same run.
// Concurrency. One thread uses a host. It gives tenants to the pool's threads, each to one at a time.
#pragma once

#include "pool.hpp"
#include "report.hpp"
#include "script.hpp"
#include "tenant.hpp"

#include <atomic>
#include <deque>
#include <string>
#include <vector>

namespace lua_host {

/// How many tenants are hostile.
std::size_t hostile_count(const options& wanted);

class host {
  public:
    /// Makes the group /tenants and the pool; what it is given outlives it.
    /// Errors: throws std::runtime_error or std::system_error.
    host(const options& wanted, const script_set& scripts, progress& shown, const std::atomic<int>& interrupted);
    host(const host&) = delete;
    host& operator=(const host&) = delete;

    /// Runs all phases, the later ones also after an interruption. Once.
    /// Errors: throws std::runtime_error when a script does not even run under malloc.
    summary run();

  private:
    void plan();
    void run_plain();
    void run_tenants();
    void survey();
    void close_tenants();
    void check_results();
    void check_limits();
    void check_table();
    void check_base_line();
    void check_recount(const char* when);
    void add_check(const char* name, bool passed, std::string detail);
    [[nodiscard]] kind_row& row_of(const tenant& one);

    const options& options_;
    const script_set& scripts_;
    progress& progress_;
    const std::atomic<int>& interrupted_;
    allot::unique_group group_; // "/tenants"
    std::vector<std::string> expected_;
    std::deque<tenant> tenants_; // tenants do not move, and close before their parent
    summary summary_;
    pool pool_; // ends before what its threads use
};

} // namespace lua_host
