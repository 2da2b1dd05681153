// SPDX-License-Identifier: MIT
//
// lifecycle_worker: measures how groups come and go, one question a process, and prints "NAME,VALUE" for each sample.
//
// Idea.        The driver (lifecycle.cc) starts it. Usage: WORKER close ROUNDS MOST | empty CYCLES | live COUNT | cycles COUNT |
//              idle GROUPS. Times are in ns, memory is resident bytes as the system counts them. What the measurement itself
//              needs is made and touched before the clock or the first reading.
// Concurrency. one thread, and the library's.
#include "sample.hpp"

#include <allot/allot.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace allot_bench;

allot_group* make_group(const char* name, allot_group* parent = allot_root()) {
    allot_group* made = nullptr;
    if (allot_group_create(parent, name, nullptr, &made) != 0)
        fail("cannot create a group");
    return made;
}

/// Fills the caches with something else, so that every close finds them in the same state, whatever came before it.
void evict_caches() {
    static std::vector<char> other(std::size_t{128} << 20, 1);
    for (std::size_t i = 0; i < other.size(); i += 64)
        ++other[i];
}

struct close_times {
    double closed;
    double settled;
};

/// One group with `count` live objects is closed. Returns ns of the close alone, and with all that it defers.
close_times close_one(std::vector<void*>& blocks, std::size_t count) {
    allot_group* const group = make_group("closed");
    allot_scope scope;
    allot_enter(group, &scope);
    for (std::size_t i = 0; i < count; ++i)
        if ((blocks[i] = allot_malloc(64)) == nullptr)
            fail("out of memory");
    allot_leave(&scope);
    allot_quiesce();
    evict_caches();
    const steady::time_point start = steady::now();
    const int error = allot_group_close(group, nullptr);
    const double closed = ns_since(start);
    allot_quiesce();
    const double settled = ns_since(start);
    if (error != 0)
        fail("cannot close a group");
    for (std::size_t i = 0; i < count; ++i)
        allot_free(blocks[i]);
    allot_group_put(group);
    allot_quiesce();
    return {closed, settled};
}

/// Rounds over all sizes, so that what changes slowly on the machine meets all of them. The first round only warms up.
void measure_close(std::size_t rounds, std::size_t most) {
    std::vector<void*> blocks(most);
    for (std::size_t round = 0; round <= rounds; ++round)
        for (std::size_t count = 100; count <= most; count *= 10) {
            const close_times took = close_one(blocks, count);
            if (round == 0)
                continue;
            const std::string size = std::to_string(count);
            print(("close_" + size).c_str(), took.closed);
            print(("settle_" + size).c_str(), took.settled);
        }
}

void create_and_close(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        allot_group* const group = make_group("empty");
        allot_group_close(group, nullptr);
        allot_group_put(group);
    }
}

/// Creates and closes empty groups. Samples: the caller's time for one, and with everything deferred done.
void measure_empty(std::size_t cycles) {
    create_and_close(cycles / 10);
    allot_quiesce();
    const steady::time_point start = steady::now();
    create_and_close(cycles);
    const double called = ns_since(start);
    allot_quiesce();
    const double settled = ns_since(start);
    print("empty_called", called / static_cast<double>(cycles));
    print("empty", settled / static_cast<double>(cycles));
}

/// Makes groups that live. Sample: resident bytes of one.
void measure_live(std::size_t count) {
    std::vector<allot_group*> groups(count);
    allot_group_put(groups[0] = make_group("first"));
    allot_quiesce();
    const double before = resident_bytes();
    for (std::size_t i = 0; i < count; ++i) {
        char name[32];
        std::snprintf(name, sizeof name, "tenant-%zu", i);
        groups[i] = make_group(name);
    }
    allot_quiesce();
    print("live", (resident_bytes() - before) / static_cast<double>(count));
    allot_stat all{};
    allot_group_stat(allot_root(), &all);
    if (all.nr_children != count + 1)
        fail("not all of the groups are there");
}

/// Samples: resident memory when a tenth of the cycles have filled the queue of groups that wait to be freed, and after all.
void measure_cycles(std::size_t cycles) {
    print("cycles_start", resident_bytes());
    create_and_close(cycles / 10);
    allot_quiesce();
    print("cycles_before", resident_bytes());
    create_and_close(cycles);
    allot_quiesce();
    print("cycles_after", resident_bytes());
}

/// Groups with objects are closed, half of them after their objects were freed and half before; then nobody calls the library.
/// Samples: resident memory before, with the objects, and seconds until nine tenths of the difference are back; closed groups that are
/// left after a second.
void measure_idle(std::size_t count) {
    constexpr std::size_t objects = 200;
    constexpr double patience_s = 5;
    std::vector<allot_group*> groups(count);
    std::vector<void*> blocks(count * objects, nullptr);
    std::memset(blocks.data(), 1, blocks.size() * sizeof(void*));
    allot_group_put(make_group("first"));
    const double before = resident_bytes();
    for (std::size_t i = 0; i < count; ++i) {
        char name[32];
        std::snprintf(name, sizeof name, "tenant-%zu", i);
        groups[i] = make_group(name);
        for (std::size_t j = 0; j < objects; ++j)
            std::memset(blocks[i * objects + j] = allot_group_malloc(groups[i], 64, 0), 1, 64);
    }
    const double most = resident_bytes();
    for (std::size_t i = 0; i < count; ++i) {
        if (i % 2 == 0)
            allot_group_close(groups[i], nullptr);
        for (std::size_t j = 0; j < objects; ++j)
            allot_free(blocks[i * objects + j]);
        if (i % 2 != 0)
            allot_group_close(groups[i], nullptr);
        allot_group_put(groups[i]);
    }
    const steady::time_point start = steady::now();
    double left = resident_bytes();
    while (left - before > (most - before) / 10 && ns_since(start) < patience_s * 1e9) {
        std::this_thread::sleep_for(std::chrono::milliseconds{5});
        left = resident_bytes();
    }
    print("idle_s", ns_since(start) / 1e9);
    print("idle_before", before);
    print("idle_most", most);
    print("idle_left", left);
    std::this_thread::sleep_until(start + std::chrono::seconds{1}); // memory is back before the last groups are
    allot_stat all{};
    allot_group_stat(allot_root(), &all);
    print("idle_dying", all.nr_dying);
}

} // namespace

int main(int argc, char** argv) {
    const auto number = [&](int index) { return index < argc ? std::strtoul(argv[index], nullptr, 10) : 0; };
    const char* const what = argc > 2 ? argv[1] : "";
    if (std::strcmp(what, "close") == 0)
        measure_close(number(2), number(3));
    else if (std::strcmp(what, "empty") == 0)
        measure_empty(number(2));
    else if (std::strcmp(what, "live") == 0)
        measure_live(number(2));
    else if (std::strcmp(what, "cycles") == 0)
        measure_cycles(number(2));
    else if (std::strcmp(what, "idle") == 0)
        measure_idle(number(2));
    else
        fail("allot_bench starts this program");
    return 0;
}
