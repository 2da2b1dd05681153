// SPDX-License-Identifier: MIT
//
// executor: runs deferred work, one item at a time, on the library's thread or on whoever asks.
//
// Idea.        One queue a stage (grace period, create, offline, release, free), so that a stage waits only for earlier ones.
//              Whoever holds the run lock runs everything that is queued: the worker thread, a caller of quiesce(), or a
//              thread that polls. So a flush never depends on another thread's progress, a forked child needs no worker,
//              and a program without threads runs the same code. A fork waits for pushes that are under way.
// Invariants.  I1  Items run under the run lock, so two never run at once.
//              I2  An item of stage `rcu` runs after a grace period that began after it was queued.
//              I3  Who holds the run lock waits for no read-side section of a user. (The section may wait for a lock whose holder
//                  wants the run lock.)
// Concurrency. queue: any thread, Context any. run_pending, drain: Context task, no lock held.
// Lock order.  executor, outermost.
// Checked by.  test/sync/executor_test.cc
// Source.      Linux kernel/workqueue.c, kernel/rcu/tree.c (rcu_barrier); docs/design.md "Deferred work".
#pragma once

#include "sync/spinlock.hpp"
#include "sync/work_queue.hpp"

namespace allot::sync {

enum class stage : std::uint8_t {
    rcu,     ///< functions to run after a grace period
    create,  ///< making child caches
    offline, ///< taking a closed group apart
    release, ///< what a last put asked for
    free,    ///< giving memory back
    count
};

/// Queues `item` for its stage. False if it was pending. Context: any; keeps errno.
bool queue_work(stage where, work& item) noexcept;
/// The same, for who holds a lock that a fork takes first (tree, a slot), so that no fork can come between.
bool queue_work_under_lock(stage where, work& item) noexcept;
/// Runs `item` after a grace period. It must not be pending: a second call would be merged with one whose grace period is under
/// way, unless the caller makes up for that. Context: any.
inline bool call_rcu(work& item) noexcept { return queue_work(stage::rcu, item); }

/// Runs what is queued now and what that queues. Returns the count of items. 0 when called from an item. Context: task.
std::size_t run_pending() noexcept;
/// As run_pending, but leaves alone what would have to wait for a read-side section of a user, which may wait for a lock that the
/// caller's caller holds. Context: task.
std::size_t run_ready() noexcept;
/// As run_ready, but gives up at once if another thread is running items. Context: task, also under locks of users.
std::size_t try_run_ready() noexcept;
/// Runs `function` while no item runs. Must not be called from an item. Context: task, no lock held.
void run_exclusive(void (*function)(void* data) noexcept, void* data) noexcept;
/// True if something is queued. Context: any.
bool work_pending() noexcept;
/// True if something is queued or the timer is due. Context: any.
bool work_due() noexcept;
/// The same some milliseconds ago, for those who ask often. Context: any.
bool work_was_due() noexcept;
/// What every slow call asks, so in the header. Relaxed: hints.
struct executor_hints {
    std::atomic<bool> running{false};          ///< the library's thread runs
    std::atomic<std::uint64_t> timer_at_ns{0}; ///< 0: no timer is set
};
inline constinit executor_hints hints{};
/// True if the library's thread runs.
inline bool worker_running() noexcept { return hints.running.load(std::memory_order_relaxed); } // relaxed: see above
/// True if set_timer() would do nothing.
inline bool timer_is_set() noexcept { return hints.timer_at_ns.load(std::memory_order_relaxed) != 0; } // relaxed: too
/// Waits until all items queued before the call, and what they queued, have run. Context: task.
inline void drain() noexcept {
    while (run_pending() != 0) {
    }
}
/// Waits until all functions given to call_rcu before the call have run, but not for what those queued. Context: task.
void rcu_barrier() noexcept;
/// Waits until all items queued for the stage before the call have run, but not for what those queued. Not for stage `rcu`.
/// Context: task.
void flush(stage where) noexcept;

/// Lets the library have a thread, or not (then somebody has to poll). The thread starts with the next need. Context: task.
void allow_worker(bool allowed) noexcept;
bool worker_allowed() noexcept;
/// Starts the thread if it is allowed and not there. A failure is no error: whoever polls runs the work. Context: task, no lock.
void ensure_worker() noexcept;
/// Runs `function` on the executor once `delay_ns` have passed. One timer; a second call while it is set does nothing.
void set_timer(void (*function)() noexcept, std::uint64_t delay_ns) noexcept;

/// Fork: held over it by the forking thread.
void executor_before_fork() noexcept;
/// The last step before the fork, with all other locks held: nobody is in the middle of queueing an item from here on.
void executor_close_for_fork() noexcept;
/// The first step after the fork, in parent and child, while this thread still owns the world: a handler on top of the next steps
/// queues items as always, and would wait for itself.
void executor_open_after_fork() noexcept;
void executor_after_fork_parent() noexcept;
/// `reset_static_items` clears `pending` of all items that live for ever; those that are queued are marked again.
void executor_after_fork_child(void (*reset_static_items)() noexcept) noexcept;

} // namespace allot::sync
