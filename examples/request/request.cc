// SPDX-License-Identifier: MIT
//
// request: a server's pattern: a group for each request, below its tenant's, and all its memory goes with it in one call.
#include <allot/allot.hpp>

#include <algorithm>
#include <iostream>
#include <new>
#include <string_view>

using namespace allot::literals;

namespace {

/// Nodes that point to each other in any way; nobody frees one by itself.
struct node {
    std::string_view word;
    node* next;
};

/// Makes whatever it likes, on whatever heap it likes, and leaves it lying about. Returns the count of words.
std::size_t handle(std::string_view text) {
    node* words = nullptr;
    std::size_t count = 0;
    for (std::size_t at = 0; at < text.size(); ++count) {
        const std::size_t end = std::min(text.find(' ', at), text.size());
        words = new (allot::malloc(sizeof(node))) node{text.substr(at, end - at), words};
        at = end + 1;
    }
    return count;
}

} // namespace

int main() {
    const allot::group tenant = allot::root().create("tenant", {.max = 1_MiB});
    std::size_t words = 0;
    std::uint64_t most = 0;
    std::uint64_t sum = 0;
    for (int number = 0; number < 10'000; ++number) {
        allot::unique_group request{
            tenant.create("request")}; // closed without its blocks going, should something throw
        {
            const allot::scope in{*request};
            words += handle("a request of some words, all of which have a node in a list");
        }
        const allot::report gone = request.close(allot::discard); // all nodes at once; no destructor runs
        most = std::max(most, gone.bytes);
        sum += gone.bytes;
    }
    std::cout << words << " words; at most " << most << " bytes a request, " << sum << " in all, "
              << tenant.stat().current - tenant.stat().metadata << " now\n";
}
