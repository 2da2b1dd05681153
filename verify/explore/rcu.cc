// SPDX-License-Identifier: MIT
//
// rcu: readers against updaters that free what they unpublished.
//
// Invariants.  An object is freed only after every section that could see it: checked by retire(), which wants all accesses to
//              happen before it, and fails every later one.
// Checked by.  the mutants
// Source.      src/sync/rcu.hpp
#include "sync/rcu.hpp"
#include "sync/work_queue.hpp"

#include "sim.hpp"

namespace explore {

namespace {

using reader = allot::sync::basic_rcu_reader<sim>;
using shared_readers = allot::sync::basic_shared_readers<sim>;
using enum std::memory_order;

struct object {
    sim::var<int> value{1};
};

struct world {
    sim::atomic<object*> published{&make<object>()};
    reader readers[2];
    shared_readers shared;

    void read() { static_cast<void>(published.load(acquire)->value.get()); }

    void grace_period(unsigned count) {
        allot::sync::synchronize<sim>([&] {
            for (unsigned i = 0; i < count; ++i)
                wait_for_reader(readers[i]);
        });
    }
    void grace_period_shared() {
        allot::sync::synchronize<sim>([&] { shared.wait(); });
    }
    object& replace() { return *published.exchange(&make<object>(), acq_rel); }
};

void read_section(world& w, reader& r) {
    const bool entered = r.enter();
    CHECK(r.inside());
    w.read();
    if (entered)
        r.leave();
    CHECK(entered != r.inside());
}

void slot_readers(unsigned count) {
    auto& w = make<world>();
    for (unsigned i = 0; i < count; ++i)
        thread([&w, i] {
            read_section(w, w.readers[i]);
            read_section(w, w.readers[i]);
        });
    thread([&w, count] {
        object& old = w.replace();
        w.grace_period(count);
        retire(old);
    });
}
void one_reader() { slot_readers(1); }
void two_readers() { slot_readers(2); }
void one_reader_no_membarrier() {
    without_membarrier();
    slot_readers(1);
}

void fast_reader() {
    auto& w = make<world>();
    thread([&w] {
        reader& r = w.readers[0];
        for (int i = 0; i < 2; ++i) {
            const std::uint64_t count = r.count();
            CHECK((count & 1) == 0);
            r.enter_fast(count);
            w.read();
            r.leave_fast(count);
        }
    });
    thread([&w] {
        object& old = w.replace();
        w.grace_period(1);
        retire(old);
    });
}

// A handler on top of the reader reads, too; on top of the updater, it reads with the updater's own slot.
void nested_reader() {
    auto& w = make<world>();
    thread([&w] { read_section(w, w.readers[0]); });
    handler(
        1, [&w] { read_section(w, w.readers[0]); }, 2);
    thread([&w] {
        object& old = w.replace();
        w.grace_period(2);
        retire(old);
    });
    handler(2, [&w] { read_section(w, w.readers[1]); });
}

// Two updaters whose grace periods overlap.
void two_updaters() {
    auto& w = make<world>();
    thread([&w] {
        read_section(w, w.readers[0]);
        read_section(w, w.readers[0]);
    });
    for (int i = 0; i < 2; ++i)
        thread([&w] {
            object& old = w.replace();
            w.grace_period(1);
            retire(old);
        });
}

void shared_section(world& w) {
    const unsigned side = w.shared.enter();
    w.read();
    w.shared.leave(side);
}

void shared_reader() {
    auto& w = make<world>();
    thread([&w] {
        shared_section(w);
        shared_section(w);
    });
    thread([&w] {
        for (int i = 0; i < 2; ++i) {
            object& old = w.replace();
            w.grace_period_shared();
            retire(old);
        }
    });
}
void shared_reader_no_membarrier() {
    without_membarrier();
    shared_reader();
}

void shared_two_readers_two_updaters() {
    auto& w = make<world>();
    for (int i = 0; i < 2; ++i)
        thread([&w] { shared_section(w); });
    for (int i = 0; i < 2; ++i)
        thread([&w] {
            object& old = w.replace();
            w.grace_period_shared();
            retire(old);
        });
}

// A reader that counts itself in and out late must not stand for one that is still inside.
void shared_late_reader() {
    auto& w = make<world>();
    for (int i = 0; i < 2; ++i)
        thread([&w] { shared_section(w); });
    thread([&w] {
        object& old = w.replace();
        w.grace_period_shared();
        retire(old);
    });
}

// stop_world() of revoke.cc: no barrier if no thread has a slot; the counts and the flag are seq_cst.
void shared_and_stop() {
    auto& w = make<world>();
    auto& stopped = make<sim::atomic<int>>(0);
    auto& data = make<sim::var<int>>();
    thread([&w, &stopped, &data] {
        const unsigned side = w.shared.enter();
        if (stopped.load(seq_cst) == 0)
            data.set(1);
        w.shared.leave(side);
    });
    thread([&w, &stopped, &data] {
        stopped.store(1, seq_cst);
        w.shared.wait();
        data.set(2);
    });
}

// A grace period that is asked for again and again instead of waited for.
void polled(bool with_slot) {
    auto& w = make<world>();
    thread([&w, with_slot] {
        for (int i = 0; i < 2; ++i)
            if (with_slot)
                read_section(w, w.readers[0]);
            else
                shared_section(w);
    });
    thread([&w] {
        object& old = w.replace();
        sim::all_barrier();
        for (unsigned round = 0; !is_quiescent(w.readers[0]) || !w.shared.idle(); ++round)
            sim::pause(round);
        retire(old);
    });
}
void polled_reader() { polled(true); }
void polled_shared_reader() { polled(false); }

void shared_in_handler() {
    auto& w = make<world>();
    thread([&w] { shared_section(w); });
    handler(1, [&w] { shared_section(w); });
    thread([&w] {
        object& old = w.replace();
        w.grace_period_shared();
        retire(old);
    });
    handler(2, [&w] { shared_section(w); });
}

struct deferred : allot::sync::basic_work<sim> {
    deferred() : basic_work([](basic_work& self) noexcept { retire(*static_cast<deferred&>(self).what); }) {}
    object* what = nullptr;
};

// call_rcu() and the executor's run_after_grace_period().
void deferred_free() {
    auto& w = make<world>();
    auto& q = make<allot::sync::basic_work_queue<sim>>();
    auto &first = make<deferred>(), &second = make<deferred>();
    const auto run_some = [&w, &q] {
        auto* batch = mutant("batch_taken_late") ? nullptr : q.take_all();
        w.grace_period(1);
        q.run_all(batch != nullptr || !mutant("batch_taken_late") ? batch : q.take_all());
    };
    thread([&w] {
        read_section(w, w.readers[0]);
        read_section(w, w.readers[0]);
    });
    thread([&w, &q, &first, &second] {
        for (deferred* d : {&first, &second}) {
            d->what = &w.replace();
            q.push(*d);
        }
    });
    thread([run_some] {
        run_some();
        run_some();
    });
    finally([&q] { q.run_batch(); });
}

constexpr scenario scenarios[] = {
    {"rcu_one_reader", one_reader, {2, 2}},
    {"rcu_two_readers", two_readers, {2, 1}},
    {"rcu_one_reader_no_membarrier", one_reader_no_membarrier, {3, 2}},
    {"rcu_fast_reader", fast_reader, {3, 2}},
    {"rcu_nested_reader", nested_reader, {2, 1}},
    {"rcu_two_updaters", two_updaters, {2, 1}},
    {"rcu_shared_reader", shared_reader, {2, 2}},
    {"rcu_shared_reader_no_membarrier", shared_reader_no_membarrier, {2, 2}},
    {"rcu_shared_two_readers_two_updaters", shared_two_readers_two_updaters, {2, 1}},
    {"rcu_shared_late_reader", shared_late_reader, {2, 2}},
    {"rcu_shared_and_stop", shared_and_stop, {3, 3}},
    {"rcu_polled_reader", polled_reader, {3, 2}},
    {"rcu_polled_shared_reader", polled_shared_reader, {3, 2}},
    {"rcu_deferred_free", deferred_free, {2, 1}},
    {"rcu_shared_in_handler", shared_in_handler, {2, 1}},
};

constexpr survivor survivors[] = {
    {"rcu.hpp(4)", "acquire", "all_barrier() comes before it; seq_cst is for TSan builds, which have no membarrier"},
    {"rcu.hpp(12)", "acquire", "as above"},
    {"rcu.hpp(4)", "relaxed", "the second barrier of synchronize() acquires; suite gate, which has none, kills it"},
    {"rcu.hpp(5)", "relaxed", "as above"},
    {"rcu.hpp:synchronizeb", "drop",
     "(4), (5), (8) acquire already; it makes a grace period a full barrier for its caller"},
    {"rcu.hpp(7)", "acq_rel", "a section's end need not come before anything later"},
    {"rcu.hpp(7)", "release", "as above"},
    {"rcu.hpp(8)", "acquire", "only the second load has to see what a seq_cst operation made"},
};

constexpr step steps[] = {{"batch_taken_late"}};

} // namespace

extern const suite rcu_suite;
const suite rcu_suite{"rcu", "rcu.hpp ", scenarios, survivors, steps};

} // namespace explore
