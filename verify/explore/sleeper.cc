// SPDX-License-Identifier: MIT
//
// sleeper: the worker's sleep against pushes to its queues.
//
// Invariants.  No push is lost in a sleep: a worker that sleeps for ever is a deadlock.
// Checked by.  the mutants
// Source.      src/sync/sleeper.hpp, src/sync/work_queue.hpp, worker_main() and queue_work() of src/sync/executor.cc
#include "sync/sleeper.hpp"
#include "sync/work_queue.hpp"

#include "sim.hpp"

namespace explore {

namespace {

using work = allot::sync::basic_work<sim>;
using queue = allot::sync::basic_work_queue<sim>;
using sleeper = allot::sync::basic_sleeper<sim>;

struct world {
    queue queues[2];
    sleeper sleep;
    int ran = 0;
};
world* the_world;
void run(work&) noexcept { ++the_world->ran; }

void worker(world& w, int count) {
    while (w.ran < count) {
        for (queue& q : w.queues)
            q.run_batch();
        if (w.ran < count)
            w.sleep.sleep_unless([&w] { return !w.queues[0].empty() || !w.queues[1].empty(); }, [] { return 0u; });
    }
}
void push(world& w, unsigned which, work& item) {
    w.queues[which].push(item);
    w.sleep.wake();
}

} // namespace

// In the suite of work_queue.cc.
void sleeper_one_producer() {
    auto& w = *(the_world = &make<world>());
    auto& item = make<work>(run);
    thread([&w] { worker(w, 1); });
    thread([&w, &item] { push(w, 0, item); });
}
void sleeper_two_pushes() {
    auto& w = *(the_world = &make<world>());
    auto &a = make<work>(run), &b = make<work>(run);
    thread([&w] { worker(w, 2); });
    thread([&w, &a, &b] { push(w, 0, a), push(w, 1, b); });
}
void sleeper_two_producers() {
    auto& w = *(the_world = &make<world>());
    auto &a = make<work>(run), &b = make<work>(run);
    thread([&w] { worker(w, 2); });
    thread([&w, &a] { push(w, 0, a); });
    thread([&w, &b] { push(w, 1, b); });
}

} // namespace explore
