// SPDX-License-Identifier: MIT
//
// gate: a thread's fast path and its scope changes against revokers.
//
// Idea.        close_thread() and the sections are the sources' (gate.hpp, rcu.hpp). What runs inside them and is not a template,
//              because it is the machine's hot path, stands here once more, line by line: take_block and put_block of
//              fast_section.hpp, enter_scope of scope.cc, own_section, cold_section and open_own of revoke.cc. (The sections that
//              the kernel restarts are verify/spin/revoke.pml's: nothing here can be undone and begun anew.)
// Invariants.  While a revoker holds the slot, the thread touches no slab; afterwards neither, until it had the slot's lock.
// Checked by.  the mutants
// Source.      src/slab/{gate.hpp,revoke.cc,scope.cc,fast_section.hpp}
#include "slab/gate.hpp"

#include "sim.hpp"

namespace explore {

namespace {

using enum std::memory_order;
constexpr unsigned own_id = 1, closed_id = 99;

struct slab {
    sim::var<int> free_list{0};
    sim::atomic<unsigned> owner{own_id};
};
struct table {
    slab* active;
};
table empty{nullptr};

struct world {
    allot::sync::basic_rcu_reader<sim> reader;
    sim::atomic<unsigned> fast_id{own_id};
    sim::atomic<unsigned> closed{0};
    sim::lock slot;
    slab slabs[2];
    table tables[2];
    sim::atomic<table*> active{&tables[0]};
    unsigned current = 0; // the scope that the thread is in; its own
    world() : tables{{&slabs[0]}, {&slabs[1]}} {}
};

/// take_block, put_block: false if the slow path has to be taken.
bool fast_alloc(world& w) {
    const std::uint64_t count = w.reader.count();
    if ((count & 1) != 0)
        return false;
    w.reader.enter_fast(count);
    slab* const s = w.active.load(relaxed)->active;
    if (s != nullptr)
        s->free_list.set(s->free_list.get() + 1);
    w.reader.leave_fast(count);
    return s != nullptr;
}
bool fast_free(world& w, slab& s) {
    const std::uint64_t count = w.reader.count();
    if ((count & 1) != 0)
        return false;
    w.reader.enter_fast(count);
    const bool mine = s.owner.load(relaxed) == w.fast_id.load(relaxed);
    if (mine)
        s.free_list.set(s.free_list.get() - 1);
    w.reader.leave_fast(count);
    return mine;
}

/// cold_section: what `inside` does is done with the slot held.
template <class F> void cold_section(world& w, F inside) {
    locked hold(w.slot);
    allot::slab::store_shut(w.fast_id, w.active, closed_id, &empty);
    inside();
    w.active.store(&w.tables[w.current], relaxed);
    w.fast_id.store(own_id, relaxed);
    w.closed.store(0, relaxed);
}
void touch(slab& s) { s.free_list.set(s.free_list.get() + 1); }

/// own_section: what `inside` does is done in a section, with the fast path shut, if nobody is closing the slot. False if not.
template <class F> bool own_section(world& w, F inside) {
    const std::uint64_t count = w.reader.count();
    if ((count & 1) != 0)
        return false;
    w.reader.enter_fast(count);
    const bool open = w.closed.load(acquire) == 0 || mutant("own_mark_not_tested");
    if (open) {
        table* const before = w.active.load(relaxed);
        allot::slab::store_shut(w.fast_id, w.active, closed_id, &empty);
        inside();
        w.active.store(before, relaxed);
        w.fast_id.store(own_id, relaxed);
    }
    w.reader.leave_fast(count);
    return open;
}

void alloc(world& w) {
    if (!fast_alloc(w) && !own_section(w, [&w] { touch(w.slabs[w.current]); }))
        cold_section(w, [&w] { touch(w.slabs[w.current]); });
}

void change_scope(world& w, unsigned to) {
    const std::uint64_t count = w.reader.count();
    const bool test_early = mutant("mark_tested_outside");
    const unsigned early = test_early ? w.closed.load(acquire) : 0;
    w.reader.enter_fast(count);
    const unsigned closed = test_early ? early : w.closed.load(mutant("mark_loaded_relaxed") ? relaxed : acquire);
    if (closed == 0) {
        w.current = to;
        w.active.store(&w.tables[to], relaxed);
        w.reader.leave_fast(count);
        return;
    }
    w.reader.leave_fast(count);
    cold_section(w, [&w, to] { w.current = to; });
}

void close_thread(world& w) {
    if (!mutant("no_mark"))
        w.closed.store(1, seq_cst);
    allot::slab::shut<sim>(w.reader, w.fast_id, w.active, closed_id, &empty);
}

void revoke(world& w) {
    locked hold(w.slot);
    close_thread(w);
    CHECK(w.active.load(relaxed) == &empty && w.fast_id.load(relaxed) == closed_id);
    touch(w.slabs[0]);
    touch(w.slabs[1]);
}

void alloc_against_revoke() {
    auto& w = make<world>();
    thread([&w] {
        alloc(w);
        alloc(w);
    });
    thread([&w] { revoke(w); });
}
void free_against_revoke() {
    auto& w = make<world>();
    thread([&w] {
        fast_free(w, w.slabs[0]);
        if (!fast_free(w, w.slabs[0]))
            cold_section(w, [&w] { touch(w.slabs[0]); });
    });
    thread([&w] { revoke(w); });
}
void scope_against_revoke() {
    auto& w = make<world>();
    thread([&w] {
        change_scope(w, 1);
        fast_alloc(w);
        change_scope(w, 0);
        alloc(w);
    });
    thread([&w] { revoke(w); });
}
void two_revokers() {
    auto& w = make<world>();
    thread([&w] {
        change_scope(w, 1);
        alloc(w);
    });
    thread([&w] { revoke(w); });
    thread([&w] { revoke(w); });
}
void own_against_revoke() {
    auto& w = make<world>();
    thread([&w] {
        if (!own_section(w, [&w] { touch(w.slabs[0]); }))
            cold_section(w, [&w] { touch(w.slabs[0]); });
        fast_free(w, w.slabs[0]);
    });
    thread([&w] { revoke(w); });
}
void own_against_two_revokers() {
    auto& w = make<world>();
    thread([&w] {
        own_section(w, [&w] { touch(w.slabs[0]); });
        own_section(w, [&w] { touch(w.slabs[0]); });
    });
    thread([&w] { revoke(w); });
    thread([&w] { revoke(w); });
}
// A handler on top of the thread allocates and frees; inside a section, or in the slow path, it takes no lock.
void handler_against_revoke() {
    auto& w = make<world>();
    thread([&w] {
        change_scope(w, 1);
        fast_alloc(w);
    });
    handler(1, [&w] { fast_alloc(w) && fast_free(w, w.slabs[1]); });
    thread([&w] { revoke(w); });
}
// The revoker gives the slab to somebody else.
void handed_over() {
    auto& w = make<world>();
    thread([&w] {
        fast_free(w, w.slabs[0]);
        fast_free(w, w.slabs[0]);
    });
    thread([&w] {
        {
            locked hold(w.slot);
            close_thread(w);
            w.slabs[0].owner.store(2, relaxed);
        }
        touch(w.slabs[0]);
    });
    thread([&w] {
        locked hold(w.slot);
        close_thread(w);
    });
}

constexpr scenario scenarios[] = {
    {"gate_alloc", alloc_against_revoke, {3, 2}},     {"gate_free", free_against_revoke, {3, 2}},
    {"gate_scope", scope_against_revoke, {2, 2}},     {"gate_two_revokers", two_revokers, {2, 1}},
    {"gate_handler", handler_against_revoke, {2, 1}}, {"gate_handed_over", handed_over, {2, 1}},
    {"gate_own", own_against_revoke, {3, 2}},         {"gate_own_revokers", own_against_two_revokers, {2, 1}},
};

constexpr survivor survivors[] = {
    {"rcu.hpp(4)", "acquire", "all_barrier() comes before it; seq_cst is for TSan builds, which have no membarrier"},
};
constexpr step steps[] = {{"mark_tested_outside"}, {"no_mark"}, {"own_mark_not_tested"}};

} // namespace

extern const suite gate_suite;
const suite gate_suite{"gate", "gate.hpp rcu.hpp ", scenarios, survivors, steps};

} // namespace explore
