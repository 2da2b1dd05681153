// SPDX-License-Identifier: MIT
//
// gate: a thread's fast path and its scope changes against revokers.
//
// Idea.        close_thread() and the sections are the sources' (gate.hpp, rcu.hpp). What runs inside them and is not a template,
//              because it is the machine's hot path, stands here once more, line by line: take_block and put_block of
//              fast_section.hpp, enter_scope and install of scope.cc, own_section, cold_section and open_own of revoke.cc; in
//              short, next_block, bin_for and flush. (The sections that the kernel restarts are verify/spin/revoke.pml's,
//              but for handlers with no revoker: nothing here can be undone and begun anew.)
//              A thread has two heaps, each of a group with one class of blocks: the first has a table of one bin, the second
//              one of two, of which it uses the second.
// Invariants.  While a revoker holds the slot, the thread touches no bin; afterwards neither, until it had the slot's lock.
//              No bin outside a table is touched, no bin takes a block of another tag, and each block is somewhere once.
// Checked by.  the mutants
// Source.      src/slab/{gate.hpp,revoke.cc,scope.cc,fast_section.hpp,bins.cc}
#include "slab/gate.hpp"

#include "sim.hpp"

namespace explore {

namespace {

using enum std::memory_order;
constexpr unsigned no_bin_tag = 0;
constexpr int bin_max = 2;
constexpr int blocks_each = 4; // of a heap: two free, in its slab, and two in use

struct bin {
    sim::var<int> blocks{0};
    sim::var<unsigned> tag{no_bin_tag};
};
struct table {
    unsigned count; // of bins
    bin bins[2];
    explicit table(unsigned n) : count(n) {}
};
struct heap {
    unsigned tag;                 // of its slab's page
    unsigned index;               // of its class: the offset of the bin
    sim::var<table*> bins;        // null when it was dropped
    sim::var<int> slab_blocks{2}; // free in its slab
    sim::var<unsigned> capacity;
    heap(unsigned t, unsigned i, table& b) : tag(t), index(i), bins(&b), capacity(b.count) { b.bins[i].tag.set(t); }
};

struct world {
    allot::sync::basic_rcu_reader<sim> reader;
    sim::atomic<unsigned> closed{0};
    sim::lock slot;
    table& empty = make<table>(2u);
    table& small = make<table>(1u);
    table& large = make<table>(2u);
    heap heaps[2] = {{1, 0, small}, {2, 1, large}};
    sim::atomic<table*> bins{&small};
    sim::var<unsigned> bin_mask{0};
    sim::atomic<int> remote[2]; // blocks on the slabs' remote lists
    unsigned current = 0;       // the heap of the scope that the thread is in; its own
    unsigned busy = 0;
    int in_use[2] = {2, 2};

