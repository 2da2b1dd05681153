// SPDX-License-Identifier: MIT
//
// cache_gate: the destruction of a root cache against last puts and deactivations, with both guards.
//
// Idea.        The gate and the queues are the sources'. put_cache, release_cache and the destroyer stand here in short, as in
//              cache_lifecycle.cc and cache_destroy.cc; the executor is a lock, a queue of callbacks and one of work. There is
//              one act more than the sources have: the kernel's deactivation, which goes through two grace periods.
// Invariants.  From the end of settle() until open() the destroyer has the root to itself: it and the items write the same data.
//              In the end every cache has been freed, once, and the root after its children.
// Checked by.  the mutants
// Source.      src/slab/{cache_gate.hpp,cache_guard.hpp,cache_lifecycle.cc,cache_destroy.cc}, src/sync/work_queue.hpp
#include "slab/cache_gate.hpp"
#include "sync/rcu.hpp"

#include "sim.hpp"

#include <optional>

namespace explore {

namespace {

using enum std::memory_order;
using work = allot::sync::basic_work<sim>;
using queue = allot::sync::basic_work_queue<sim>;
constexpr unsigned threads_max = 4; // 0 is the scenario itself

/// What lives longer than any cache.
struct machine {
    allot::sync::basic_rcu_reader<sim> readers[threads_max];
    sim::lock guard_lock;
    sim::lock run_lock;
    queue callbacks, works;
    sim::atomic<unsigned> entries[2]{1, 1}; // of the children: who takes one out puts the cache's own reference
    bool owned = false;                     // by the destroyer; not part of what is explored
    unsigned freed = 0;
    enum { two_grace_periods, one_grace_period, nothing } deactivation = two_grace_periods; // what it does
    unsigned passes = 0;                                                                    // of settle()

    void grace_period() {
        allot::sync::synchronize<sim>([this] {
            for (auto& each : readers)
                wait_for_reader(each);
        });
    }
};
machine* m;

bool call_rcu(work& item) noexcept { return m->callbacks.push(item); }
bool queue_work(work& item) noexcept { return m->works.push(item); }

// --- Guards ------------------------------------------------------------------------------------------------------------------

struct section_guard {
    class scope {
      public:
        explicit scope(section_guard&) noexcept : entered_(m->readers[self()].enter()) {}
        ~scope() {
            if (entered_)
                m->readers[self()].leave();
        }

      private:
        const bool entered_;
    };
    template <class F> void change(F f) noexcept {
        f();
        if (!mutant("no_grace_period"))
            m->grace_period();
    }
};

struct locked_guard {
    class scope {
      public:
        explicit scope(locked_guard&) noexcept : hold_(block()) {}

