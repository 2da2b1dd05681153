// SPDX-License-Identifier: MIT
//
// preload_new: all forms of C++ operator new and delete.
//
// Idea.        The C++ runtime is not linked: its throw and its new handler are weak references, there when the program is C++.
//              The forms are replaced themselves, not left to libstdc++'s calls of malloc, so that the caller is the program's
//              library and not libstdc++.
// Concurrency. any thread.
// Source.      C++20 [new.delete].
#include "front/preload_malloc.hpp"

#include "base/assert.hpp"

#include <new>

namespace std {
[[gnu::weak]] new_handler get_new_handler() noexcept;
[[gnu::weak]] void __throw_bad_alloc();
} // namespace std

namespace {

using allot::front::preload_aligned;
using allot::front::preload_free;
using allot::front::preload_malloc;

/// Asks the program's new handler for memory. False if there is none.
bool handler_helped() {
    const std::new_handler handler = &std::get_new_handler != nullptr ? std::get_new_handler() : nullptr;
    if (handler == nullptr)
        return false;
    handler();
    return true;
}

[[gnu::cold, gnu::noinline]] void* new_failed(std::size_t size, std::size_t alignment, const void* caller) {
    while (handler_helped())
        if (void* const block =
                alignment != 0 ? preload_aligned(alignment, size, caller) : preload_malloc(size, caller))
            return block;
    if (&std::__throw_bad_alloc != nullptr)
        std::__throw_bad_alloc();
    ALLOT_BUG_ON("operator new failed in a program without a C++ runtime");
    return nullptr;
}

inline void* new_or_throw(std::size_t size, const void* caller) {
    void* const block = preload_malloc(size, caller);
    return block != nullptr ? block : new_failed(size, 0, caller);
}

inline void* new_or_throw(std::size_t size, std::align_val_t alignment, const void* caller) {
    const auto bytes = static_cast<std::size_t>(alignment);
    void* const block = preload_aligned(bytes, size, caller);
    return block != nullptr ? block : new_failed(size, bytes, caller);
}

} // namespace

#define ALLOT_CALLER __builtin_return_address(0)
#define ALLOT_NEW [[gnu::visibility("default")]]

ALLOT_NEW void* operator new(std::size_t n) { return new_or_throw(n, ALLOT_CALLER); }
ALLOT_NEW void* operator new[](std::size_t n) { return new_or_throw(n, ALLOT_CALLER); }
ALLOT_NEW void* operator new(std::size_t n, std::align_val_t a) { return new_or_throw(n, a, ALLOT_CALLER); }
ALLOT_NEW void* operator new[](std::size_t n, std::align_val_t a) { return new_or_throw(n, a, ALLOT_CALLER); }
// The forms that do not throw ask the handler once at most: a handler that throws has nowhere to throw to.
ALLOT_NEW void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return preload_malloc(n, ALLOT_CALLER); }
ALLOT_NEW void* operator new[](std::size_t n, const std::nothrow_t&) noexcept { return preload_malloc(n, ALLOT_CALLER); }
ALLOT_NEW void* operator new(std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
    return preload_aligned(static_cast<std::size_t>(a), n, ALLOT_CALLER);
}
ALLOT_NEW void* operator new[](std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
    return preload_aligned(static_cast<std::size_t>(a), n, ALLOT_CALLER);
}

ALLOT_NEW void operator delete(void* p) noexcept { preload_free(p); }
ALLOT_NEW void operator delete[](void* p) noexcept { preload_free(p); }
ALLOT_NEW void operator delete(void* p, std::size_t) noexcept { preload_free(p); }
ALLOT_NEW void operator delete[](void* p, std::size_t) noexcept { preload_free(p); }
ALLOT_NEW void operator delete(void* p, std::align_val_t) noexcept { preload_free(p); }
ALLOT_NEW void operator delete[](void* p, std::align_val_t) noexcept { preload_free(p); }
ALLOT_NEW void operator delete(void* p, std::size_t, std::align_val_t) noexcept { preload_free(p); }
ALLOT_NEW void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { preload_free(p); }
ALLOT_NEW void operator delete(void* p, const std::nothrow_t&) noexcept { preload_free(p); }
ALLOT_NEW void operator delete[](void* p, const std::nothrow_t&) noexcept { preload_free(p); }
ALLOT_NEW void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept { preload_free(p); }
ALLOT_NEW void operator delete[](void* p, std::align_val_t, const std::nothrow_t&) noexcept { preload_free(p); }
