// SPDX-License-Identifier: MIT
//
// metadata: small objects of the library itself.
//
// Idea.        Power-of-two sizes of 64 B to 4 KiB in single pages that come straight from page_alloc and go back when they
//              are empty. Never from an accounted cache, so there is no cycle "to free a slab, free its metadata, which
//              frees a slab". The pages are charged to the root as kind `metadata`.
// Concurrency. any thread, Context atomic, on a busy thread.
// Lock order.  metadata > page_alloc.
// Checked by.  test/slab/metadata_test.cc
#pragma once

#include "counter/page_counter.hpp"
#include "sync/spinlock.hpp"

#include <new>

namespace allot::slab {

inline constexpr std::size_t metadata_max_bytes = 4096;

/// Zeroed memory for an object of the library, aligned to 64 bytes. Errors: null; `*over`, if given, is the root's counter if its
/// max refused.
[[nodiscard]] void* metadata_alloc(std::size_t bytes, counter::page_counter** over) noexcept;
/// `bytes` as at the allocation.
void metadata_free(void* object, std::size_t bytes) noexcept;
/// The same for several objects of one size.
void metadata_free_all(void** objects, std::size_t count, std::size_t bytes) noexcept;
/// What an object of `bytes` is charged as, bytes.
std::size_t metadata_bytes(std::size_t bytes) noexcept;

/// The lock over all of it, for verify, which wants nothing under way.
sync::spinlock& metadata_guard() noexcept;

/// The same, not zeroed.
[[nodiscard]] void* metadata_alloc_raw(std::size_t bytes, counter::page_counter** over) noexcept;

/// Has the processor fetch an object that is to be written soon, in which another one may have written.
inline void fetch_object(const void* object, std::size_t bytes) noexcept {
    constexpr std::size_t bytes_most = 1024;
    for (std::size_t at = 0; at < bytes && at < bytes_most; at += cache_line_bytes)
        __builtin_prefetch(static_cast<const char*>(object) + at, 1);
}

template <class T> [[nodiscard]] T* metadata_new(counter::page_counter** over) noexcept {
    void* const place = metadata_alloc_raw(sizeof(T), over);
    return place == nullptr ? nullptr : new (place) T;
}

} // namespace allot::slab
