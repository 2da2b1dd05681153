// SPDX-License-Identifier: MIT
//
// percpu_ref: gets and puts against switches, kills and resurrection.
//
// Idea.        The section is percpu_real's of percpu_ref.hpp, over readers of this world: cell numbers are thread numbers.
// Invariants.  The release runs once, when the last reference is put, and after every use that a put ended: users write data of
//              the object, the release writes it all. No tryget_online that begins after the confirmation succeeds, no tryget that
//              begins after the release. Cells are freed only when nobody adds to them.
// Checked by.  the mutants
// Source.      src/sync/percpu_ref.hpp
#include "sync/percpu_ref.hpp"

#include "sim.hpp"

namespace explore {

namespace {

using enum std::memory_order;
constexpr unsigned users_max = 4; // threads; numbers from 1

struct percpu_sim : sim {
    class percpu_section {
      public:
        percpu_section() noexcept;
        ~percpu_section();
        unsigned index() const noexcept {
            return entered_ == own || (entered_ == nested && mutant("nested_uses_cell")) ? self() : 0;
        }

      private:
        enum how { shared, own, nested } entered_ = shared;
        unsigned side_ = 0;
    };
};

using ref = allot::sync::basic_percpu_ref<percpu_sim>;
using cells = ref::cells;

struct object {
    explicit object(unsigned references) : refs(references) {}
    ref refs;
    sim::var<int> used[users_max + 1];
};

struct world {
    allot::sync::basic_rcu_reader<sim> readers[users_max + 1];
    allot::sync::basic_shared_readers<sim> slotless_readers;
    object* o = nullptr;
    unsigned slotless = 0; // number of a thread without a slot
    unsigned threads = 0;
    // Not part of what is explored: known to the scenario at each instant.
    bool confirmed = false;
    unsigned released = 0;

