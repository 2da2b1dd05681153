// SPDX-License-Identifier: MIT
//
// work_queue: producers, handlers and one consumer.
//
// Invariants.  Each push that was accepted is followed by exactly one run, and a run sees what was written before every push,
//              accepted or merged, that came before it. A producer's items run in its order. An item may free itself.
// Checked by.  the mutants
// Source.      src/sync/work_queue.hpp
#include "sync/work_queue.hpp"

#include "sim.hpp"

namespace explore {

// sleeper.cc
void sleeper_one_producer();
void sleeper_two_pushes();
void sleeper_two_producers();

namespace {

using work = allot::sync::basic_work<sim>;
using queue = allot::sync::basic_work_queue<sim>;
using enum std::memory_order;

struct item : work {
    explicit item(function f) : work(f) {}
    sim::var<int> payload{0};
    sim::atomic<int> written[2]{};
    int runs = 0;
    int accepted = 0;
    int order = 0;
    int seen[2] = {};
};

struct world {
    queue q;
    item* items[3] = {};
    int ran = 0;
    sim::atomic<int> ended{0};
};
world* the_world;

item& self_of(work& w) { return static_cast<item&>(w); }

/// Runs batches until `count` producers have ended and nothing is left.
void run_until_over(world& w, int count) {
    for (unsigned round = 0;; ++round) {
        const bool over = w.ended.load(acquire) == count;
        if (w.q.run_batch() == 0) {
            if (over)
                return;
            sim::pause(round);
        }
    }
}
void end_producer(world& w) { w.ended.fetch_add(1, release); }

void run_once(work& self) noexcept {
    item& i = self_of(self);
    CHECK(i.payload.get() == 7);
    ++i.runs;
    i.order = ++the_world->ran;
}

void push_one(world& w, item& i) {
    i.payload.set(7);
    CHECK(w.q.push(i));
}

world& new_world(int count, work::function f) {
    the_world = &make<world>();
    for (int i = 0; i < count; ++i)
        the_world->items[i] = &make<item>(f);
    return *the_world;
}

void producers() {
    auto& w = new_world(3, run_once);
    thread([&w] {
        push_one(w, *w.items[0]);
        push_one(w, *w.items[1]);
        end_producer(w);
    });
    thread([&w] {
        push_one(w, *w.items[2]);
        end_producer(w);
    });
    thread([&w] { run_until_over(w, 2); });
    finally([&w] {
        for (const item* i : w.items)
            CHECK(i->runs == 1);
        CHECK(w.items[0]->order < w.items[1]->order);
    });
}

void handlers() {
    auto& w = new_world(3, run_once);
    thread([&w] {
        push_one(w, *w.items[0]);
        end_producer(w);
    });
    thread([&w] { run_until_over(w, 1); });
    handler(1, [&w] { push_one(w, *w.items[1]); });
    handler(2, [&w] { push_one(w, *w.items[2]); });
    finally([&w] {
        w.q.run_batch(); // what a handler pushed after the consumer's last look
        CHECK(w.items[0]->runs == 1);
        CHECK(w.items[1]->runs <= 1 && w.items[2]->runs <= 1);
        CHECK(w.ran == w.items[0]->runs + w.items[1]->runs + w.items[2]->runs);
    });
}

void run_merged(work& self) noexcept {
    item& i = self_of(self);
    i.payload.set(i.payload.get() + 1); // runs do not overlap
    ++i.runs;
    for (int p = 0; p < 2; ++p)
        i.seen[p] = i.written[p].load(relaxed);
}

// Both producers push the same item, again and again.
void merging() {
    auto& w = new_world(1, run_merged);
    for (int p = 0; p < 2; ++p)
        thread([&w, p] {
            item& i = *w.items[0];
            for (int n = 1; n <= 2; ++n) {
                i.written[p].store(n, relaxed);
                i.accepted += w.q.push(i);
            }
            end_producer(w);
        });
    thread([&w] { run_until_over(w, 2); });
    finally([&w] {
        const item& i = *w.items[0];
        CHECK(i.runs == i.accepted);
        CHECK(i.seen[0] == 2 && i.seen[1] == 2);
    });
}

// What is taken goes to another queue, as from a cache's gate, while the producers push it again.
void handing_on() {
    auto& w = new_world(1, run_merged);
    auto& second = make<queue>();
    for (int p = 0; p < 2; ++p)
        thread([&w, p] {
            item& i = *w.items[0];
            for (int n = 1; n <= 2; ++n) {
                i.written[p].store(n, relaxed);
                i.accepted += w.q.push(i);
            }
            end_producer(w);
        });
    thread([&w, &second] {
        for (unsigned round = 0;; ++round) {
            const bool over = w.ended.load(acquire) == 2;
            w.q.hand_on_all(w.q.take_all(), [&second](work& each) { second.push(each); });
            if (second.run_batch() == 0) {
                if (over)
                    return;
                sim::pause(round);
            }
        }
    });
    finally([&w] {
        const item& i = *w.items[0];
        CHECK(i.runs >= 1 && i.runs <= i.accepted);
        CHECK(i.seen[0] == 2 && i.seen[1] == 2);
    });
}

void run_again(work& self) noexcept {
    item& i = self_of(self);
    i.payload.set(i.payload.get() + 1);
    if (++i.runs == 1)
        i.accepted += the_world->q.push(i);
}

// The function queues its own item, and a producer does, too.
void requeue() {
    auto& w = new_world(1, run_again);
    for (int p = 0; p < 2; ++p)
        thread([&w] {
            w.items[0]->accepted += w.q.push(*w.items[0]);
            end_producer(w);
        });
    thread([&w] { run_until_over(w, 2); });
    finally([&w] { CHECK(w.items[0]->runs == w.items[0]->accepted && w.items[0]->runs >= 2); });
}

void run_and_free(work& self) noexcept {
    item& i = self_of(self);
    CHECK(i.payload.get() == 7);
    retire(i);
    ++the_world->ran;
}

void self_freeing() {
    auto& w = new_world(2, run_and_free);
    for (int p = 0; p < 2; ++p)
        thread([&w, p] {
            push_one(w, *w.items[p]);
            end_producer(w);
        });
    thread([&w] { run_until_over(w, 2); });
    finally([&w] { CHECK(w.ran == 2); });
}

// Two consumers under a lock, as the executor's run lock.
void two_consumers() {
    auto& w = new_world(2, run_once);
    auto& run_lock = make<sim::lock>();
    thread([&w] {
        push_one(w, *w.items[0]);
        push_one(w, *w.items[1]);
    });
    for (int c = 0; c < 2; ++c)
        thread([&w, &run_lock] {
            locked hold(run_lock);
            w.q.run_batch();
        });
    finally([&w] {
        w.q.run_batch();
        CHECK(w.items[0]->runs == 1 && w.items[1]->runs == 1 && w.items[0]->order < w.items[1]->order);
    });
}

constexpr scenario scenarios[] = {
    {"queue_producers", producers, {2, 1}},
    {"queue_handlers", handlers, {3, 1}},
    {"queue_merging", merging, {2, 1}},
    {"queue_handing_on", handing_on, {2, 1}},
    {"queue_requeue", requeue, {2, 1}},
    {"queue_self_freeing", self_freeing, {3, 1}},
    {"queue_two_consumers", two_consumers, {2, 2}},
    {"sleeper_one_producer", sleeper_one_producer, {3, 3}},
    {"sleeper_two_pushes", sleeper_two_pushes, {3, 2}},
    {"sleeper_two_producers", sleeper_two_producers, {2, 1}},
};

constexpr survivor survivors[] = {
    {"work_queue.hpp(3)", "acq_rel", "who takes all does not look at a flag of the producers afterwards"},
    {"work_queue.hpp(3)", "acquire", "the empty list that it stores carries nothing"},
    {"work_queue.hpp(6)", "release", "the push that follows acquires"},
    {"sleeper.hpp(2)b", "acq_rel", "the test before it is seq_cst, and an exchange reads the newest value"},
    {"sleeper.hpp(2)b", "acquire", "as above"},
    {"sleeper.hpp(2)b", "release", "as above"},
    {"sleeper.hpp(2)b", "relaxed", "as above"},
};

} // namespace

extern const suite work_queue_suite;
const suite work_queue_suite{"work_queue", "work_queue.hpp sleeper.hpp ", scenarios, survivors, {}};

} // namespace explore
