// SPDX-License-Identifier: MIT
//
// hello: one group with a limit, one thread of work inside it, and a failure that names its cause.
#include <allot/allot.hpp>

#include <iostream>
#include <string>
#include <vector>

using namespace allot::literals;

int main() {
    allot::group tenants = allot::root().create("tenants", {.max = 64_MiB});
    allot::group acme = tenants.create("acme", {.max = 8_MiB});

    std::pmr::vector<std::pmr::string> rows{acme.resource()}; // charged to acme, wherever it goes
    try {
        for (;;)
            rows.emplace_back(100'000, 'x');
    } catch (const allot::limit_exceeded& error) { // is-a std::bad_alloc
        std::cout << error.what() << '\n';
    }
    std::cout << rows.size() << " rows; tenants use " << tenants.stat().current << " bytes\n";

    const allot::report left = acme.close(); // rows stay valid and belong to tenants now
    std::cout << "closed with " << left.bytes << " bytes live; the last row has " << rows.back().size() << '\n';
}