    void check_blocks() {
        for (unsigned i = 0; i < 2; ++i) {
            heap& h = heaps[i];
            const int binned = h.bins.get() != nullptr ? h.bins.get()->bins[h.index].blocks.get() : 0;
            CHECK(binned + h.slab_blocks.get() + remote[i].load(relaxed) + in_use[i] == blocks_each);
        }
        CHECK(empty.bins[0].blocks.get() == 0 && empty.bins[1].blocks.get() == 0);
    }
};
world& new_world() {
    auto& w = make<world>();
    finally([&w] { w.check_blocks(); });
    return w;
}

/// What put_block compares and changes.
bin& bin_at(world& w, const heap& of) {
    table& t = *w.bins.load(relaxed);
    const unsigned index = of.index & w.bin_mask.get();
    CHECK(index < t.count);
    return t.bins[index];
}

/// take_block, put_block: false if the slow path has to be taken.
bool fast_alloc(world& w) {
    const std::uint64_t count = w.reader.count();
    if ((count & 1) != 0)
        return false;
    w.reader.enter_fast(count);
    bin& from = w.bins.load(relaxed)->bins[w.heaps[w.current].index];
    const int blocks = from.blocks.get();
    if (blocks != 0) {
        from.blocks.set(blocks - 1);
        ++w.in_use[w.current];
    }
    w.reader.leave_fast(count);
    return blocks != 0;
}
bool fast_free(world& w, unsigned of) {
    const heap& h = w.heaps[of];
    const std::uint64_t count = w.reader.count();
    if ((count & 1) != 0)
        return false;
    bin* to = mutant("bin_found_outside") ? &bin_at(w, h) : nullptr;
    bool taken = mutant("tag_compared_outside") && bin_at(w, h).tag.get() == h.tag;
    w.reader.enter_fast(count);
    if (to == nullptr)
        to = &bin_at(w, h);
    if (!mutant("tag_compared_outside"))
        taken = to->tag.get() == h.tag;
    const int blocks = to->blocks.get();
    taken = taken && blocks < bin_max;
    if (taken) {
        to->blocks.set(blocks + 1);
        --w.in_use[of];
    }
    w.reader.leave_fast(count);
    return taken;
}

/// put_block() of fast_rseq.hpp, in a handler: no test for a section under it, and nothing of the thread comes in between.
void restartable_free(world& w, unsigned of) {
    bin& to = bin_at(w, w.heaps[of]);
    const int blocks = to.blocks.get();
    if (to.tag.get() != w.heaps[of].tag || blocks >= bin_max)
        return;
    to.blocks.set(blocks + 1);
    --w.in_use[of];
}

/// open_fast_path(), and what else closes and opens.
void open_own(world& w) {
    heap& h = w.heaps[w.current];
    table* const fast = h.bins.get() != nullptr ? h.bins.get() : &w.empty;
    w.bin_mask.set(h.capacity.get() - 1);
    w.bins.store(fast, relaxed);
    w.closed.store(0, relaxed);
}
/// cold_section: what `inside` does is done with the slot held.
template <class F> void cold_section(world& w, F inside) {
    ++w.busy;
    w.slot.lock();
    w.bins.store(&w.empty, relaxed);
    inside();
    if (!mutant("opened_unlocked"))
        open_own(w);
    w.slot.unlock();
    if (mutant("opened_unlocked"))
        open_own(w);
    --w.busy;
}
/// own_section: what `inside` does is done in a section, with the fast path shut, if nobody is closing the slot. False if not.
template <class F> bool own_section(world& w, F inside) {
    const std::uint64_t count = w.reader.count();
    if ((count & 1) != 0 || w.busy != 0)
        return false;
    w.reader.enter_fast(count);
    const bool open = w.closed.load(acquire) == 0 || mutant("own_mark_not_tested");
    if (open) {
        table* const before = w.bins.load(relaxed);
        if (!mutant("own_leaves_open"))
            w.bins.store(&w.empty, relaxed);
        inside();
        w.bins.store(before, relaxed);
    }
    w.reader.leave_fast(count);
    return open;
}

/// next_block, of the current heap.
void next_block(world& w) {
    heap& h = w.heaps[w.current];
    table* const t = h.bins.get();
    bin* const b = t != nullptr && t->bins[h.index].tag.get() == h.tag ? &t->bins[h.index] : nullptr;
    sim::var<int>& from = b != nullptr ? b->blocks : h.slab_blocks;
    if (b != nullptr && b->blocks.get() == 0) { // fill()
        b->blocks.set(h.slab_blocks.get());
        h.slab_blocks.set(0);
    }
    if (const int blocks = from.get(); blocks != 0) {
        from.set(blocks - 1);
        ++w.in_use[w.current];
    }
}
/// Into the bin of whichever heap of the thread, or to its slab.
void put_own(world& w, unsigned of) {
    heap& h = w.heaps[of];
    table* const t = h.bins.get();
    bin* const b = t != nullptr && t->bins[h.index].tag.get() == h.tag ? &t->bins[h.index] : nullptr;
    sim::var<int>& to = b != nullptr && b->blocks.get() < bin_max ? b->blocks : h.slab_blocks;
    to.set(to.get() + 1);
    --w.in_use[of];
}

void alloc(world& w) {
    const auto take = [&w] { next_block(w); };
    if (!fast_alloc(w) && !own_section(w, take))
        cold_section(w, take);
}
void free_block(world& w, unsigned of) {
    const auto put = [&w, of] { put_own(w, of); };
    if (!fast_free(w, of) && !own_section(w, put))
        cold_section(w, put);
}
/// On top of the thread: it takes no lock.
void free_in_handler(world& w, unsigned of) {
    if (fast_free(w, of) || own_section(w, [&w, of] { put_own(w, of); }))
        return;
    w.remote[of].fetch_add(1, acq_rel);
    --w.in_use[of];
}

void install(world& w, heap& h) {
    table* const fast = h.bins.get() != nullptr ? h.bins.get() : &w.empty;
    const unsigned mask = h.capacity.get() - 1;
    if (mutant("table_first"))
        w.bins.store(fast, relaxed);
    if (w.bin_mask.get() != mask) {
        if (!mutant("mask_first") && !mutant("table_first"))
            w.bins.store(&w.empty, relaxed);
        w.bin_mask.set(mask);
    }
    w.bins.store(fast, relaxed);
}
void change_scope(world& w, unsigned to) {
    const std::uint64_t count = w.reader.count();
    const bool test_early = mutant("mark_tested_outside");
    const unsigned early = test_early ? w.closed.load(acquire) : 0;
    w.reader.enter_fast(count);
    if ((test_early ? early : w.closed.load(acquire)) == 0) {
        w.current = to;
        install(w, w.heaps[to]);
        w.reader.leave_fast(count);
        return;
    }
    w.reader.leave_fast(count);
    cold_section(w, [&w, to] { w.current = to; });
}

void close_thread(world& w) {
    if (!mutant("no_mark"))
        w.closed.store(1, seq_cst);
    allot::slab::shut<sim>(w.reader, w.bins, &w.empty);
}
/// flush() of all that the heap's bin has.
void flush(heap& h) {
    bin& b = h.bins.get()->bins[h.index];
    h.slab_blocks.set(h.slab_blocks.get() + b.blocks.get());
    b.blocks.set(0);
}
/// What reclaim does: the bins go back to their slabs.
void revoke(world& w) {
    locked hold(w.slot);
    close_thread(w);
    CHECK(w.bins.load(relaxed) == &w.empty);
    for (heap& h : w.heaps)
        if (h.bins.get() != nullptr)
            flush(h);
}
/// drop_heap(): the table is somebody else's afterwards.
void revoke_and_drop(world& w) {
    locked hold(w.slot);
    close_thread(w);
    heap& h = w.heaps[0];
    table& t = *h.bins.get();
    flush(h);
    h.bins.set(nullptr);
    h.capacity.set(2);
    retire(t);
}
/// park_cache(): the cache goes, though blocks of it live; its bin takes none of them any more.
void revoke_and_forget(world& w) {
    locked hold(w.slot);
    close_thread(w);
    heap& h = w.heaps[0];
    flush(h);
    if (!mutant("tag_stays"))
        h.bins.get()->bins[h.index].tag.set(no_bin_tag);
}

void alloc_against_revoke() {
    auto& w = new_world();
    thread([&w] {
        alloc(w);
        alloc(w);
    });
    thread([&w] { revoke(w); });
}
void free_against_revoke() {
    auto& w = new_world();
    thread([&w] {
        fast_free(w, 0);
        if (!fast_free(w, 0))
            cold_section(w, [&w] { put_own(w, 0); });
    });
    thread([&w] { revoke(w); });
}
void scope_against_revoke() {
    auto& w = new_world();
    thread([&w] {
        change_scope(w, 1);
        fast_free(w, 1);
        change_scope(w, 0);
        alloc(w);
    });
    thread([&w] { revoke(w); });
}
void two_revokers() {
    auto& w = new_world();
    thread([&w] {
        change_scope(w, 1);
        free_block(w, 1);
    });
    thread([&w] { revoke(w); });
    thread([&w] { revoke(w); });
}
void own_against_revoke() {
    auto& w = new_world();
    thread([&w] {
        if (!own_section(w, [&w] { next_block(w); }))
            cold_section(w, [&w] { next_block(w); });
        fast_free(w, 0);
    });
    thread([&w] { revoke(w); });
}
// The second block is of the heap that is not the current one.
void own_against_two_revokers() {
    auto& w = new_world();
    thread([&w] {
        own_section(w, [&w] { next_block(w); });
        own_section(w, [&w] { put_own(w, 1); });
    });
    thread([&w] { revoke(w); });
    thread([&w] { revoke(w); });
}
// A handler on top of the thread frees blocks of both heaps; inside a section, or in the slow path, it takes no lock.
void handler_against_revoke() {
    auto& w = new_world();
    thread([&w] {
        change_scope(w, 1);
        alloc(w);
    });
    handler(1, [&w] {
        free_in_handler(w, 1);
        free_in_handler(w, 0);
    });
    thread([&w] { revoke(w); });
}
// A scope change leads from a table to a larger one and back, and a handler frees a block whose bin only the larger one has. Its
// sections are restartable, so it may use them wherever it comes; there is no revoker, who would restart them.
void tables_of_two_sizes() {
    auto& w = new_world();
    thread([&w] {
        change_scope(w, 1);
        own_section(w, [&w] { next_block(w); });
        change_scope(w, 0);
    });
    handler(1, [&w] { restartable_free(w, 1); }, 2);
}
// The table of the current heap goes.
void dropped() {
    auto& w = new_world();
    thread([&w] {
        free_block(w, 0);
        fast_alloc(w);
    });
    thread([&w] { revoke_and_drop(w); });
    thread([&w] { revoke(w); });
}
// So does that of the heap that the thread comes back to.
void dropped_outside() {
    auto& w = new_world();
    thread([&w] {
        change_scope(w, 1);
        change_scope(w, 0);
        free_block(w, 0);
    });
    thread([&w] { revoke_and_drop(w); });
}
void forgotten() {
    auto& w = new_world();
    thread([&w] {
        free_block(w, 0);
        free_block(w, 0);
    });
    thread([&w] { revoke_and_forget(w); });
    finally([&w] {
        w.check_blocks();
        CHECK(w.small.bins[0].blocks.get() == 0);
    });
}

constexpr scenario scenarios[] = {
    {"gate_alloc", alloc_against_revoke, {3, 2}},
    {"gate_free", free_against_revoke, {3, 2}},
    {"gate_scope", scope_against_revoke, {2, 2}},
    {"gate_two_revokers", two_revokers, {2, 1}},
    {"gate_handler", handler_against_revoke, {2, 1}},
    {"gate_own", own_against_revoke, {3, 2}},
    {"gate_own_revokers", own_against_two_revokers, {2, 1}},
    {"gate_tables", tables_of_two_sizes, {2, 1}},
    {"gate_dropped", dropped, {2, 1}},
    {"gate_dropped_outside", dropped_outside, {2, 1}},
    {"gate_forgotten", forgotten, {3, 2}},
};

constexpr survivor survivors[] = {
    {"rcu.hpp(4)", "acquire", "all_barrier() comes before it; seq_cst is for TSan builds, which have no membarrier"},
};
constexpr step steps[] = {
    {"mark_tested_outside"}, {"no_mark"},    {"own_mark_not_tested"}, {"bin_found_outside"}, {"tag_compared_outside"},
    {"opened_unlocked"},     {"mask_first"}, {"table_first"},         {"tag_stays"}, {"own_leaves_open"},
};

} // namespace

extern const suite gate_suite;
const suite gate_suite{"gate", "gate.hpp rcu.hpp ", scenarios, survivors, steps};

} // namespace explore
