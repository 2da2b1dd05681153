// SPDX-License-Identifier: MIT
//
// report: what a run has to say, to people on a terminal, to a pipe, and to programs.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace lua_host {

struct options {
    unsigned tenants = 1000;
    std::uint64_t max_bytes = 8u << 20;
    unsigned threads = 1;
    double hostile_percent = 5;
    bool json = false;
    std::string scripts_dir;
};

/// The tenants of one script, summed.
struct kind_row {
    std::string kind;
    bool hostile = false;
    std::uint64_t tenants = 0;       // count
    std::uint64_t as_expected = 0;   // count: finished with malloc's result; hostile: ended out of memory
    std::uint64_t charged_bytes = 0; // in the survey, by the library
    std::uint64_t lua_bytes = 0;     // in the survey, by Lua's own reckoning
    std::uint64_t peak_bytes = 0;    // the largest of one tenant, in its whole life
    std::uint64_t refusals = 0;      // count of requests, in their whole lives
};

struct check {
    std::string name;
    bool passed = false;
    std::string detail;
};

struct summary {
    std::vector<kind_row> kinds;
    // The rest of the survey, bytes. With the kinds' charged_bytes these add up to root_bytes.
    std::uint64_t structures_bytes = 0; // charged to /tenants itself: its children's structures
    std::uint64_t library_bytes = 0; // charged to the root itself: the library's own, and the free part of shared slabs
    std::uint64_t others_bytes = 0;  // groups outside /tenants
    std::uint64_t root_bytes = 0;
    std::uint64_t tenants_peak_bytes = 0; // of /tenants, in the whole run
    std::uint64_t after_bytes = 0;        // of /tenants, when all tenants are closed
    std::uint64_t root_before_bytes = 0;  // of the root, before the first tenant
    std::uint64_t root_after_bytes = 0;   // and after the last

    std::size_t plain_runs = 0;  // count
    std::size_t tenants_run = 0; // count: fewer than asked for after an interruption
    double plain_seconds = 0;
    double run_seconds = 0;
    double close_seconds = 0;

    std::vector<std::string> hostile_ends; // a line for each hostile tenant that ended out of memory
    std::vector<std::string> surprises;    // a line for each tenant that ended as it should not
    std::vector<check> checks;
    int signal = 0; // that interrupted the run, or 0

    /// The sum of the table's rows, bytes.
    [[nodiscard]] std::uint64_t table_bytes() const noexcept;
    [[nodiscard]] bool passed() const noexcept;
};

/// Shows how far a phase is: on a terminal one line that is drawn over and over, in a pipe a line every few seconds.
///
/// Thread: one.
class progress {
  public:
    enum class style { none, terminal, plain };

    explicit progress(style how) : style_{how} {}
    void begin(const char* phase, std::size_t total);
    /// `bytes` is what /tenants is charged for now.
    void show(std::size_t done, std::uint64_t bytes);
    /// Takes the terminal's line away, so that something else can be printed.
    void end();

  private:
    using clock = std::chrono::steady_clock;

    style style_;
    const char* phase_ = "";
    std::size_t total_ = 0;
    std::size_t drawn_ = 0; // columns to wipe
    clock::time_point begun_;
    clock::time_point shown_;
};

/// Prints the heading that stands before the first phase.
void print_heading(const options& wanted, std::size_t hostile);
void print_text(const options& wanted, const summary& result);
/// Prints exactly one JSON document. Strings that are not UTF-8 are mended, since scripts make error messages.
void print_json(const options& wanted, const summary& result);
/// The same for a run that came to no summary.
void print_json_error(const std::string& what);

} // namespace lua_host
