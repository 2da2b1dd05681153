// SPDX-License-Identifier: MIT
//
// memory: malloc and its family, std::pmr resources and the STL allocator.
//
// Idea.        The owner of a block is found from its address, so freeing needs no group, and every resource of this library can
//              free what any other one allocated: all of them compare equal, moves between containers stay O(1), and a
//              container may outlive the scope and the group that it was filled in. Moved memory stays charged to whom it was
//              charged to; what is to belong to another group is copied with that group's resource.
// Concurrency. All of it: any thread, any number of callers.
// Checked by.  test/front/api_memory_test.cc
#pragma once

#include <allot/allot.h>
#include <allot/error.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <new>
#include <time.h>
#include <type_traits>

namespace allot {

/// Allocates `size` bytes, charged to the current group. `malloc(0)` is a unique block.
///
/// Errors:  null with errno ENOMEM, over a limit or out of memory.
/// Context: task; in a signal handler on top of a function of this family a small reserve serves, then null.
[[nodiscard]] inline void* malloc(std::size_t size) noexcept { return allot_malloc(size); }

/// Allocates `count` times `size` zeroed bytes. As malloc; a product that does not fit fails too.
[[nodiscard]] inline void* calloc(std::size_t count, std::size_t size) noexcept { return allot_calloc(count, size); }

/// Changes the size of a block, which may move; it stays charged to its owner. Null for `block` allocates, 0 for `size` frees
/// and returns null. As malloc; on failure the block is as it was.
[[nodiscard]] inline void* realloc(void* block, std::size_t size) noexcept { return allot_realloc(block, size); }

/// Allocates `size` bytes at a multiple of `alignment`. As malloc, and null with errno EINVAL if that is no power of two.
[[nodiscard]] inline void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
    return allot_aligned_alloc(alignment, size);
}

/// Frees a block from any function here, whoever owns it; null does nothing. Keeps errno. Context: any.
inline void free(void* block) noexcept { allot_free(block); }

/// Returns the bytes that may be used in a block, at least those asked for; 0 for null. Context: any.
[[nodiscard]] inline std::size_t usable_size(const void* block) noexcept { return allot_usable_size(block); }

/// Tells whether an address lies in this library's arena. Context: any.
[[nodiscard]] inline bool owns(const void* address) noexcept { return allot_owns(address); }

namespace detail {

/// Returns the alignment to ask for, 0 where a block of `bytes` is aligned enough as it comes: 16, and 8 up to 8 bytes.
constexpr std::size_t alignment_to_ask(std::size_t bytes, std::size_t alignment) noexcept {
    const std::size_t natural = bytes > 8 ? 16 : 8;
    return alignment <= natural ? 0 : alignment;
}

/// Allocates for the current group. Errors: throws as throw_no_memory.
[[nodiscard]] inline void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
    const std::size_t asked = alignment_to_ask(bytes, alignment);
    void* block = asked == 0 ? allot_malloc(bytes) : allot_aligned_alloc(asked, bytes);
    if (block == nullptr) [[unlikely]]
        throw_no_memory();
    return block;
}

/// What all resources of this library share: they free anything, so they are equal.
class ALLOT_API any_resource : public std::pmr::memory_resource {
  private:
    void do_deallocate(void* block, std::size_t, std::size_t) noexcept final { allot_free(block); }
    [[nodiscard]] bool do_is_equal(const std::pmr::memory_resource& other) const noexcept final {
#if defined(__cpp_rtti)
        return this == &other || dynamic_cast<const any_resource*>(&other) != nullptr;
#else
        return this ==
               &other; // without RTTI a foreign resource cannot be told apart: containers copy where they might move
#endif
    }
};

/// Charges whichever group is current.
class ALLOT_API current_group_resource final : public any_resource {
    [[nodiscard]] void* do_allocate(std::size_t bytes, std::size_t alignment) override {
        return allocate_or_throw(bytes, alignment);
    }
};

