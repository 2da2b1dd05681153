// SPDX-License-Identifier: MIT
//
// rseq: restartable sequences, by the area that libc registered for each thread.
//
// Idea.        A section is a few instructions that end with one store. The kernel breaks it off if the thread was
//              preempted, moved or got a signal before that store, and membarrier breaks off those of all other threads.
//              So who shuts a door and then calls membarrier_all() knows that nobody is behind it, and the section itself
//              pays one plain store: to the thread's word `rseq_cs`, the only one of the area that is written here.
//              Where there is no such thing (an old kernel or libc, valgrind, qemu-user, gVisor), nobody opens the door.
// Concurrency. any thread.
// Checked by.  test/platform/rseq_test.cc, test/slab/restart_test.cc
// Source.      rseq(2), membarrier(2), glibc's manual "Restartable Sequences".
#pragma once

#include "base/compiler.hpp"

/// The code has sections written for the kernel to restart. Not in the builds whose checkers could not look inside.
#if defined(__x86_64__) && !ALLOT_TSAN && !ALLOT_DEBUG
#define ALLOT_RSEQ 1
#else
#define ALLOT_RSEQ 0
#endif

namespace allot::platform {

/// True if sections of the calling thread are restarted as they must be. Context: any.
bool rseq_works_here() noexcept;

#if ALLOT_RSEQ
inline constexpr std::ptrdiff_t own_rseq_cs = 56;

/// Where a thread's word `rseq_cs` lies, from our block of thread-local storage. Until it is known, this is a word of that block,
/// which the kernel never looks at. Constant after init. Every call reads it: it has a cache line that nobody writes.
struct alignas(cache_line_bytes) rseq_place {
    std::ptrdiff_t distance = own_rseq_cs;
};
extern rseq_place rseq_cs __asm__("allot_rseq_cs_distance") __attribute__((visibility("hidden")));

/// Finds the area of libc and has membarrier_all() restart sections; `own_word` is the word of the block, of this thread.
/// Errors: none; rseq_works_here() tells. Context: init.
void rseq_init(const void* own_word) noexcept;
#else
inline void rseq_init(const void*) noexcept {}
#endif

} // namespace allot::platform
