// SPDX-License-Identifier: MIT
//
// remote: a slab's word: freers, the holder, parking, adoption and who gives the slab back.
//
// Idea.        push_remote_word() and take_remote_word() are the sources'. What the holders do around them (park, adopt,
//              process_queued of slab_ops.cc, a chain of bins.cc) stands here in short, with the same locks and the same
//              bits; the whole of it is modelled in verify/spin/remote_free.pml.
// Invariants.  Each block comes back exactly once, with what its user last wrote seen; the slab is released exactly once, empty,
//              and never while `queued` is set; nobody touches it afterwards.
// Checked by.  the mutants
// Source.      src/slab/{remote.hpp,slab_ops.cc,free.cc,bins.cc}
#include "slab/remote.hpp"

#include "sim.hpp"

namespace explore {

namespace {

using namespace allot::slab;
using enum std::memory_order;
constexpr unsigned block_count = 3;

struct block {
    sim::var<std::uint16_t> link{0};
    sim::var<int> data{0};
};
struct descriptor {
    sim::atomic<std::uint64_t> word{remote_frozen};
    sim::var<unsigned> free_blocks{0}; // the holder's: a bit each
    block blocks[block_count];
};
struct world {
    sim::lock node;
    sim::var<bool> on_node{false}; // the node's list; with its lock
    descriptor& s = make<descriptor>();
    sim::var<int> slot_made[2]; // what a thread slot is made of, before its thread adopts slabs
    unsigned in_use = 0;        // of the driver
    int released = 0;
};
world& new_world(unsigned blocks, std::uint64_t word) {
    auto& w = make<world>();
    w.in_use = blocks;
    w.s.word.store(word, relaxed);
    w.on_node.set((word & remote_frozen) == 0);
    return w;
}
unsigned all_of(const world& w) { return (1u << w.in_use) - 1; }

/// collect() of slab_ops.cc.
void collect(world& w, std::uint64_t clear, std::uint64_t set) {
    const std::uint64_t word = take_remote_word<sim>(w.s.word, clear, set);
    unsigned count = 0;
    for (auto head = static_cast<std::uint16_t>(word & remote_head_mask); head != 0; ++count) {
        block& b = w.s.blocks[head - 1u];
        const unsigned bit = 1u << (head - 1u);
        CHECK((w.s.free_blocks.get() & bit) == 0);
        CHECK(b.data.get() == head);
        head = b.link.get();
        w.s.free_blocks.set(w.s.free_blocks.get() | bit);
    }
    CHECK(count == remote_count(word));
}

void release_slab(world& w) {
    CHECK(w.s.free_blocks.get() == all_of(w));
    CHECK((w.s.word.load(relaxed) & (remote_queued | remote_head_mask)) == 0);
    ++w.released;
    retire(w.s);
}

/// park(): the holder gives the slab up.
void park(world& w) {
    bool empty = false;
    {
        locked hold(w.node);
        collect(w, remote_frozen | ~std::uint64_t{0} << remote_slot_shift,
                mutant("park_without_notify") ? 0 : remote_notify);
        const bool queued =
            !mutant("park_ignores_queued") && (w.s.word.load(acquire) & remote_queued) != 0; // is_queued()
        empty = w.s.free_blocks.get() == all_of(w) && !queued;
        if (!empty)
            w.on_node.set(true);
    }
    if (empty)
        release_slab(w);
}

/// process_queued(): whoever has the duty.
void process(world& w) {
    bool empty = false;
    {
        locked hold(w.node);
        const std::uint64_t word = w.s.word.load(acquire);
        if ((word & remote_frozen) == 0) {
            if (mutant("queued_cleared_late"))
                collect(w, 0, 0);
            else
                collect(w, remote_queued, 0);
            empty = w.s.free_blocks.get() == all_of(w);
            CHECK(w.on_node.get());
            if (empty)
                w.on_node.set(false);
        } else {
            collect(w, remote_queued, 0); // by the holder, or handed to it: the scenarios have one slot
        }
    }
    if (mutant("queued_cleared_late") && !empty)
        take_remote_word<sim>(w.s.word, remote_queued, 0);
    if (empty)
        release_slab(w);
}

/// free_remote() of free.cc.
void free_block(world& w, unsigned which) {
    block& b = w.s.blocks[which];
    b.data.set(static_cast<int>(which) + 1);
    const std::uint64_t old =
        push_remote_word<sim>(w.s.word, which + 1, 1, [&b](std::uint16_t next) { b.link.set(next); });
    if ((old & remote_notify) != 0 && (old & remote_queued) == 0)
        process(w);
}

/// flush() of bins.cc sends what a bin has of the slab: linked before, one exchange.
void free_chain(world& w, unsigned first, unsigned last) {
    w.s.blocks[first].data.set(static_cast<int>(first) + 1);
    w.s.blocks[last].data.set(static_cast<int>(last) + 1);
    w.s.blocks[first].link.set(static_cast<std::uint16_t>(last + 1));
    block& end = w.s.blocks[mutant("linked_behind_the_first") ? first : last];
    const std::uint64_t old =
        push_remote_word<sim>(w.s.word, first + 1, 2, [&end](std::uint16_t next) { end.link.set(next); });
    if ((old & remote_notify) != 0 && (old & remote_queued) == 0)
        process(w);
}

void check_released(world& w) {
    finally([&w] { CHECK(w.released == 1); });
}

// The holder takes what two freers push; what is left it finds at the end.
void push_and_take() {
    auto& w = new_world(3, remote_frozen);
    thread([&w] { free_block(w, 0), free_block(w, 1); });
    thread([&w] { free_block(w, 2); });
    thread([&w] { collect(w, 0, 0), collect(w, 0, 0); });
    finally([&w] {
        collect(w, 0, 0);
        CHECK(w.s.free_blocks.get() == all_of(w));
        CHECK(w.s.word.load(relaxed) == remote_frozen);
    });
}

// One freer has a chain, and nobody holds the slab, or its holder parks it meanwhile.
void chain_unowned() {
    auto& w = new_world(3, remote_notify);
    thread([&w] { free_chain(w, 0, 1); });
    thread([&w] { free_block(w, 2); });
    check_released(w);
}
void chain_parked() {
    auto& w = new_world(3, remote_frozen);
    thread([&w] { free_chain(w, 1, 0); });
    thread([&w] { free_block(w, 2); });
    thread([&w] { park(w); });
    check_released(w);
}

// Nobody holds the slab: the freers process it.
void unowned() {
    auto& w = new_world(2, remote_notify);
    thread([&w] { free_block(w, 0); });
    thread([&w] { free_block(w, 1); });
    check_released(w);
}
void unowned_three() {
    auto& w = new_world(3, remote_notify);
    for (unsigned i = 0; i < 3; ++i)
        thread([&w, i] { free_block(w, i); });
    check_released(w);
}

// The holder parks it meanwhile.
void parked() {
    auto& w = new_world(2, remote_frozen);
    thread([&w] { free_block(w, 0); });
    thread([&w] { free_block(w, 1); });
    thread([&w] { park(w); });
    check_released(w);
}

// The holder has marked it full: a freer has it queued, and parking finds it so.
void full_and_parked() {
    auto& w = new_world(2, remote_frozen | remote_notify);
    thread([&w] { free_block(w, 0); });
    thread([&w] { free_block(w, 1); });
    thread([&w] { park(w); });
    check_released(w);
}

// A handler on top of a freer frees another block; it takes no lock, so the duty is done later.
void freeing_handler() {
    auto& w = new_world(2, remote_notify);
    auto& deferred = make<sim::atomic<int>>(0);
    thread([&w] { free_block(w, 0); });
    handler(1, [&w, &deferred] {
        block& b = w.s.blocks[1];
        b.data.set(2);
        const std::uint64_t old = push_remote_word<sim>(w.s.word, 2, 1, [&b](std::uint16_t next) { b.link.set(next); });
        if ((old & remote_notify) != 0 && (old & remote_queued) == 0)
            deferred.store(1, std::memory_order_release);
        else
            deferred.store(2, std::memory_order_release);
    });
    finally([&w, &deferred] {
        if (deferred.load(acquire) == 1)
            process(w);
        CHECK(w.released == (deferred.load(acquire) != 0));
    });
}

// An adopter makes it its own, and gives it up again.
void adopted() {
    auto& w = new_world(2, remote_notify);
    thread([&w] { free_block(w, 0); });
    thread([&w] { free_block(w, 1); });
    thread([&w] {
        bool mine = false;
        {
            locked hold(w.node);
            if (w.on_node.get() && w.s.free_blocks.get() != 0) {
                w.on_node.set(false);
                collect(w, remote_notify, remote_frozen | std::uint64_t{1} << remote_slot_shift);
                mine = true;
            }
        }
        if (mine)
            park(w);
    });
    check_released(w);
}

// A thread that has just got its slot adopts the slab and marks it full; a freer finds the slot's number in the word.
void adopted_and_full() {
    auto& w = new_world(3, remote_notify | remote_queued);
    thread([&w] {
        block& b = w.s.blocks[0];
        b.data.set(1);
        const std::uint64_t old = push_remote_word<sim>(w.s.word, 1, 1, [&b](std::uint16_t next) { b.link.set(next); });
        if ((old & remote_frozen) != 0)
            CHECK(w.slot_made[remote_slot(old)].get() == 1); // queue_for_slot()
    });
    thread([&w] {
        w.slot_made[1].set(1);
        {
            locked hold(w.node);
            collect(w, remote_notify, remote_frozen | std::uint64_t{1} << remote_slot_shift);
        }
        collect(w, 0, remote_notify);
    });
}

constexpr scenario scenarios[] = {
    {"remote_push_and_take", push_and_take, {2, 1}},
    {"remote_chain_unowned", chain_unowned, {3, 2}},
    {"remote_chain_parked", chain_parked, {2, 1}},
    {"remote_unowned", unowned, {3, 2}},
    {"remote_unowned_three", unowned_three, {2, 1}},
    {"remote_parked", parked, {2, 1}},
    {"remote_full_and_parked", full_and_parked, {2, 1}},
    {"remote_freeing_handler", freeing_handler, {3, 1}},
    {"remote_adopted", adopted, {2, 1}},
    {"remote_adopted_and_full", adopted_and_full, {3, 2}},
};

constexpr step steps[] = {
    {"park_without_notify"}, {"park_ignores_queued"}, {"queued_cleared_late"}, {"linked_behind_the_first"}};

} // namespace

extern const suite remote_suite;
const suite remote_suite{"remote", "remote.hpp ", scenarios, {}, steps};

} // namespace explore
