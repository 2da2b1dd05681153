// SPDX-License-Identifier: MIT
//
// process: starts a program, passes signals on to it, and waits for it.
//
// Idea.        All signals that matter are blocked and taken by sigtimedwait(), so there is no handler and no race between a signal and
//              the wait. A signal of the terminal reaches the program by itself, being in the same process group; one
//              that another process sent to us is forwarded.
// Concurrency. one thread; one child at a time.
// Checked by.  test/programs/signals.sh
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace allot::tool {

/// How a program ended.
struct process_end {
    int status = 0; ///< exit status, if it was not killed
    int signal = 0; ///< 0, or the signal that killed it
    bool core_dumped = false;
    double seconds = 0;

    /// What a shell reports: the exit status, or 128 + signal.
    int shell_status() const { return signal != 0 ? 128 + signal : status; }
};

class process {
  public:
    /// Starts `path` with arguments (the first is its name) and environment ("NAME=value"). Errors: an errno value, else 0.
    int start(const std::string& path, const std::vector<std::string>& arguments,
              const std::vector<std::string>& environment);
    /// Waits for its end, forwarding signals, and calls `tick` after each `interval`.
    process_end wait(std::chrono::milliseconds interval, const std::function<void()>& tick);
    pid_t pid() const { return pid_; }
    double seconds() const;

  private:
    pid_t pid_ = -1;
    std::chrono::steady_clock::time_point started_;
};

/// "SIGKILL" for 9; "signal 99" for what has no name.
std::string signal_name(int signal);

} // namespace allot::tool
