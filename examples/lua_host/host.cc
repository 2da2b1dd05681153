// SPDX-License-Identifier: MIT
//
// host.cc: the phases. The checks are in checks.cc; see host.hpp.

#include "host.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <stdexcept>

namespace lua_host {
namespace {

constexpr std::size_t seeds = 8; // different inputs for each script

class stopwatch {
  public:
    [[nodiscard]] double seconds() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count();
    }

  private:
    std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
};

void* plain_allocate(void*, void* block, std::size_t, std::size_t new_size) {
    if (new_size != 0)
        return std::realloc(block, new_size);
    std::free(block);
    return nullptr;
}

// Spreads `hostile` of `count` evenly over the numbers, such that 42 is one of them.
bool is_hostile(std::size_t number, std::size_t count, std::size_t hostile) {
    return hostile != 0 && (number * hostile + count - 42 * hostile % count) % count < hostile;
}

// With as many digits as the largest number has, but four at least.
std::string tenant_name(std::size_t number, std::size_t count) {
    const std::size_t width = std::max(std::size_t{4}, std::to_string(count - 1).size());
    const std::string digits = std::to_string(number);
    return "tenant-" + std::string(width - digits.size(), '0') + digits;
}

} // namespace

std::size_t hostile_count(const options& wanted) {
    return static_cast<std::size_t>(std::lround(wanted.tenants * wanted.hostile_percent / 100));
}

host::host(const options& wanted, const script_set& scripts, progress& shown, const std::atomic<int>& interrupted)
    : options_{wanted}, scripts_{scripts}, progress_{shown},
      interrupted_{interrupted}, group_{allot::root().create("tenants")}, pool_{wanted.threads} {
    for (const script& one : scripts_.healthy)
        summary_.kinds.push_back({.kind = one.name, .hostile = false});
    for (const script& one : scripts_.hostile)
        summary_.kinds.push_back({.kind = one.name, .hostile = true});
    plan();
    summary_.root_before_bytes = allot::root().stat().current;
}

// Healthy tenants go through all scripts, then through all scripts with the next seed; hostile ones through theirs.
void host::plan() {
    const std::size_t hostile = hostile_count(options_);
    const std::size_t variants = scripts_.healthy.size() * seeds;
    expected_.resize(std::min(options_.tenants - hostile, variants));
    std::size_t nr_healthy = 0;
    std::size_t nr_hostile = 0;
    for (std::size_t i = 0; i < options_.tenants; ++i) {
        assignment todo;
        todo.name = tenant_name(i, options_.tenants);
        todo.hostile = is_hostile(i, options_.tenants, hostile);
        if (todo.hostile) {
            todo.what = &scripts_.hostile[nr_hostile++ % scripts_.hostile.size()];
        } else {
            const std::size_t variant = nr_healthy++ % variants;
            todo.what = &scripts_.healthy[variant % scripts_.healthy.size()];
            todo.seed = static_cast<long>(variant / scripts_.healthy.size()) + 1;
            todo.expected = &expected_[variant];
        }
        tenants_.emplace_back(std::move(todo));
    }
}

summary host::run() {
    run_plain();
    run_tenants();
    survey();
    close_tenants();
    summary_.signal = interrupted_.load();
    check_results();
    check_limits();
    check_table();
    check_base_line();
    return std::move(summary_);
}

void host::run_plain() {
    const stopwatch watch;
    const auto work = [this](std::size_t i) {
        const script& what = scripts_.healthy[i % scripts_.healthy.size()];
        const long seed = static_cast<long>(i / scripts_.healthy.size()) + 1;
        supervisor supervision{.interrupted = &interrupted_};
        interpreter lua;
        if (interrupted_ == 0 &&
            lua.run(what, scripts_.dir, seed, plain_allocate, nullptr, supervision, &expected_[i]) !=
                run_status::finished &&
            interrupted_ == 0)
            throw std::runtime_error("the script " + what.name + " fails under malloc: " + expected_[i]);
    };
    progress_.begin("under malloc", expected_.size());
    pool_.for_each(expected_.size(), work, [this](std::size_t done) { progress_.show(done, 0); });
    progress_.end();
    summary_.plain_runs = expected_.size();
    summary_.plain_seconds = watch.seconds();
}

void host::run_tenants() {
    const stopwatch watch;
    const auto work = [this](std::size_t i) {
        if (interrupted_ == 0)
            tenants_[i].run(group_, options_.max_bytes, scripts_.dir, interrupted_);
    };
    progress_.begin("tenants run", tenants_.size());
    pool_.for_each(tenants_.size(), work, [this](std::size_t done) { progress_.show(done, group_->stat().current); });
    progress_.end();
    for (const tenant& one : tenants_)
        summary_.tenants_run += one.result() != outcome::waiting && one.result() != outcome::interrupted;
    summary_.run_seconds = watch.seconds();
}

// All threads of the pool wait, so after a quiesce nothing moves, and the figures of one moment can be read one by one.
void host::survey() {
    allot::quiesce();
    for (const tenant& one : tenants_) {
        kind_row& row = row_of(one);
        ++row.tenants;
        row.charged_bytes += one.group().stat().current; // an empty group has no bytes
        row.lua_bytes += static_cast<std::uint64_t>(one.lua_bytes());
    }
    summary_.structures_bytes = group_->stat().local;
    allot::root().walk([this](const allot::group& group) {
        const std::string path = group.path();
        if (path == "/")
            summary_.library_bytes = group.stat().local;
        else if (path != "/tenants" && !path.starts_with("/tenants/"))
            summary_.others_bytes += group.stat().local;
    });
    summary_.root_bytes = allot::root().stat().current;
    summary_.tenants_peak_bytes = group_->stat().peak;
    check_recount("all tenants idle");
}

// In reverse, so that most tenants close on another thread than the one that they ran on.
void host::close_tenants() {
    const stopwatch watch;
    const auto work = [this](std::size_t i) { tenants_[tenants_.size() - 1 - i].close(); };
    progress_.begin("tenants closed", tenants_.size());
    pool_.for_each(tenants_.size(), work, [this](std::size_t done) { progress_.show(done, group_->stat().current); });
    progress_.end();
    summary_.close_seconds = watch.seconds();
}

kind_row& host::row_of(const tenant& one) {
    const assignment& todo = one.todo();
    const std::size_t index =
        todo.hostile ? scripts_.healthy.size() + static_cast<std::size_t>(todo.what - scripts_.hostile.data())
                     : static_cast<std::size_t>(todo.what - scripts_.healthy.data());
    return summary_.kinds[index];
}

} // namespace lua_host
