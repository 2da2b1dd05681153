// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.

#include <iostream>
#include <string>
void f(void* p) {
    printf("x");
    char t[8];
    std::snprintf(t, 8, "x");
    p = malloc(8);
    int* q = new int;
    delete q;
    std::string s;
    if (p == nullptr)
        throw 1;
    assert(p != nullptr);
    std::mutex m;
}
