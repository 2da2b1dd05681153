// SPDX-License-Identifier: MIT
//
// interpreter: one Lua state on somebody's allocator, and the supervision under which foreign scripts run in it.
//
// Idea.        Everything that can raise a Lua error happens inside one protected call, luaL_openlibs included: an unprotected
//              error in a state that is short of memory would call Lua's panic function and abort the process.
// Invariants.  I1  Frames that a Lua error may jump over (it is a longjmp) hold nothing that has a destructor.
//              I2  Every coroutine has the hook, since Lua copies it from the coroutine's creator and scripts have no `debug`.
// Supervision. A script may catch every error that Lua can raise. Once the supervisor wants it stopped, the hook raises an error
//              at every single instruction, also those of the handlers, so whatever catches it meets it again at once and the
//              script unwinds. Lua runs no hooks inside finalizers: a __gc that never ends cannot be stopped by its host.
// Concurrency. One thread at a time.
#pragma once

#include "script.hpp"

#include <lua.hpp>

#include <atomic>
#include <string>

namespace lua_host {

/// What a state's allocator and its hook tell each other. It outlives the state.
struct supervisor {
    const std::atomic<int>* interrupted = nullptr; // non-zero: everything is to stop
    unsigned lost = 0;    // count: requests that failed for good, that is, also after Lua's emergency collection
    bool stopped = false; // the hook has begun to raise errors

    /// A script that goes on after this many lost requests is stopped. Enough for honest recovery, few enough to end soon.
    static constexpr unsigned lost_max = 8;

    [[nodiscard]] bool interrupting() const noexcept { return interrupted->load(std::memory_order_relaxed) != 0; }
    [[nodiscard]] bool wants_stop() const noexcept { return lost >= lost_max || interrupting(); }
};

enum class run_status {
    finished,      // the result is what the script returned
    no_state,      // the state could not be made: no memory
    out_of_memory, // ended by Lua's "not enough memory"
    stopped,       // ended by the hook
    failed,        // ended by another error; the result is its message
};

class interpreter {
  public:
    interpreter() = default;
    interpreter(const interpreter&) = delete;
    interpreter& operator=(const interpreter&) = delete;
    ~interpreter() { close(); }

    /// Makes the state, runs `what` with (dir, seed) and stores its result or message in `*result`. Once per interpreter.
    run_status run(const script& what, const std::string& dir, long seed, lua_Alloc allocate, void* data,
                   supervisor& watch, std::string* result);
    /// Collects all garbage; the state stays.
    void collect() noexcept;
    /// Closes the state, which runs the finalizers that are left. Does nothing the second time.
    void close() noexcept;

  private:
    lua_State* state_ = nullptr;
};

} // namespace lua_host
