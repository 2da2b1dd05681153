// SPDX-License-Identifier: MIT
//
// debug: in debug builds, a bit for every block says whether it lives, and free blocks are poisoned.
//
// Idea.        The bits lie outside the blocks, so an overflow cannot forge them: a second free, a free of an address inside a
//              block and a write after free are found at the next operation on the block and named with group and cache.
//              With ALLOT_DEBUG_STACKS=1 the stack of each allocation is kept too, in a table that forgets on collisions. Who
//              allocates from a destroyed cache is named together with who destroyed it. Release builds compile to nothing.
// Concurrency. bits are atomic; the poison is checked by who takes the block.
// Checked by.  test/slab/debug_test.cc
#pragma once

#include "slab/arena.hpp"

namespace allot::slab {

struct kmem_cache;

inline constexpr std::size_t debug_frames_max = 8;
/// Return addresses, innermost first; null behind the last.
struct debug_stack {
    void* frame[debug_frames_max] = {};
};

#if ALLOT_DEBUG
/// Whether debug_on_alloc keeps stacks.
void debug_record_stacks(bool on) noexcept;
/// Keeps the caller's stack as that of the block, if stacks are kept. Context: any.
void debug_note_stack(const void* block) noexcept;
/// The stack that allocated the block, as far as it is known.
debug_stack debug_stack_of(const void* block) noexcept;
/// Notes who destroys the cache, and that its memory goes.
void debug_cache_destroyed(kmem_cache& cache) noexcept;
void debug_cache_gone(const kmem_cache& cache) noexcept;
/// A bug, with both stacks, if the cache was destroyed. Context: any.
void debug_check_cache(const kmem_cache& cache) noexcept;
void debug_new_slab(slab& s) noexcept;
/// No block of the slab lives any more.
void debug_wipe(slab& s) noexcept;
void debug_on_alloc(slab& s, void* block) noexcept;
void debug_on_free(slab& s, void* block) noexcept;
/// True if the bit of the block says that it lives.
bool debug_is_live(const void* block) noexcept;
#else
inline void debug_record_stacks(bool) noexcept {}
inline debug_stack debug_stack_of(const void*) noexcept { return {}; }
inline void debug_cache_destroyed(kmem_cache&) noexcept {}
inline void debug_cache_gone(const kmem_cache&) noexcept {}
inline void debug_check_cache(const kmem_cache&) noexcept {}
inline void debug_new_slab(slab&) noexcept {}
inline void debug_wipe(slab&) noexcept {}
inline void debug_on_alloc(slab&, void*) noexcept {}
inline void debug_on_free(slab&, void*) noexcept {}
inline bool debug_is_live(const void*) noexcept { return true; }
#endif

} // namespace allot::slab