    void grace_period() {
        allot::sync::synchronize<sim>([this] {
            for (unsigned t = 1; t <= threads; ++t)
                wait_for_reader(readers[t]);
            if (slotless != 0)
                slotless_readers.wait();
        });
    }
};
world* the_world;

percpu_sim::percpu_section::percpu_section() noexcept {
    if (self() == the_world->slotless)
        side_ = the_world->slotless_readers.enter();
    else
        entered_ = the_world->readers[self()].enter() ? own : nested;
}
percpu_sim::percpu_section::~percpu_section() {
    if (entered_ == own)
        the_world->readers[self()].leave();
    else if (entered_ == shared)
        the_world->slotless_readers.leave(side_);
}

cells& new_cells(unsigned count) { return cells::create(engine::allocate(cells::bytes_for(count)), count); }
void free_cells(cells* old) {
    if (old != nullptr)
        engine::retire(old, cells::bytes_for(users_max));
}

/// A world with `threads` threads; the owner and each of `holders` threads have a reference.
world& new_world(unsigned threads, unsigned holders, bool percpu, unsigned cell_count = users_max) {
    auto& w = *(the_world = &make<world>());
    w.threads = threads;
    w.o = &make<object>(1 + holders);
    if (percpu)
        static_cast<void>(w.o->refs.switch_to_percpu(new_cells(cell_count)));
    finally([&w] { CHECK(w.released == 1 && w.o->refs.count() == 0 && !w.o->refs.is_percpu()); });
    return w;
}

void use(world& w) {
    auto& mine = w.o->used[self()];
    mine.set(mine.get() + 1);
}
void put(world& w) {
    use(w);
    if (!w.o->refs.put())
        return;
    CHECK(w.released == 0);
    ++w.released;
    for (auto& each : w.o->used) // not free, for finally(); but whoever uses it now races with this
        each.set(0);
}
void get(world& w) {
    w.o->refs.get();
    CHECK(w.released == 0);
}
/// Takes a reference if it can be had, and puts it.
void try_online(world& w) {
    const bool confirmed = w.confirmed;
    if (!w.o->refs.tryget_online())
        return;
    CHECK(!confirmed && w.released == 0);
    put(w);
}
void try_any(world& w) {
    if (!w.o->refs.tryget())
        return;
    CHECK(w.released == 0);
    put(w);
}

void confirm(world& w) {
    if (!mutant("no_grace_period"))
        w.grace_period();
    free_cells(w.o->refs.confirm_kill());
    w.confirmed = true;
}
/// All of a removal.
void kill(world& w) {
    w.o->refs.begin_kill();
    if (mutant("put_before_confirm"))
        put(w);
    confirm(w);
    if (!mutant("put_before_confirm"))
        put(w);
}

void get_put_put(world& w) {
    get(w);
    put(w);
    put(w);
}

void get_put_against_kill() {
    auto& w = new_world(3, 2, true);
    for (int i = 0; i < 2; ++i)
        thread([&w] { get_put_put(w); });
    thread([&w] { kill(w); });
}
void no_membarrier() {
    without_membarrier();
    get_put_against_kill();
}

// Reference of one thread is put by another.
void handed_over() {
    auto& w = new_world(3, 1, true);
    auto& told = make<sim::atomic<int>>(0);
    thread([&w, &told] {
        get(w);
        told.store(1, release);
        put(w);
    });
    thread([&w, &told] {
        for (unsigned round = 0; told.load(acquire) == 0; ++round)
            sim::pause(round);
        put(w);
    });
    thread([&w] { kill(w); });
}

// Nobody else gets: from the confirmation on, references only become fewer.
void tryget_online_against_kill(bool percpu) {
    auto& w = new_world(2, 0, percpu);
    thread([&w] {
        try_online(w);
        try_online(w);
    });
    thread([&w] {
        w.o->refs.begin_kill();
        confirm(w);
        const std::uint64_t confirmed = w.o->refs.count();
        CHECK(w.o->refs.count() <= confirmed);
        put(w);
    });
}
void tryget_online_percpu() { tryget_online_against_kill(true); }
void tryget_online_atomic() { tryget_online_against_kill(false); }
void tryget_against_last_put() {
    auto& w = new_world(3, 1, false);
    thread([&w] {
        try_any(w);
        try_any(w);
    });
    thread([&w] { put(w); });
    thread([&w] { kill(w); });
}

// To per-slot and back, then the kill.
void switches() {
    auto& w = new_world(3, 2, false);
    for (int i = 0; i < 2; ++i)
        thread([&w] { get_put_put(w); });
    thread([&w] {
        CHECK(w.o->refs.switch_to_percpu(new_cells(users_max)));
        CHECK(w.o->refs.begin_switch_to_atomic());
        w.grace_period();
        free_cells(w.o->refs.finish_switch_to_atomic());
        kill(w);
    });
}
// One thread finds it hot while another kills it.
void switch_against_kill() {
    auto& w = new_world(3, 2, false);
    thread([&w] {
        cells& fresh = new_cells(users_max);
        if (!w.o->refs.switch_to_percpu(fresh))
            free_cells(&fresh);
        put(w);
    });
    thread([&w] { get_put_put(w); });
    thread([&w] { kill(w); });
}
// A kill comes while the cells are on the way back.
void kill_during_switch() {
    auto& w = new_world(3, 1, true);
    auto& killed = make<sim::atomic<int>>(0);
    thread([&w, &killed] {
        w.o->refs.begin_kill();
        killed.store(1, release);
    });
    thread([&w, &killed] {
        if (w.o->refs.begin_switch_to_atomic()) {
            w.grace_period();
            free_cells(w.o->refs.finish_switch_to_atomic());
        }
        for (unsigned round = 0; killed.load(acquire) == 0; ++round)
            sim::pause(round);
        confirm(w);
        put(w);
    });
    thread([&w] { get_put_put(w); });
}

void get_put(world& w) {
    get(w);
    put(w);
}
// On top of a section, and of the controller.
void handlers() {
    auto& w = new_world(2, 1, true);
    auto& holds = make<bool>(true);
    thread([&w, &holds] {
        get_put(w);
        holds = false;
        put(w);
    });
    handler(
        1,
        [&w, &holds] {
            if (holds)
                get_put(w);
        },
        2);
    thread([&w] { kill(w); });
    handler(2, [&w] { try_online(w); });
}
// What a section gets, a handler on top of a later one puts.
void handler_puts() {
    auto& w = new_world(2, 2, true);
    auto& left = make<int>(1);
    const auto put_one = [&w, &left] {
        if (left-- > 0)
            put(w);
    };
    thread([&w, put_one] {
        get_put(w);
        put_one();
        put(w);
    });
    handler(1, put_one);
    thread([&w] { kill(w); });
}
void without_a_slot() {
    auto& w = new_world(3, 2, true);
    w.slotless = 2;
    thread([&w] { get_put_put(w); });
    thread([&w] {
        try_online(w);
        put(w);
    });
    thread([&w] { kill(w); });
}
void beyond_the_cells() {
    auto& w = new_world(2, 1, true, 0);
    thread([&w] { get_put_put(w); });
    thread([&w] {
        w.o->refs.begin_kill();
        w.grace_period();
        static_cast<void>(w.o->refs.confirm_kill());
        put(w);
    });
}

// Back to life, in both forms, and killed once more.
void resurrect_with(bool percpu) {
    auto& w = new_world(2, 1, true);
    thread([&w] {
        get_put(w);
        try_online(w);
        put(w);
    });
    thread([&w, percpu] {
        w.o->refs.begin_kill();
        confirm(w);
        w.confirmed = false;
        w.o->refs.resurrect(percpu ? &new_cells(users_max) : nullptr);
        try_online(w);
        kill(w);
    });
}
void resurrect_percpu() { resurrect_with(true); }
void resurrect_atomic() { resurrect_with(false); }

constexpr scenario scenarios[] = {
    {"percpu_ref_get_put", get_put_against_kill, {2, 1}},
    {"percpu_ref_no_membarrier", no_membarrier, {2, 1}},
    {"percpu_ref_handed_over", handed_over, {2, 1}},
    {"percpu_ref_tryget_online", tryget_online_percpu, {3, 2}},
    {"percpu_ref_tryget_online_atomic", tryget_online_atomic, {3, 2}},
    {"percpu_ref_tryget", tryget_against_last_put, {2, 1}},
    {"percpu_ref_switches", switches, {2, 1}},
    {"percpu_ref_switch_against_kill", switch_against_kill, {2, 1}},
    {"percpu_ref_kill_during_switch", kill_during_switch, {2, 1}},
    {"percpu_ref_handlers", handlers, {2, 1}},
    {"percpu_ref_handler_puts", handler_puts, {2, 1}},
    {"percpu_ref_without_a_slot", without_a_slot, {2, 1}},
    {"percpu_ref_beyond_the_cells", beyond_the_cells, {2, 1}},
    {"percpu_ref_resurrect_percpu", resurrect_percpu, {2, 1}},
    {"percpu_ref_resurrect_atomic", resurrect_atomic, {2, 1}},
};

constexpr survivor survivors[] = {
    {"percpu_ref.hpp(4)", "relaxed", "the barriers of the grace period order it; TSan builds have none"},
};
constexpr step steps[] = {{"nested_uses_cell"}, {"no_grace_period"}, {"put_before_confirm"}};

} // namespace

extern const suite percpu_ref_suite;
const suite percpu_ref_suite{"percpu_ref", "percpu_ref.hpp ", scenarios, survivors, steps};

} // namespace explore