      private:
        sim::lock& block() {
            if (!mutant("plain_lock"))
                blocked_.emplace();
            return m->guard_lock;
        }
        std::optional<signals_blocked> blocked_;
        locked hold_;
    };
    template <class F> void change(F f) noexcept {
        scope hold(*this);
        f();
    }
};

// --- Caches ------------------------------------------------------------------------------------------------------------------

template <class Guard> struct cache {
    struct item : work {
        explicit item(work::function f) : work(f) {}
        cache* of = nullptr;
    };

    allot::slab::basic_cache_gate<sim, Guard> gate;
    sim::atomic<unsigned> refs;
    sim::var<int> data; // of the root: whoever works on it
    cache* root = this;
    item release_work{release}, grace_work{after_grace_period}, kill_work{kill}, confirm_work{confirm};

    explicit cache(unsigned references) : refs(references) {
        for (item* each : {&release_work, &grace_work, &kill_work, &confirm_work})
            each->of = this;
    }

    static cache& begin(work& self) {
        cache& c = *static_cast<item&>(self).of;
        c.root->touch();
        CHECK(!m->owned);
        return c;
    }
    static void release(work& self) noexcept;
    static void after_grace_period(work& self) noexcept {
        cache& c = begin(self);
        if (m->deactivation != machine::nothing)
            queue_work(c.kill_work);
        else
            c.root->gate.finished();
    }
    static void kill(work& self) noexcept {
        if (m->deactivation == machine::two_grace_periods)
            call_rcu(begin(self).confirm_work);
        else
            confirm(self);
    }
    static void confirm(work& self) noexcept;
    void touch() { data.set(data.get() + 1); }
};

template <class Guard> void put_cache(cache<Guard>& c) {
    if (c.refs.fetch_sub(1, acq_rel) == 1)
        c.root->gate.enqueue_unless_dying(c.release_work, queue_work);
}

template <class Guard> void cache<Guard>::release(work& self) noexcept {
    cache& c = begin(self);
    cache& root = *c.root;
    root.gate.finished();
    ++m->freed;
    retire(c);
    if (&root != &c)
        put_cache(root);
}

/// The end of a deactivation: the cache's own reference goes.
template <class Guard> void cache<Guard>::confirm(work& self) noexcept {
    cache& c = begin(self);
    cache& root = *c.root;
    put_cache(c);
    root.gate.finished();
}

/// From a group's removal.
template <class Guard> void deactivate(cache<Guard>& child, unsigned number) {
    if (m->entries[number].exchange(0, acq_rel) != 0)
        child.root->gate.enqueue_unless_dying(child.grace_work, call_rcu);
}

// --- The executor --------------------------------------------------------------------------------------------------------------

void run_callbacks() {
    if (work* const batch = m->callbacks.take_all()) {
        m->grace_period();
        queue::run_all(batch);
    }
}
void rcu_barrier() {
    locked hold(m->run_lock);
    run_callbacks();
}
void flush() {
    locked hold(m->run_lock);
    m->works.run_batch();
}

// --- The destroyer -------------------------------------------------------------------------------------------------------------

template <class Guard> void settle(cache<Guard>& root) {
    root.gate.settle(
        [] {
            ++m->passes;
            if (mutant("synchronize_for_barrier"))
                m->grace_period();
            else
                rcu_barrier();
        },
        flush);
}

template <class Guard> void destroy(cache<Guard>& root, cache<Guard>* const (&children)[2]) {
    root.refs.fetch_add(1, relaxed);
    if (mutant("settle_before_close"))
        settle(root);
    root.gate.close();
    if (!mutant("settle_before_close"))
        settle(root);
    m->owned = true;
    root.touch();
    for (unsigned i = 0; i < 2; ++i)
        if (children[i] != nullptr && m->entries[i].exchange(0, acq_rel) != 0)
            put_cache(*children[i]);
    put_cache(root);
    root.touch();
    m->owned = false;
    root.gate.open();
    using item = typename cache<Guard>::item;
    if (!mutant("kept_forgotten"))
        queue::hand_on_all(root.gate.take_kept(), [](work& kept) {
            const bool callback = kept.run == cache<Guard>::after_grace_period;
            static_cast<item&>(kept).of->root->gate.enqueue_unless_dying(kept, callback ? call_rcu : queue_work);
        });
    put_cache(root);
}

// --- Scenarios -----------------------------------------------------------------------------------------------------------------

template <class Guard> struct world {
    cache<Guard>& root;
    cache<Guard>* children[2] = {};
};

/// A root with `count` children, each with a reference of its own and one of a slab.
template <class Guard> world<Guard>& new_world(unsigned count) {
    m = &make<machine>();
    auto& w = make<world<Guard>>(make<cache<Guard>>(1 + count));
    for (unsigned i = 0; i < count; ++i) {
        w.children[i] = &make<cache<Guard>>(2u);
        w.children[i]->root = &w.root;
    }
    finally([count] {
        for (unsigned i = 0; i < 8; ++i) {
            run_callbacks();
            m->works.run_batch();
        }
        CHECK(m->freed == 1 + count);
    });
    return w;
}
template <class Guard> void add_destroyer(world<Guard>& w) {
    thread([&w] { destroy(w.root, w.children); });
}
void add_worker(unsigned rounds) {
    thread([rounds] {
        for (unsigned i = 0; i < rounds; ++i) {
            rcu_barrier();
            flush();
        }
    });
}

template <class Guard> void last_put() {
    auto& w = new_world<Guard>(1);
    thread([&w] { put_cache(*w.children[0]); });
    add_destroyer(w);
    add_worker(1);
}
template <class Guard> void deactivation() {
    auto& w = new_world<Guard>(1);
    thread([&w] {
        deactivate(*w.children[0], 0);
        put_cache(*w.children[0]);
    });
    add_destroyer(w);
    add_worker(2);
}
// Nobody but the destroyer runs what is queued.
template <class Guard> void alone() {
    auto& w = new_world<Guard>(1);
    thread([&w] {
        deactivate(*w.children[0], 0);
        put_cache(*w.children[0]);
    });
    add_destroyer(w);
}
// One grace period: then one pass is enough.
template <class Guard> void one_grace_period() {
    auto& w = new_world<Guard>(1);
    m->deactivation = machine::one_grace_period;
    thread([&w] {
        deactivate(*w.children[0], 0);
        put_cache(*w.children[0]);
    });
    thread([&w] {
        destroy(w.root, w.children);
        CHECK(m->passes == 1);
    });
}
// The same item twice: queued, merged, or kept.
template <class Guard> void merging() {
    auto& w = new_world<Guard>(1);
    m->deactivation = machine::nothing;
    w.children[0]->refs.fetch_add(1, relaxed);
    for (int i = 0; i < 2; ++i)
        thread([&w] {
            w.root.gate.enqueue_unless_dying(w.children[0]->grace_work, call_rcu);
            put_cache(*w.children[0]);
        });
    add_destroyer(w);
}
// A handler frees the last object of one child while its thread, or the destroyer, is in the middle of the same.
template <class Guard> void last_put_in_handler() {
    auto& w = new_world<Guard>(2);
    auto& left = make<int>(1);
    const auto put = [&w, &left] {
        if (left-- > 0)
            put_cache(*w.children[1]);
    };
    thread([&w, put] {
        put_cache(*w.children[0]);
        put();
    });
    handler(1, put);
    add_destroyer(w);
    handler(2, put);
}

void last_put_section() { last_put<section_guard>(); }
void last_put_locked() { last_put<locked_guard>(); }
void deactivation_section() { deactivation<section_guard>(); }
void deactivation_locked() { deactivation<locked_guard>(); }
void alone_section() { alone<section_guard>(); }
void alone_locked() { alone<locked_guard>(); }
void one_grace_period_section() { one_grace_period<section_guard>(); }
void one_grace_period_locked() { one_grace_period<locked_guard>(); }
void merging_section() { merging<section_guard>(); }
void merging_locked() { merging<locked_guard>(); }
void handler_section() { last_put_in_handler<section_guard>(); }
void handler_locked() { last_put_in_handler<locked_guard>(); }

constexpr scenario scenarios[] = {
    {"cache_gate_last_put_section", last_put_section, {2, 1}},
    {"cache_gate_last_put_locked", last_put_locked, {2, 1}},
    {"cache_gate_deactivation_section", deactivation_section, {2, 1}},
    {"cache_gate_deactivation_locked", deactivation_locked, {2, 1}},
    {"cache_gate_alone_section", alone_section, {2, 1}},
    {"cache_gate_alone_locked", alone_locked, {2, 1}},
    {"cache_gate_one_grace_period_section", one_grace_period_section, {2, 1}},
    {"cache_gate_one_grace_period_locked", one_grace_period_locked, {2, 1}},
    {"cache_gate_merging_section", merging_section, {2, 1}},
    {"cache_gate_merging_locked", merging_locked, {2, 1}},
    {"cache_gate_handler_section", handler_section, {2, 1}},
    {"cache_gate_handler_locked", handler_locked, {2, 1}},
};

constexpr step steps[] = {
    {"no_grace_period"}, {"plain_lock"}, {"settle_before_close"}, {"synchronize_for_barrier"}, {"kept_forgotten"},
};

} // namespace

extern const suite cache_gate_suite;
const suite cache_gate_suite{"cache_gate", "cache_gate.hpp ", scenarios, {}, steps};

} // namespace explore
