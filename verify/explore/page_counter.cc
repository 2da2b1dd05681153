// SPDX-License-Identifier: MIT
//
// page_counter: charges, failures, limits that change.
//
// Invariants.  Nobody ever sees a usage above the limit; a charge is made on all levels or on none; set_max() either sees a
//              charge or the charge sees the new limit; the sums are exact at the end; the peak that is told never falls.
// Checked by.  the mutants
// Source.      src/counter/page_counter.hpp
#include "counter/page_counter.hpp"

#include "sim.hpp"

namespace explore {

namespace {

using allot::counter::byte_count;
using counter = allot::counter::basic_page_counter<sim>;
using enum std::memory_order;

struct world {
    counter root;
    counter child[2];
    byte_count charged[2] = {};
    int refused = 0;
};

world& new_world(byte_count root_max) {
    auto& w = make<world>();
    w.root.max.store(root_max, relaxed);
    for (counter& c : w.child)
        c.parent = &w.root;
    return w;
}

bool charge(world& w, unsigned which, byte_count bytes) {
    counter* over = nullptr;
    if (try_charge(w.child[which], bytes, &over)) {
        w.charged[which] += bytes;
        return true;
    }
    CHECK(over == &w.root || over == &w.child[which]);
    ++w.refused;
    return false;
}
void uncharge(world& w, unsigned which, byte_count bytes) {
    w.charged[which] -= bytes;
    allot::counter::uncharge(w.child[which], bytes);
}

void check_sums(world& w) {
    finally([&w] {
        for (int i = 0; i < 2; ++i)
            CHECK(w.child[i].usage.load(relaxed) == w.charged[i]);
        CHECK(w.root.usage.load(relaxed) == w.charged[0] + w.charged[1]);
        CHECK(w.root.watermark.load(relaxed) <= w.root.max.load(relaxed));
    });
}

void observe(world& w, byte_count max) {
    thread([&w, max] {
        for (int i = 0; i < 2; ++i)
            CHECK(w.root.usage.load(relaxed) <= max);
    });
}

// Room for one of two; one of them gets it.
void last_page() {
    auto& w = new_world(1);
    for (unsigned i = 0; i < 2; ++i)
        thread([&w, i] { charge(w, i, 1); });
    observe(w, 1);
    finally([&w] {
        CHECK(w.charged[0] + w.charged[1] == 1 && w.root.usage.load(relaxed) == 1 && w.refused == 1);
        CHECK(w.child[0].usage.load(relaxed) == w.charged[0] && w.child[1].usage.load(relaxed) == w.charged[1]);
    });
}

void charge_and_uncharge() {
    auto& w = new_world(3);
    for (unsigned i = 0; i < 2; ++i)
        thread([&w, i] {
            if (charge(w, i, 2))
                uncharge(w, i, 1);
            charge(w, i, 1);
        });
    observe(w, 3);
    check_sums(w);
}

// One child, charged by two threads, and a limit of its own.
void own_limit() {
    auto& w = new_world(10);
    w.child[0].max.store(2, relaxed);
    for (int i = 0; i < 2; ++i)
        thread([&w] {
            counter* over = nullptr;
            if (try_charge(w.child[0], 2, &over))
                allot::counter::uncharge(w.child[0], 2);
            else
                CHECK(over == &w.child[0]);
        });
    thread([&w] {
        for (int i = 0; i < 2; ++i)
            CHECK(w.child[0].usage.load(relaxed) <= 2);
    });
    finally([&w] {
        CHECK(w.child[0].usage.load(relaxed) == 0 && w.root.usage.load(relaxed) == 0);
        CHECK(w.child[0].watermark.load(relaxed) == 2);
    });
}

void lowered_limit() {
    auto& w = new_world(4);
    auto& seen = make<byte_count>();
    thread([&w] { charge(w, 0, 2); });
    thread([&w, &seen] { seen = set_max(w.root, 1); });
    finally([&w, &seen] {
        CHECK(w.root.usage.load(relaxed) == w.charged[0] && w.child[0].usage.load(relaxed) == w.charged[0]);
        CHECK(w.charged[0] <= 1 || seen > 1); // who lowered the limit knows that there is something to reclaim
    });
}

void lowered_limit_two_chargers() {
    auto& w = new_world(4);
    auto& seen = make<byte_count>();
    for (unsigned i = 0; i < 2; ++i)
        thread([&w, i] { charge(w, i, 1); });
    thread([&w, &seen] { seen = set_max(w.root, 1); });
    finally([&w, &seen] {
        const byte_count all = w.charged[0] + w.charged[1];
        CHECK(w.root.usage.load(relaxed) == all);
        CHECK(all <= 1 || seen > 1);
    });
}

// Who asks twice for the peak never hears less.
void peak_is_told() {
    auto& w = new_world(8);
    thread([&w] {
        charge(w, 0, 4);
        uncharge(w, 0, 3);
    });
    thread([&w] {
        if (charge(w, 1, 2))
            uncharge(w, 1, 2);
    });
    thread([&w] {
        const byte_count first = peak_of(w.root);
        CHECK(peak_of(w.root) >= first);
    });
    finally([&w] { CHECK(peak_of(w.root) >= 4 && peak_of(w.root) <= 6); });
}

void charging_handler() {
    auto& w = new_world(2);
    thread([&w] {
        if (charge(w, 0, 1))
            uncharge(w, 0, 1);
    });
    handler(1, [&w] { charge(w, 0, 1); });
    thread([&w] { charge(w, 1, 1); });
    observe(w, 2);
    check_sums(w);
}

constexpr scenario scenarios[] = {
    {"counter_last_page", last_page, {2, 1}},
    {"counter_charge_and_uncharge", charge_and_uncharge, {2, 0}},
    {"counter_own_limit", own_limit, {2, 1}},
    {"counter_lowered_limit", lowered_limit, {3, 2}},
    {"counter_lowered_limit_two_chargers", lowered_limit_two_chargers, {2, 1}},
    {"counter_charging_handler", charging_handler, {2, 1}},
    {"counter_peak_is_told", peak_is_told, {2, 1}},
};

} // namespace

extern const suite page_counter_suite;
const suite page_counter_suite{"page_counter", "page_counter.hpp ", scenarios, {}, {}};

} // namespace explore