/// Charges one group. It is the first word of the place that the library keeps for it; the library's word behind it names the
/// group, which after a close is the nearest open ancestor.
class ALLOT_API group_resource final : public any_resource {
    [[nodiscard]] void* do_allocate(std::size_t bytes, std::size_t alignment) override {
        void* block = allot_front_malloc(this, bytes, alignment_to_ask(bytes, alignment));
        if (block == nullptr) [[unlikely]]
            throw_no_memory();
        return block;
    }
};
static_assert(sizeof(group_resource) == sizeof(void*), "word 0 is the vptr, word 1 is the library's");

/// How far a front place is, in its word 2, which is zero in a new place.
enum class place_state : std::uintptr_t { untouched, constructing, ready };

/// Waits until the thread that constructs a place has finished, or does not exist: after 0.1 s a fork has left it behind.
[[gnu::cold]] inline void wait_for_constructor(const std::atomic_ref<place_state>& state) noexcept {
    for (int tries = 0; tries < 1000; ++tries) {
        // (2) acquire; pairs with (4): who sees `ready` sees the object.
        if (state.load(std::memory_order_acquire) == place_state::ready)
            return;
        const timespec pause{0, 100'000};
        nanosleep(&pause, nullptr);
    }
}

/// Returns the resource in a front place, constructing it if nobody has.
///
/// Whoever waited in vain constructs it too, which writes the same words. Thread: any number of callers on one place.
[[nodiscard]] inline std::pmr::memory_resource* construct_resource(void* place) noexcept {
    auto* words = static_cast<std::uintptr_t*>(place);
    const std::atomic_ref<place_state> state{*reinterpret_cast<place_state*>(words + 2)};
    auto seen = state.load(std::memory_order_acquire); // (3) acquire; pairs with (4), as (2)
    if (seen != place_state::ready) [[unlikely]] {
        seen = place_state::untouched;
        if (!state.compare_exchange_strong(seen, place_state::constructing, std::memory_order_acquire))
            wait_for_constructor(state);
        if (state.load(std::memory_order_acquire) != place_state::ready) {
            ::new (place) group_resource;
            state.store(place_state::ready, std::memory_order_release); // (4) release; pairs with (2), (3)
        }
    }
    return std::launder(static_cast<group_resource*>(place));
}

} // namespace detail

/// Returns the resource that charges the group which is current when memory is asked for.
///
/// It lives for ever, so `std::pmr::set_default_resource(allot::ambient_resource())` is safe. Its allocate throws
/// limit_exceeded; what it allocated may be freed anywhere, any time.
/// Thread: any. Context: task.
[[nodiscard]] inline std::pmr::memory_resource* ambient_resource() noexcept {
    alignas(detail::current_group_resource) static unsigned char place[sizeof(detail::current_group_resource)];
    static std::pmr::memory_resource* const resource = ::new (static_cast<void*>(place)) detail::current_group_resource;
    return resource;
}

/// An STL allocator without state that charges the current group: `std::vector<row, allot::allocator<row>>`.
///
/// Errors: allocate throws limit_exceeded, std::bad_alloc, or std::bad_array_new_length for what no address space holds.
template <class T> class allocator {
  public:
    using value_type = T;
    using is_always_equal = std::true_type;
    using propagate_on_container_move_assignment = std::true_type;

    constexpr allocator() noexcept = default;
    template <class U> constexpr allocator(const allocator<U>&) noexcept {}

    [[nodiscard]] T* allocate(std::size_t count) {
        if (count > std::size_t{PTRDIFF_MAX} / sizeof(T)) [[unlikely]]
            throw std::bad_array_new_length{};
        return static_cast<T*>(detail::allocate_or_throw(count * sizeof(T), alignof(T)));
    }
    void deallocate(T* block, std::size_t) noexcept { allot_free(block); }

    template <class U> friend constexpr bool operator==(const allocator&, const allocator<U>&) noexcept { return true; }
};

} // namespace allot
