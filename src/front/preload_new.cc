// SPDX-License-Identifier: MIT
//
// preload_new: all forms of C++ operator new and delete.
//
// Idea.        The C++ runtime is not linked: its throw and its new handler are weak references, there when the program is C++.
//              The forms are replaced themselves, not left to libstdc++'s calls of malloc, so that the caller is the program's
//              library and not libstdc++.
//              A form that does not throw has to catch what a new handler throws, and the core has nothing to catch with; so
//              when it fails and there is a handler, the runtime's own form takes over: it calls operator new, ours, and catches.
// Concurrency. any thread.
// Checked by.  test/programs/own.sh
// Source.      C++20 [new.delete].
#include "front/preload_malloc.hpp"

#include "base/assert.hpp"

#include <dlfcn.h>
#include <new>

namespace std {
[[gnu::weak]] new_handler get_new_handler() noexcept;
[[gnu::weak]] void __throw_bad_alloc();
} // namespace std

namespace {

using allot::front::preload_aligned;
using allot::front::preload_free;
using allot::front::preload_malloc;
using allot::front::preload_take;

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
    allot::base::bug("operator new failed in a program without a C++ runtime", __FILE__, __LINE__);
}

constexpr std::nothrow_t no_throw{};

/// The runtime's form of the same name, or null if nobody could be asked for memory anyway.
[[gnu::cold, gnu::noinline]] void* runtime_form(const char* name) noexcept {
    if (&std::get_new_handler == nullptr || std::get_new_handler() == nullptr)
        return nullptr;
    return ::dlsym(RTLD_NEXT, name); // finds it without allocating
}

[[gnu::noinline]] void* rest_of_new_or_null(std::size_t size, const void* caller, const char* name) noexcept {
    if (void* const block = preload_malloc(size, caller)) [[likely]]
        return block;
    using form = void* (*)(std::size_t, const std::nothrow_t&) noexcept;
    const auto runtime = reinterpret_cast<form>(runtime_form(name));
    return runtime != nullptr ? runtime(size, no_throw) : nullptr;
}

inline void* new_or_null(std::size_t size, const void* caller, const char* name) noexcept {
    if (void* const block = preload_take(size)) [[likely]]
        return block;
    return rest_of_new_or_null(size, caller, name);
}

inline void* new_or_null(std::size_t size, std::align_val_t alignment, const void* caller, const char* name) noexcept {
    if (void* const block = preload_aligned(static_cast<std::size_t>(alignment), size, caller)) [[likely]]
        return block;
    using form = void* (*)(std::size_t, std::align_val_t, const std::nothrow_t&) noexcept;
    const auto runtime = reinterpret_cast<form>(runtime_form(name));
    return runtime != nullptr ? runtime(size, alignment, no_throw) : nullptr;
}

[[gnu::noinline]] void* rest_of_new_or_throw(std::size_t size, const void* caller) {
    void* const block = preload_malloc(size, caller);
    return block != nullptr ? block : new_failed(size, 0, caller);
}

inline void* new_or_throw(std::size_t size, const void* caller) {
    if (void* const block = preload_take(size)) [[likely]]
        return block;
    return rest_of_new_or_throw(size, caller);
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
ALLOT_NEW void* operator new(std::size_t n, const std::nothrow_t&) noexcept {
    return new_or_null(n, ALLOT_CALLER, "_ZnwmRKSt9nothrow_t");
}
ALLOT_NEW void* operator new[](std::size_t n, const std::nothrow_t&) noexcept {
    return new_or_null(n, ALLOT_CALLER, "_ZnamRKSt9nothrow_t");
}
ALLOT_NEW void* operator new(std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
    return new_or_null(n, a, ALLOT_CALLER, "_ZnwmSt11align_val_tRKSt9nothrow_t");
}
ALLOT_NEW void* operator new[](std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
    return new_or_null(n, a, ALLOT_CALLER, "_ZnamSt11align_val_tRKSt9nothrow_t");
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
