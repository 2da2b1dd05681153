// SPDX-License-Identifier: MIT
//
// executor: the queues, the run lock and the worker thread.
//
// Idea.        See executor.hpp. The worker sleeps on one word; a producer tests it after its push.
// Concurrency. see executor.hpp.
// Lock order.  executor.
#include "sync/executor.hpp"

#include "sync/mutex.hpp"
#include "sync/sleeper.hpp"
#include "sync/test_point.hpp"
#include "sync/thread_slot.hpp"

#include <pthread.h>

namespace allot::sync {

namespace {

constexpr auto stage_count = static_cast<std::size_t>(stage::count);
/// A line each: threads that close groups push to one while the executor pushes to the others.
struct alignas(cache_line_bytes) stage_queue {
    work_queue queue;
};
constinit stage_queue queues[stage_count] = {};
work_queue& queue_of(stage where) noexcept { return queues[static_cast<std::size_t>(where)].queue; }
constinit mutex run_lock{lock_rank::executor};

alignas(cache_line_bytes) constinit sleeper worker_sleep;
// Relaxed accesses throughout: hints, each checked again by an exchange.
std::atomic<bool> allowed{true};
auto& running = hints.running;
auto& timer_at_ns = hints.timer_at_ns;
std::atomic<void (*)() noexcept> timer_function{nullptr};

/// Threads that are queueing an item, and whether a fork waits until there is none: an item that is marked as pending and not
/// linked yet would never run in the child.
alignas(cache_line_bytes) std::atomic<std::uint32_t> pushing{0};
std::atomic<bool> forking{false};

/// Over a push. Items queued from the executor need none, since the fork holds the run lock. A handler on top of a push is
/// counted by it, and must not wait for a fork that waits for that push.
class push_scope {
  public:
    push_scope() noexcept : counted_((tls.flags & (in_executor | owns_the_world | in_push)) == 0) {
        if (!counted_)
            return;
        for (;;) {
            // Before the count: a handler in between must neither wait for a fork that waits for this push, nor take a lock that
            // the fork holds.
            tls.flags |= in_push;
            ++tls.busy;
            compiler_barrier();
            // (1) seq_cst: pairs with (3): either the fork waits for this push, or this push sees the fork.
            pushing.fetch_add(1, std::memory_order_seq_cst);
            // (2) seq_cst: pairs with (3), as (1).
            if (!forking.load(std::memory_order_seq_cst)) [[likely]]
                return;
            pushing.fetch_sub(1, std::memory_order_relaxed); // relaxed: nothing was done under it
            compiler_barrier();
            --tls.busy;
            tls.flags &= ~in_push;
            platform::yield();
        }
    }
    ~push_scope() {
        if (!counted_)
            return;
        // (6) release: pairs with (3): who sees the count at zero sees the item linked.
        pushing.fetch_sub(1, std::memory_order_release);
        compiler_barrier();
        --tls.busy;
        tls.flags &= ~in_push;
    }
    push_scope(const push_scope&) = delete;
    push_scope& operator=(const push_scope&) = delete;

  private:
    const bool counted_;
};

/// Runs one item and, in debug builds, looks at what it left behind.
void run_item(work& item, work::function function) noexcept {
    item_scope check(reinterpret_cast<const void*>(function));
    function(item);
}

/// Functions that were taken together to wait for one grace period. They stay here, pending, until one has passed, whoever sees to it.
/// Changed under the run lock; read as a hint without.
std::atomic<work*> batch{nullptr};
std::uint64_t batch_number ALLOT_GUARDED_BY(run_lock) = 0;

/// True if there is a batch, taken now if there was none.
bool have_batch() noexcept ALLOT_REQUIRES(run_lock) {
    if (batch.load(std::memory_order_relaxed) != nullptr) // relaxed: lock held
        return true;
    work* const taken = queue_of(stage::rcu).take_all();
    batch.store(taken, std::memory_order_relaxed); // relaxed: lock held
    ++batch_number;
    return taken != nullptr;
}

/// Runs the batch, whose grace period is over.
std::size_t run_batch() noexcept ALLOT_REQUIRES(run_lock) {
    ALLOT_TEST_POINT("rcu:after_grace_period");
    callback_scope callbacks;
    return work_queue::run_all(batch.exchange(nullptr, std::memory_order_relaxed), run_item); // relaxed: lock held
}

/// Runs functions whose grace period does not have to wait for a section of a user; without one they stay where they are.
std::size_t run_callbacks() noexcept ALLOT_REQUIRES(run_lock) {
    return have_batch() && try_synchronize_rcu() ? run_batch() : 0;
}

std::size_t run_stage(stage where) noexcept ALLOT_REQUIRES(run_lock) {
    return where == stage::rcu ? run_callbacks() : work_queue::run_all(queue_of(where).take_all(), run_item);
}

std::size_t run_one_round() noexcept ALLOT_REQUIRES(run_lock) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < stage_count; ++i)
        count += run_stage(static_cast<stage>(i));
    return count;
}

