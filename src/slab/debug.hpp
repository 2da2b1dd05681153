// SPDX-License-Identifier: MIT
//
// debug: in debug builds, a bit for every block says whether it lives, and free blocks are poisoned.
//
// Idea.        The bits lie outside the blocks, so an overflow cannot forge them: a second free, a free of an address inside a
//              block and a write after free are found at the next operation on the block and named with group and cache.
//              Release builds compile to nothing.
// Concurrency. bits are atomic; the poison is checked by who takes the block.
// Checked by.  test/slab/debug_test.cc
#pragma once

#include "slab/arena.hpp"

namespace allot::slab {

#if ALLOT_DEBUG
void debug_new_slab(slab& s) noexcept;
void debug_on_alloc(slab& s, void* block) noexcept;
void debug_on_free(slab& s, void* block) noexcept;
/// True if the bit of the block says that it lives.
bool debug_is_live(const void* block) noexcept;
#else
inline void debug_new_slab(slab&) noexcept {}
inline void debug_on_alloc(slab&, void*) noexcept {}
inline void debug_on_free(slab&, void*) noexcept {}
#endif

} // namespace allot::slab
