// SPDX-License-Identifier: MIT
//
// preload_malloc: what the preload's malloc and operator new share.
//
// Idea.        The caller's address travels along, since a rule may go by the calling library.
// Concurrency. any thread.
#pragma once

#include <cstddef>

namespace allot::front {

/// Null: errno ENOMEM.
[[nodiscard]] void* preload_malloc(std::size_t size, const void* caller) noexcept;
/// `alignment` is a power of two. Null: errno ENOMEM.
[[nodiscard]] void* preload_aligned(std::size_t alignment, std::size_t size, const void* caller) noexcept;
/// Frees a block of ours; any other address is let go.
void preload_free(void* block) noexcept;

} // namespace allot::front