bool callbacks_left() noexcept {
    return batch.load(std::memory_order_relaxed) != nullptr || !queue_of(stage::rcu).empty(); // relaxed: a hint
}

bool timer_is_due(std::uint64_t (*clock)() noexcept = platform::now_ns) noexcept {
    // (7) acquire: pairs with (4): who sees the time sees the function too.
    const std::uint64_t at = timer_at_ns.load(std::memory_order_acquire);
    return at != 0 && clock() >= at;
}

std::size_t run_timer() noexcept ALLOT_REQUIRES(run_lock) {
    if (!timer_is_due())
        return 0;
    timer_at_ns.store(0, std::memory_order_relaxed);                       // relaxed: under the run lock
    if (auto* function = timer_function.load(std::memory_order_relaxed)) { // relaxed: ordered by (7)
        item_scope check(reinterpret_cast<const void*>(function));
        function();
    }
    return 1;
}

std::size_t run_locked() noexcept ALLOT_REQUIRES(run_lock) {
    tls.flags |= in_executor;
    std::size_t total = run_timer();
    while (const std::size_t count = run_one_round())
        total += count;
    tls.flags &= ~in_executor;
    return total;
}

/// Lets a grace period pass that waits for sections of users too, and runs the batch if nobody was faster. Meanwhile no lock is held: a
/// section may wait for a lock of the user's, whose holder may want the run lock. `*was_there`: the batch was taken before.
std::size_t wait_and_run_batch(bool* was_there) noexcept {
    std::uint64_t number = 0;
    {
        busy_scope busy;
        lock_guard hold(run_lock);
        *was_there = batch.load(std::memory_order_relaxed) != nullptr; // relaxed: lock held
        if (!have_batch())
            return 0;
        number = batch_number;
    }
    synchronize_rcu();
    busy_scope busy;
    lock_guard hold(run_lock);
    if (batch.load(std::memory_order_relaxed) == nullptr || batch_number != number) // relaxed: lock held
        return 0;
    tls.flags |= in_executor;
    const std::size_t count = run_batch();
    tls.flags &= ~in_executor;
    return count;
}

std::uint64_t sleep_ns() noexcept {
    // (5) seq_cst: pairs with (4).
    const std::uint64_t at = timer_at_ns.load(std::memory_order_seq_cst);
    if (at == 0)
        return 0;
    const std::uint64_t now = platform::now_ns();
    return at > now ? at - now : 1;
}

/// One round, and the lock is free again: others may want their turn.
void run_worker_round() noexcept {
    {
        busy_scope busy;
        lock_guard hold(run_lock);
        tls.flags |= in_executor;
        run_timer();
        run_one_round();
        tls.flags &= ~in_executor;
    }
    if (bool was_there = false; batch.load(std::memory_order_relaxed) != nullptr) // relaxed: a hint
        wait_and_run_batch(&was_there);
}

void* worker_main(void*) noexcept {
    // Groups come and go in crowds: what comes within this time shares grace periods, sweeps and wake-ups, and a thread that makes and
    // closes many runs most of it itself, with the memory still in its cache. A child cache that is wanted before it begins is made
    // first; one that is wanted meanwhile comes so much later, and its group uses shared slabs that much longer.
    constexpr std::uint64_t gather_ns = 2'000'000;
    pthread_setname_np(pthread_self(), "allot-worker");
    for (;;) {
        run_worker_round();
        if (!work_due())
            worker_sleep.sleep_unless(work_due, sleep_ns);
        if (queue_of(stage::create).empty())
            platform::nap(gather_ns);
    }
    return nullptr;
}

/// False on the executor itself, over fork, and inside a user's section, which a grace period would wait for.
bool may_run_items() noexcept { return (tls.flags & (in_executor | owns_the_world)) == 0 && !user_reading(); }

} // namespace

bool queue_work(stage where, work& item) noexcept {
    bool queued = false;
    {
        push_scope counted;
        queued = queue_of(where).push(item);
    }
    worker_sleep.wake();
    return queued;
}

bool queue_work_under_lock(stage where, work& item) noexcept {
    const bool queued = queue_of(where).push(item);
    worker_sleep.wake();
    return queued;
}

bool work_pending() noexcept {
    if (batch.load(std::memory_order_relaxed) != nullptr) // relaxed: who took it sees to it, or looks again
        return true;
    for (const auto& each : queues)
        if (!each.queue.empty())
            return true;
    return false;
}

bool work_due() noexcept { return work_pending() || timer_is_due(); }

bool work_was_due() noexcept { return work_pending() || timer_is_due(platform::coarse_now_ns); }

std::size_t run_ready() noexcept {
    if (!may_run_items())
        return 0;
    busy_scope busy;
    lock_guard hold(run_lock);
    return run_locked();
}

std::size_t try_run_ready() noexcept {
    if (!may_run_items() || (tls.flags & in_marked_handler) != 0)
        return 0;
    busy_scope busy;
    if (!run_lock.try_lock())
        return 0;
    const std::size_t count = run_locked();
    run_lock.unlock();
    return count;
}

