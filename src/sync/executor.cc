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
std::atomic<bool> running{false};
std::atomic<std::uint64_t> timer_at_ns{0};
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
            tls.flags |= in_push; // before the count: a handler in between must not wait either
            compiler_barrier();
            // (1) seq_cst: pairs with (3): either the fork waits for this push, or this push sees the fork.
            pushing.fetch_add(1, std::memory_order_seq_cst);
            // (2) seq_cst: pairs with (3), as (1).
            if (!forking.load(std::memory_order_seq_cst)) [[likely]]
                return;
            pushing.fetch_sub(1, std::memory_order_relaxed); // relaxed: nothing was done under it
            compiler_barrier();
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

/// Whether a grace period may wait for read-side sections of users. Where the caller may hold a lock of its own it must not.
enum class users : std::uint8_t { waited_for, left_alone };

/// Runs all functions that were given to call_rcu before, after one grace period. Without one they stay queued.
std::size_t run_callbacks(users how) noexcept ALLOT_REQUIRES(run_lock) {
    work_queue& queue = queue_of(stage::rcu);
    work* const batch = queue.take_all();
    if (batch == nullptr)
        return 0;
    if (how == users::waited_for) {
        synchronize_rcu();
    } else if (!try_synchronize_rcu()) {
        work_queue::hand_on_all(batch, [&](work& item) noexcept { queue.push(item); });
        return 0;
    }
    ALLOT_TEST_POINT("rcu:after_grace_period");
    callback_scope callbacks;
    return work_queue::run_all(batch, run_item);
}

std::size_t run_stage(stage where, users how) noexcept ALLOT_REQUIRES(run_lock) {
    if (where == stage::rcu)
        return run_callbacks(how);
    return work_queue::run_all(queue_of(where).take_all(), run_item);
}

std::size_t run_one_round(users how) noexcept ALLOT_REQUIRES(run_lock) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < stage_count; ++i)
        count += run_stage(static_cast<stage>(i), how);
    return count;
}

bool timer_is_due() noexcept {
    const std::uint64_t at = timer_at_ns.load(std::memory_order_relaxed); // relaxed: hint
    return at != 0 && platform::now_ns() >= at;
}

std::size_t run_timer() noexcept ALLOT_REQUIRES(run_lock) {
    if (!timer_is_due())
        return 0;
    timer_at_ns.store(0, std::memory_order_relaxed);                       // relaxed: under the run lock
    if (auto* function = timer_function.load(std::memory_order_relaxed)) { // relaxed: constant once set
        item_scope check(reinterpret_cast<const void*>(function));
        function();
    }
    return 1;
}

std::size_t run_locked(users how) noexcept ALLOT_REQUIRES(run_lock) {
    tls.flags |= in_executor;
    std::size_t total = run_timer();
    while (const std::size_t count = run_one_round(how))
        total += count;
    tls.flags &= ~in_executor;
    return total;
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
    busy_scope busy;
    lock_guard hold(run_lock);
    tls.flags |= in_executor;
    run_timer();
    run_one_round(users::waited_for);
    tls.flags &= ~in_executor;
}

void* worker_main(void*) noexcept {
    // Groups come and go in crowds: what comes within this time shares grace periods, sweeps and wake-ups, and a thread that makes and
    // closes many runs most of it itself, with the memory still in its cache. A child cache is wanted by somebody who is in the
    // slow path meanwhile, so that is not put off.
    constexpr std::uint64_t gather_ns = 500'000;
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
    for (const auto& each : queues)
        if (!each.queue.empty())
            return true;
    return false;
}

bool work_due() noexcept { return work_pending() || timer_is_due(); }
bool worker_running() noexcept { return running.load(std::memory_order_relaxed); } // relaxed: hint

static std::size_t run_pending_as(users how) noexcept {
    if (!may_run_items())
        return 0;
    busy_scope busy;
    lock_guard hold(run_lock);
    return run_locked(how);
}

std::size_t run_pending() noexcept { return run_pending_as(users::waited_for); }
std::size_t run_ready() noexcept { return run_pending_as(users::left_alone); }

std::size_t try_run_ready() noexcept {
    if (!may_run_items() || (tls.flags & in_marked_handler) != 0)
        return 0;
    busy_scope busy;
    if (!run_lock.try_lock())
        return 0;
    const std::size_t count = run_locked(users::left_alone);
    run_lock.unlock();
    return count;
}

/// Runs what is queued for one stage now; what is being run by another thread is waited for by way of the run lock.
static void run_one_stage(stage where) noexcept {
    ALLOT_BUG_ON((tls.flags & in_executor) != 0 || user_reading()); // it would wait for itself
    busy_scope busy;
    lock_guard hold(run_lock);
    tls.flags |= in_executor;
    run_stage(where, users::waited_for);
    tls.flags &= ~in_executor;
}

void rcu_barrier() noexcept { run_one_stage(stage::rcu); }
void flush(stage where) noexcept { run_one_stage(where); }

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
    timer_function.store(function, std::memory_order_relaxed); // relaxed: one function in practice
    // (4) seq_cst: pairs with (5): either the worker sees the timer before it sleeps, or the wake finds it asleep.
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

void executor_after_fork_child() noexcept ALLOT_NO_TSA {
    executor_after_fork_parent();
    // The worker did not come along; the next need starts one. Relaxed: one thread.
    running.store(false, std::memory_order_relaxed);
    pushing.store(0, std::memory_order_relaxed); // relaxed: as above; those that were waiting did not come along
    worker_sleep.reset_after_fork();
}

} // namespace allot::sync
