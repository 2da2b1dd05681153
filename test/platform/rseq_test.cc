// SPDX-License-Identifier: MIT
//
// rseq_test: sections are restarted, or nobody enters one, in each mode that a program can be started in.
//
// Idea.        A mode is decided when the library starts, so each case that is about one starts this program again with the
//              mode's variable and has it run `in_this_mode`.
#include "platform/rseq.hpp"

#include "support/core.hpp"
#include "support/threads.hpp"

#include <cstdlib>
#include <cstring>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#if ALLOT_RSEQ && __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#define HAS_AREA 1
#else
#define HAS_AREA 0
#endif

namespace {

namespace platform = allot::platform;
namespace slab = allot::slab;
namespace sync = allot::sync;

/// True if the variable's text has `part` in it.
bool is_set(const char* variable, const char* part) {
    const char* const text = std::getenv(variable);
    return text != nullptr && std::strstr(text, part) != nullptr;
}

bool is_switched_off() {
    return !ALLOT_RSEQ || is_set("ALLOT_RSEQ", "0") || is_set("ALLOT_MEMBARRIER", "0") ||
           is_set("GLIBC_TUNABLES", "glibc.pthread.rseq=0");
}

/// True if the calling thread's fast path is open after a call that opens it.
bool is_open_here() {
    EXPECT_TRUE(allot_test::attach_thread());
    allot::free(allot::malloc(64));
    return sync::tls.bins != slab::empty_table;
}

/// Runs the case below in a process of its own, started with `setting`, NAME=VALUE. 0 if it passes.
int status_with(const char* setting) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::putenv(const_cast<char*>(setting)); // NOLINT: it is not written to
        ::execl("/proc/self/exe", "allot_tests", "--gtest_filter=rseq.in_this_mode", static_cast<char*>(nullptr));
        ::_exit(127);
    }
    int status = -1;
    return ::waitpid(child, &status, 0) == child ? status : -1;
}

} // namespace

// Also a case of every ordinary run.
TEST(rseq, in_this_mode) {
    [[maybe_unused]] const bool is_open = is_open_here();
    if (is_switched_off()) {
        EXPECT_FALSE(platform::rseq_works_here());
    }
#if ALLOT_RSEQ
    EXPECT_EQ(is_open, platform::rseq_works_here()) << "who is not restarted stays outside, and who is does not";
    if (is_open) {
        EXPECT_NE(platform::rseq_cs.distance, platform::own_rseq_cs) << "the word is the one that the kernel reads";
    }
#endif
}

TEST(rseq, is_off_where_the_program_says_so) { EXPECT_EQ(status_with("ALLOT_RSEQ=0"), 0); }

TEST(rseq, is_off_where_libc_registers_no_areas) { EXPECT_EQ(status_with("GLIBC_TUNABLES=glibc.pthread.rseq=0"), 0); }

TEST(rseq, is_off_without_the_barrier_that_restarts_sections) { EXPECT_EQ(status_with("ALLOT_MEMBARRIER=0"), 0); }

TEST(rseq, works_in_all_threads_if_in_one) {
    const bool works = platform::rseq_works_here();
    allot_test::on_threads(4, [&](unsigned) { EXPECT_EQ(platform::rseq_works_here(), works); });
}

#if HAS_AREA
TEST(rseq, a_thread_without_an_area_allocates_and_frees_on_the_slow_path) {
    if (!is_open_here())
        GTEST_SKIP() << "nobody restarts sections here";
    std::thread{[] {
        char* const area = static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset;
        const std::size_t bytes = __rseq_size < sizeof(struct rseq) ? sizeof(struct rseq) : __rseq_size;
        constexpr int unregister = 1;
        if (::syscall(__NR_rseq, area, bytes, unregister, RSEQ_SIG) != 0)
            return; // a libc with areas of another size
        EXPECT_FALSE(platform::rseq_works_here());
        EXPECT_FALSE(is_open_here());
        allot_test::blocks made;
        for (std::size_t i = 0; i < 1000; ++i)
            made.add(allot::malloc(8 + i % 2000));
        EXPECT_EQ(sync::tls.allocations, 0u) << "the fast path gave none of them";
        EXPECT_EQ(slab::alloc_fast(slab::small_bin_of(64)), nullptr);
        EXPECT_FALSE(slab::free_fast(made[0]));
    }}.join();
    EXPECT_TRUE(is_open_here()) << "the others are as they were";
}
#endif
