// SPDX-License-Identifier: MIT
//
// os: futex, membarrier, signals, time: the calls of the kernel that are not about memory.
//
// Idea.        Thin and total: each keeps errno, because malloc and free must, and each says what it does where the kernel
//              is too old.
// Concurrency. any thread. Context: any, but for futex_wait, which blocks.
// Source.      futex(2), membarrier(2).
#pragma once

#include "base/compiler.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>

namespace allot::platform {

/// Keeps errno over a scope. Context: any.
class errno_guard {
  public:
    errno_guard() noexcept : saved_(errno) {}
    ~errno_guard() { errno = saved_; }
    errno_guard(const errno_guard&) = delete;
    errno_guard& operator=(const errno_guard&) = delete;

  private:
    int saved_;
};

/// Blocks all signals of this thread over a scope: the userspace form of "irqsave". Context: any. Cost: two system calls.
class signals_blocked {
  public:
    signals_blocked() noexcept {
        errno_guard keep;
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &saved_);
    }
    ~signals_blocked() {
        errno_guard keep;
        pthread_sigmask(SIG_SETMASK, &saved_, nullptr);
    }
    signals_blocked(const signals_blocked&) = delete;
    signals_blocked& operator=(const signals_blocked&) = delete;

  private:
    sigset_t saved_;
};

#if ALLOT_DEBUG
/// True if no handler can come on top of the calling thread, faults of its own left out. Context: any.
bool signals_are_blocked() noexcept;
#endif

/// Sleeps while `word` is `expected`, at most `timeout_ns` (0: for ever). May return early. Context: task.
void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected, std::uint64_t timeout_ns) noexcept;
/// Wakes up to `count` sleepers. Context: any.
void futex_wake(std::atomic<std::uint32_t>& word, int count) noexcept;

/// True if membarrier_all() works here. Registers the process for it on the first call. Context: any.
bool membarrier_ready() noexcept;
/// A full memory barrier on every running thread of the process, which also restarts their sections (rseq.hpp) if
/// membarrier_restarts_sections(). Only if membarrier_ready(). Context: any.
void membarrier_all() noexcept;
/// Has membarrier_all() restart sections from now on, if it can. Context: any.
bool membarrier_restarts_sections() noexcept;

/// Monotonic time in ns. Context: any.
std::uint64_t now_ns() noexcept;
/// The same, up to some milliseconds ago, for a quarter of the price. Context: any.
std::uint64_t coarse_now_ns() noexcept;
/// Sleeps; a signal may end it early. Context: task.
void nap(std::uint64_t ns) noexcept;
/// Gives the CPU to another thread. Context: task.
void yield() noexcept;
/// The id of the calling thread. Context: any.
int thread_id() noexcept;

} // namespace allot::platform
