// SPDX-License-Identifier: MIT
//
// heap: the allocator under test, and the group that the work is charged to.
//
// Idea.        Every worker is this source. Preloaded, an allocator takes over malloc and free; linked statically it is either
//              behind malloc and free too (peers), or called by its own names (allot). Where allot is there, the work runs
//              inside a group three levels below the root, each level with a limit; nothing else differs. The worker of the
//              floor (floor.cc) has no allocator at all.
// Concurrency. query_scope: one for each thread that works.
#pragma once

#include <cstddef>
#include <cstdlib>

#if ALLOT_BENCH_OWN_NAMES
#include <allot/allot.h>
#endif

namespace allot_bench {

#if ALLOT_BENCH_FLOOR
void* heap_malloc(std::size_t size) noexcept;
void heap_free(void* block) noexcept;
#elif ALLOT_BENCH_OWN_NAMES
inline void* heap_malloc(std::size_t size) noexcept { return allot_malloc(size); }
inline void heap_free(void* block) noexcept { allot_free(block); }
#else
inline void* heap_malloc(std::size_t size) noexcept { return std::malloc(size); }
inline void heap_free(void* block) noexcept { std::free(block); }
#endif

/// Makes the groups "/bench/tenant/query", once, if allot is in this process and `wanted`.
///
/// Returns: the path, or "none".
const char* make_groups(bool wanted);

/// Runs the thread inside the group of make_groups, if there is one.
class query_scope {
  public:
    query_scope();
    query_scope(const query_scope&) = delete;
    query_scope& operator=(const query_scope&) = delete;
    ~query_scope();

  private:
    [[maybe_unused]] void* words_[2] = {}; // an allot_scope
};

/// Returns the file name of the library, or program, that malloc comes from: the proof that a preload took effect.
const char* malloc_comes_from();

} // namespace allot_bench
