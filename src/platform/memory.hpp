// SPDX-License-Identifier: MIT
//
// memory: address space from the kernel: reserve, commit, give back.
//
// Idea.        All of the library's memory comes through these few calls, so that a test can make the n-th of them fail and
//              so that a port changes one file.
// Concurrency. any thread. Context: atomic (they are system calls, but take no lock of ours).
// Checked by.  test/platform/memory_test.cc
// Source.      mmap(2), madvise(2).
#pragma once

#include "base/compiler.hpp"

namespace allot::platform {

/// Reserves `bytes` of address space without access, aligned to `alignment` (a power of two, at least a page).
/// Errors: null.
[[nodiscard]] void* reserve(std::size_t bytes, std::size_t alignment) noexcept;
/// Makes reserved pages readable and writable, zero-filled on first touch. Errors: false.
[[nodiscard]] bool commit(void* start, std::size_t bytes) noexcept;
/// Gives the contents of committed pages back; they read as zeros afterwards and stay committed. Errors: false, contents kept.
bool discard(void* start, std::size_t bytes) noexcept;
/// Makes the committed pages of [start, start + bytes) resident, as if they were written to, for less than a fault each. A hint:
/// where the system does not know it, or has no memory, nothing happens. errno stays.
void populate(void* start, std::size_t bytes) noexcept;
/// Maps `bytes` of zeroed, private, lazily backed memory. Errors: null.
[[nodiscard]] void* map(std::size_t bytes) noexcept;
/// Unmaps what reserve() or map() gave.
void unmap(void* start, std::size_t bytes) noexcept;

/// RLIMIT_AS, bytes; the largest number without one.
[[nodiscard]] std::uint64_t address_space_limit() noexcept;

#if ALLOT_DEBUG
/// Makes the n-th following call of reserve, commit or map fail (1 = the next), and every one after it too while `sticky`.
/// 0 ends it. Returns how many calls were seen since the last call of this function.
std::uint64_t fail_nth_map(std::uint64_t nth, bool sticky) noexcept;
#endif

} // namespace allot::platform
