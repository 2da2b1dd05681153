// SPDX-License-Identifier: MIT
//
// os: system calls behind the names of os.hpp.
//
// Idea.        Raw system calls where libc has none; no caching but for membarrier's registration.
// Concurrency. any thread.
#include "platform/os.hpp"

#include <cstdlib>
#include <ctime>
#include <initializer_list>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace allot::platform {

namespace {

constexpr int unknown = 0;
constexpr int usable = 1;
constexpr int unusable = 2;
// Relaxed: registering twice is harmless, and the answer is the same for all threads.
std::atomic<int> membarrier_state{unknown};
std::atomic<int> restart_state{unknown};

/// ALLOT_MEMBARRIER=0 makes any machine one that has none: the tests run there too. TSan does not see membarrier; the fallback of
/// ordered stores is what it can check.
bool is_unwanted() noexcept {
    const char* const wanted = ::getenv("ALLOT_MEMBARRIER");
    return ALLOT_TSAN || (wanted != nullptr && wanted[0] == '0' && wanted[1] == '\0');
}

/// True if the kernel knows the command and has registered this process for it.
bool try_register(int command, int registration) noexcept {
    const long supported = ::syscall(__NR_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
    return supported >= 0 && (supported & command) != 0 && ::syscall(__NR_membarrier, registration, 0, 0) == 0;
}

int register_membarrier() noexcept {
    const bool made =
        !is_unwanted() && try_register(MEMBARRIER_CMD_PRIVATE_EXPEDITED, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
    return made ? usable : unusable;
}

} // namespace

#if ALLOT_DEBUG
bool signals_are_blocked() noexcept {
    errno_guard keep;
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    // Not to be blocked at all, or raised by what the thread itself does.
    for (const int signal : {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT})
        sigaddset(&blocked, signal);
    constexpr int first_realtime = 32; // from here to SIGRTMIN they are libc's own, and stay open
    for (int signal = 1; signal <= SIGRTMAX; ++signal)
        if ((signal < first_realtime || signal >= SIGRTMIN) && sigismember(&blocked, signal) == 0)
            return false;
    return true;
}
#endif

void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected, std::uint64_t timeout_ns) noexcept {
    errno_guard keep;
    timespec limit{static_cast<time_t>(timeout_ns / 1'000'000'000), static_cast<long>(timeout_ns % 1'000'000'000)};
    ::syscall(__NR_futex, &word, FUTEX_WAIT_PRIVATE, expected, timeout_ns == 0 ? nullptr : &limit, nullptr, 0);
}

void futex_wake(std::atomic<std::uint32_t>& word, int count) noexcept {
    errno_guard keep;
    ::syscall(__NR_futex, &word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

bool membarrier_ready() noexcept {
    int state = membarrier_state.load(std::memory_order_relaxed); // relaxed: see membarrier_state
    if (state == unknown) [[unlikely]] {
        errno_guard keep;
        state = register_membarrier();
        membarrier_state.store(state, std::memory_order_relaxed); // relaxed: see membarrier_state
    }
    return state == usable;
}

bool membarrier_restarts_sections() noexcept {
    int state = restart_state.load(std::memory_order_relaxed); // relaxed: as membarrier_state
    if (state == unknown) [[unlikely]] {
        errno_guard keep;
        const bool made = membarrier_ready() && try_register(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ,
                                                             MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ);
        state = made ? usable : unusable;
        restart_state.store(state, std::memory_order_relaxed); // relaxed: as membarrier_state
    }
    return state == usable;
}

void membarrier_all() noexcept {
    errno_guard keep;
    // Relaxed: nobody opens a fast path with such sections before the answer is known.
    const bool restarts = restart_state.load(std::memory_order_relaxed) == usable;
    ::syscall(__NR_membarrier, restarts ? MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ : MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0,
              0);
}

void nap(std::uint64_t ns) noexcept {
    errno_guard keep;
    constexpr std::uint64_t second_ns = 1'000'000'000;
    const timespec time{static_cast<time_t>(ns / second_ns), static_cast<long>(ns % second_ns)};
    ::clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr);
}

namespace {

std::uint64_t read_clock(clockid_t clock) noexcept {
    timespec now{};
    ::clock_gettime(clock, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

} // namespace

std::uint64_t now_ns() noexcept { return read_clock(CLOCK_MONOTONIC); }

std::uint64_t coarse_now_ns() noexcept { return read_clock(CLOCK_MONOTONIC_COARSE); }

void yield() noexcept { ::sched_yield(); }

int thread_id() noexcept { return static_cast<int>(::syscall(__NR_gettid)); }

} // namespace allot::platform
