// SPDX-License-Identifier: MIT
//
// topology: reads the list of nodes once.
//
// Idea.        See topology.hpp. The list has the form "0" or "0-3,5"; the highest number counts.
// Concurrency. any thread; two that read the list at once find the same.
#include "platform/topology.hpp"

#include "platform/os.hpp"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

namespace allot::platform {

namespace {

// Relaxed accesses throughout: each is a number or a function that stands for itself.
std::atomic<unsigned> node_count{0};
std::atomic<unsigned (*)() noexcept> injected_current{nullptr};

/// The highest number in the text.
unsigned highest_number(const char* text, std::size_t length) noexcept {
    unsigned highest = 0;
    unsigned number = 0;
    for (std::size_t i = 0; i < length; ++i) {
        const bool is_digit = text[i] >= '0' && text[i] <= '9';
        number = is_digit ? number * 10 + static_cast<unsigned>(text[i] - '0') : 0;
        highest = number > highest ? number : highest;
    }
    return highest;
}

unsigned read_node_count() noexcept {
    errno_guard keep;
    const int file = ::open("/sys/devices/system/node/possible", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 1;
    char text[256];
    const ssize_t length = ::read(file, text, sizeof text);
    ::close(file);
    const unsigned count = length > 0 ? highest_number(text, static_cast<std::size_t>(length)) + 1 : 1;
    return count < numa_nodes_max ? count : numa_nodes_max;
}

} // namespace

unsigned numa_node_count() noexcept {
    unsigned count = node_count.load(std::memory_order_relaxed); // relaxed: see above
    if (count == 0) {
        count = read_node_count();
        node_count.store(count, std::memory_order_relaxed); // relaxed: see above
    }
    return count;
}

unsigned current_numa_node() noexcept {
    const unsigned count = numa_node_count();
    if (count == 1)
        return 0;
    unsigned node = 0;
    if (auto* const current = injected_current.load(std::memory_order_relaxed)) { // relaxed: see above
        node = current();
    } else {
        errno_guard keep;
        if (::getcpu(nullptr, &node) != 0)
            node = 0;
    }
    return node < count ? node : 0;
}

void inject_topology(unsigned count, unsigned (*current)() noexcept) noexcept {
    injected_current.store(current, std::memory_order_relaxed);                                   // relaxed: see above
    node_count.store(count < numa_nodes_max ? count : numa_nodes_max, std::memory_order_relaxed); // relaxed: see above
}

} // namespace allot::platform
