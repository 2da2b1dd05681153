// SPDX-License-Identifier: MIT
//
// child: runs a program with a LD_PRELOAD and collects what it prints, its time and its memory.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <sys/types.h>
#include <vector>

namespace allot_bench {

/// How a program ended.
struct outcome {
    std::string output;  ///< what it wrote to stdout
    std::string trouble; ///< "" if it ended with status 0, else how it ended, with the last line of its stderr
    double wall_s = 0;   ///< from its start to its end
    double cpu_s = 0;    ///< of it and of those children that it waited for, user and system
    /// The most resident memory of it or of one of those children. The system counts what this program has had until the start too.
    double most_resident_bytes = 0;
};

/// What to start.
struct command {
    std::filesystem::path program;
    std::vector<std::string> arguments;
    std::string preload;                ///< the value of LD_PRELOAD; unset if ""
    std::vector<std::string> variables; ///< more of the environment, "NAME=VALUE"
};

/// A program that was started. finish() must be called once; nothing of its output is read before.
class child {
  public:
    explicit child(const command& what);
    child(const child&) = delete;
    child& operator=(const child&) = delete;
    /// Asks it to end, with SIGTERM.
    void ask_to_end() const;
    /// Waits for its end, and kills it after `seconds`.
    outcome finish(double seconds);

  private:
    int out_ = -1;
    int err_ = -1;
    pid_t pid_ = -1;
    std::string trouble_;
    std::chrono::steady_clock::time_point start_;
};

/// Runs it to its end, for at most `seconds`.
outcome run(const command& what, double seconds);

/// Runs `program` with `arguments` and with LD_PRELOAD set to `preload` (unset if ""), for at most `seconds`.
outcome run(const std::filesystem::path& program, const std::vector<std::string>& arguments, const std::string& preload,
            double seconds);

} // namespace allot_bench
