// SPDX-License-Identifier: MIT
//
// new_forms: every form of operator new and delete, its failure, and the new handler.
//
// Concurrency. one thread. Passes on the plain C++ runtime too.
#include "check.h"

#include <cstdio>
#include <new>
#include <string>
#include <vector>

#pragma GCC diagnostic ignored "-Walloc-size-larger-than="

namespace {

bool is_aligned(const void* block, std::size_t alignment) {
    return (reinterpret_cast<std::uintptr_t>(block) & (alignment - 1)) == 0;
}

void* volatile sink; // an allocation whose result nobody uses may be optimised away

constexpr std::align_val_t line{64};
constexpr std::size_t impossible = static_cast<std::size_t>(PTRDIFF_MAX) - 4096;

void plain_forms() {
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{1}, std::size_t{100}, std::size_t{100000}, std::size_t{5} << 20}) {
        void* a = ::operator new(size);
        void* b = ::operator new[](size);
        void* c = ::operator new(size, std::nothrow);
        void* d = ::operator new[](size, std::nothrow);
        CHECK(a != nullptr && b != nullptr && c != nullptr && d != nullptr && a != b && b != c && c != d);
        fill(a, size, 1);
        fill(d, size, 2);
        CHECK(filled(a, size, 1) && is_aligned(a, size < 16 ? 8 : __STDCPP_DEFAULT_NEW_ALIGNMENT__));
        ::operator delete(a);
        ::operator delete[](b, size);
        ::operator delete(c, std::nothrow);
        ::operator delete[](d, std::nothrow);
        ::operator delete(::operator new(size), size);
        ::operator delete[](::operator new[](size));
    }
}

void aligned_forms() {
    for (const std::size_t alignment : {16u, 64u, 4096u, 65536u}) {
        const std::align_val_t al{alignment};
        for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{100}, std::size_t{100000}}) {
            void* a = ::operator new(size, al);
            void* b = ::operator new[](size, al);
            void* c = ::operator new(size, al, std::nothrow);
            void* d = ::operator new[](size, al, std::nothrow);
            CHECK(is_aligned(a, alignment) && is_aligned(b, alignment) && is_aligned(c, alignment) &&
                  is_aligned(d, alignment));
            CHECK(a != nullptr && b != nullptr && c != nullptr && d != nullptr);
            ::operator delete(a, al);
            ::operator delete[](b, size, al);
            ::operator delete(c, al, std::nothrow);
            ::operator delete[](d, al, std::nothrow);
            ::operator delete(::operator new(size, al), size, al);
            ::operator delete[](::operator new[](size, al), al);
        }
    }
}

template <class F> bool throws_bad_alloc(F&& allocate) {
    try {
        allocate();
    } catch (const std::bad_alloc&) {
        return true;
    }
    return false;
}

void failures() {
    CHECK(throws_bad_alloc([] { sink = ::operator new(impossible); }));
    CHECK(throws_bad_alloc([] { sink = ::operator new[](impossible); }));
    CHECK(throws_bad_alloc([] { sink = ::operator new(impossible, line); }));
    CHECK(throws_bad_alloc([] { sink = ::operator new[](impossible, line); }));
    CHECK(::operator new(impossible, std::nothrow) == nullptr);
    CHECK(::operator new[](impossible, std::nothrow) == nullptr);
    CHECK(::operator new(impossible, line, std::nothrow) == nullptr);
    CHECK(::operator new[](impossible, line, std::nothrow) == nullptr);
    CHECK(throws_bad_alloc([] { std::vector<char> v(impossible / 2); }));
}

int handler_calls = 0;

void handler() {
    if (++handler_calls == 3)
        std::set_new_handler(nullptr);
}

// The handler is called again and again until it gives up or memory is there.
void new_handler() {
    std::set_new_handler(handler);
    CHECK(throws_bad_alloc([] { sink = ::operator new(impossible); }));
    CHECK(handler_calls == 3);
    handler_calls = 0;
    std::set_new_handler([] { ++handler_calls, throw std::bad_alloc(); });
    CHECK(::operator new(impossible, std::nothrow) == nullptr&& handler_calls == 1);
    std::set_new_handler(nullptr);
}

struct alignas(256) overaligned {
    char bytes[300];
    static inline int live = 0;
    overaligned() { ++live; }
    ~overaligned() { --live; }
};

void expressions() {
    auto* one = new overaligned;
    auto* many = new overaligned[7];
    CHECK(is_aligned(one, 256) && is_aligned(many, 8) && is_aligned(&many[3], 256) && overaligned::live == 8);
    delete one;
    delete[] many;
    CHECK(overaligned::live == 0);
    std::vector<std::string> strings;
    for (int i = 0; i < 10000; ++i)
        strings.push_back(std::string(static_cast<std::size_t>(i % 100), 'x'));
    CHECK(strings[99].size() == 99);
}

} // namespace

int main() {
    plain_forms();
    aligned_forms();
    failures();
    new_handler();
    expressions();
    std::puts("ok");
}
