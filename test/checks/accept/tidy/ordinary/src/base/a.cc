// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.

#include <new>

// TODO(#12): a better way to throw; malloc() and new are words here.
struct a {
    a() = default;
    a(const a&) = delete;
    void* malloc(int size);
};

void f(void* place) {
    ::new (place) a();
    static_assert(sizeof(a) > 0);
    const char* text = "new std::string, printf(1), assert(x)";
    g.free(text);
    throw 1; // tidy: allow throw: this fixture shows how
}