std::size_t run_pending() noexcept {
    if (!may_run_items())
        return 0;
    std::size_t total = run_ready();
    for (bool was_there = false; callbacks_left();)
        total += wait_and_run_batch(&was_there) + run_ready();
    return total;
}

void rcu_barrier() noexcept {
    ALLOT_BUG_ON((tls.flags & in_executor) != 0 || user_reading()); // it would wait for itself
    // What was queued before is in the batch that the first round runs or, if that was taken before, in the second's.
    bool was_there = false;
    wait_and_run_batch(&was_there);
    if (was_there)
        wait_and_run_batch(&was_there);
}

void flush(stage where) noexcept {
    ALLOT_BUG_ON((tls.flags & in_executor) != 0 || where == stage::rcu);
    busy_scope busy;
    lock_guard hold(run_lock); // what another thread runs is over then
    tls.flags |= in_executor;
    run_stage(where);
    tls.flags &= ~in_executor;
}

void run_exclusive(void (*function)(void* data) noexcept, void* data) noexcept {
    ALLOT_BUG_ON((tls.flags & in_executor) != 0 || user_reading()); // it would wait for itself
    busy_scope busy;
    lock_guard hold(run_lock);
    tls.flags |= in_executor;
    function(data);
    tls.flags &= ~in_executor;
}

void allow_worker(bool allow) noexcept { allowed.store(allow, std::memory_order_relaxed); } // relaxed: hint
bool worker_allowed() noexcept { return allowed.load(std::memory_order_relaxed); }          // relaxed: hint

void ensure_worker() noexcept {
    if (!worker_allowed() || running.load(std::memory_order_relaxed) || // relaxed: the exchange decides
        running.exchange(true, std::memory_order_relaxed))
        return;
    platform::errno_guard keep;
    platform::signals_blocked blocked; // the thread inherits the mask
    pthread_attr_t attributes;
    pthread_t thread;
    bool started = false;
    if (pthread_attr_init(&attributes) == 0) {
        constexpr std::size_t stack_bytes = 256 * 1024;
        pthread_attr_setstacksize(&attributes, stack_bytes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        started = pthread_create(&thread, &attributes, worker_main, nullptr) == 0;
        pthread_attr_destroy(&attributes);
    }
    if (!started)
        running.store(false, std::memory_order_relaxed); // relaxed: tried again at the next need
}

void set_timer(void (*function)() noexcept, std::uint64_t delay_ns) noexcept {
    if (timer_at_ns.load(std::memory_order_relaxed) != 0) // relaxed: a lost race sets it twice, to nearly the same
        return;
    timer_function.store(function, std::memory_order_relaxed); // relaxed: (4) publishes it
    // (4) seq_cst: pairs with (5), (7): either the worker sees the timer before it sleeps, or the wake finds it asleep.
    timer_at_ns.store(platform::now_ns() + delay_ns, std::memory_order_seq_cst);
    worker_sleep.wake();
}

void executor_before_fork() noexcept ALLOT_NO_TSA { run_lock.lock(); }

void executor_close_for_fork() noexcept {
    // (3) seq_cst: pairs with (1), (2) and, as acquire, with (6). Both the store and the loads.
    forking.store(true, std::memory_order_seq_cst);
    for (unsigned round = 0; pushing.load(std::memory_order_seq_cst) != 0; ++round) // also (3)
        real::pause(round);
}

void executor_open_after_fork() noexcept {
    forking.store(false, std::memory_order_relaxed); // relaxed: who waits for it tries again
}

void executor_after_fork_parent() noexcept ALLOT_NO_TSA { run_lock.unlock(); }

void executor_after_fork_child(void (*reset_static_items)() noexcept) noexcept ALLOT_NO_TSA {
    // The threads that vanished may have marked an item as pending and not linked it, on top of a push that was waited for. Those
    // that belong to nobody who vanished, too, must be queued again some day. Relaxed, all below: one thread.
    work* lists[stage_count + 1];
    for (std::size_t i = 0; i < stage_count; ++i)
        lists[i] = queues[i].queue.take_all();
    lists[stage_count] = batch.exchange(nullptr, std::memory_order_relaxed); // relaxed: see above
    reset_static_items();
    const auto again = [](std::size_t where, work* list) noexcept {
        work_queue::hand_on_all(list, [where](work& item) noexcept { queues[where].queue.push(item); });
    };
    again(static_cast<std::size_t>(stage::rcu), lists[stage_count]); // before what was queued later
    for (std::size_t i = 0; i < stage_count; ++i)
        again(i, lists[i]);
    executor_after_fork_parent();
    // The worker did not come along; the next need starts one.
    running.store(false, std::memory_order_relaxed); // relaxed: see above
    pushing.store(0, std::memory_order_relaxed);     // relaxed: see above; those that were waiting did not come along
    worker_sleep.reset_after_fork();
}

} // namespace allot::sync
