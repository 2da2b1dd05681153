// SPDX-License-Identifier: MIT
//
// tenant: a group with a limit, and a Lua state in it.
//
// Idea.        The state's allocator is malloc, realloc and free of allot. A scope around every entry into Lua makes new blocks
//              the tenant's; realloc and free find a block's owner from its address. A refusal is all that the limit does: Lua
//              collects its garbage and asks once more, and only if that fails too does the script meet an error.
// Life.        run() on one pool thread, close() on the same or another; in between the tenant idles with its garbage collected.
// Concurrency. One thread at a time; who hands a tenant on synchronises (the pool does).
#pragma once

#include "interpreter.hpp"

#include <allot/allot.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace lua_host {

/// What a tenant is to do; all of it outlives the tenant.
struct assignment {
    std::string name; // "tenant-0042", also the name of its group
    const script* what = nullptr;
    bool hostile = false;
    long seed = 1;
    const std::string* expected = nullptr; // the result under the system's malloc; null for hostile scripts
};

enum class outcome {
    waiting,       // has not run
    identical,     // finished with the expected result (a hostile script: finished)
    different,     // finished with another result
    out_of_memory, // met its limit, and ended by it
    failed,        // ended by something else
    interrupted,   // stopped because the whole program stops
};

class tenant {
  public:
    explicit tenant(assignment todo);
    tenant(const tenant&) = delete;
    tenant& operator=(const tenant&) = delete;
    ~tenant() { close(); }

    /// Makes the group under `parent` and runs the script in it, then collects what garbage is left.
    void run(const allot::group& parent, std::uint64_t max_bytes, const std::string& dir,
             const std::atomic<int>& interrupted);
    /// Closes the state, with all its finalizers, and the group. The final outcome is known only then.
    void close() noexcept;

    [[nodiscard]] const assignment& todo() const noexcept { return todo_; }
    [[nodiscard]] outcome result() const noexcept { return outcome_; }
    /// One line: "tenant-0042: out of memory: 8.0 MiB of 8.0 MiB in use, 65.6 KiB asked", or what else there is to say.
    [[nodiscard]] std::string describe() const;
    /// The group; empty before run() and after close().
    [[nodiscard]] const allot::group& group() const noexcept { return *group_; }
    /// Bytes that Lua holds by its own reckoning, which knows nothing of allot's.
    [[nodiscard]] std::int64_t lua_bytes() const noexcept { return lua_bytes_; }
    /// Bytes that the group had at most. Read when the group closes.
    [[nodiscard]] std::uint64_t peak_bytes() const noexcept { return peak_bytes_; }
    /// Count of requests that failed because of the limit, by the library's reckoning. Read when the group closes.
    [[nodiscard]] std::uint64_t failures() const noexcept { return failures_; }
    /// Count of requests that the allocator refused, by this tenant's own; Lua recovered from those that its collection made room for.
    [[nodiscard]] std::uint64_t refusals() const noexcept { return refusals_; }

  private:
    static void* allocate(void* self, void* block, std::size_t old_size, std::size_t new_size);
    void* resize(void* block, std::size_t old_size, std::size_t new_size) noexcept;
    void refuse(std::size_t size) noexcept;
    void count_lost(std::size_t size, bool success) noexcept;
    void judge(run_status status, const std::string& result);
    [[nodiscard]] bool met_own_limit() const noexcept;

    assignment todo_;
    outcome outcome_ = outcome::waiting;
    std::string message_; // of `different` and `failed`
    allot::unique_group group_;
    supervisor watch_;
    interpreter lua_;
    std::int64_t lua_bytes_ = 0;
    std::uint64_t peak_bytes_ = 0;
    std::uint64_t failures_ = 0;
    std::uint64_t refusals_ = 0;
    std::size_t refused_size_ = 0; // what was refused and not asked for again yet, or 0
    bool retried_ = false;         // the last request repeated a refused one
    allot_failure failure_{};      // the last refusal
};

} // namespace lua_host
