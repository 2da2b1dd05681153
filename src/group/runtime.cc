// SPDX-License-Identifier: MIT
//
// runtime: the order in which the layers come up, and the order in which fork holds them.
//
// Idea.        See runtime.hpp.
// Concurrency. The first caller initialises; others that come meanwhile wait.
// Lock order.  fork: reclaim > executor > tree > caches > registry > slot.
#include "group/runtime.hpp"

#include "group/mem_cgroup.hpp"
#include "group/records.hpp"
#include "platform/rseq.hpp"
#include "platform/topology.hpp"
#include "slab/cache_lifecycle.hpp"
#include "slab/page_alloc.hpp"
#include "sync/test_point.hpp"

#include <pthread.h>

namespace allot::memcg {

namespace {

constexpr std::uint32_t not_started = 0;
constexpr std::uint32_t starting = 1;
constexpr std::uint32_t ready = 2;
constexpr std::uint32_t broken = 3;
std::atomic<std::uint32_t> phase{not_started};
std::atomic<bool> hooks_installed{false};

constexpr std::uint64_t decay_ns = 500'000'000;
constexpr std::uint64_t dirty_pages_kept = 2048; // 8 MiB

bool tryget_owner(slab::cache_owner& owner) noexcept { return tryget(static_cast<mem_cgroup&>(owner)); }
void put_owner(slab::cache_owner& owner) noexcept { put(static_cast<mem_cgroup&>(owner)); }
const char* owner_name(const slab::cache_owner& owner) noexcept { return static_cast<const mem_cgroup&>(owner).name(); }

bool bring_up() noexcept {
    slab::hooks = {tryget_owner,     put_owner,    want_child,   owner_name,
                   reclaim_at_limit, note_failure, forget_cache, adopt_cache};
    slab::obj_cgroup_unlink = forget_owner;
    counter::above_high = soft_limit_note;
    platform::membarrier_ready();
    platform::rseq_init(&sync::tls.rseq_cs);
    static_cast<void>(platform::numa_node_count()); // read here, not in a charge
    if (!slab::arena_init() || !tree_init() || !slab::obj_cgroup_init())
        return false;
    if (!slab::kmalloc_caches_init())
        return false;
    if (!sync::slots_init(slab::construct_heaps, slab::end_thread) || !slab::reserve_init())
        return false;
    root_group->objects = slab::obj_cgroup_create(*root_group);
    if (root_group->objects == nullptr)
        return false;
    root_group->owners.push_back(*root_group->objects);
    // The orphan slot: attached and detached once, so that it is constructed and has no owner.
    if (!sync::slot_attach())
        return false;
    sync::slot_detach();
    sync::slot_reserve_orphan();
    return true;
}

void before_fork() noexcept ALLOT_NO_TSA {
    ALLOT_ASSERT(!sync::user_reading()); // a grace period under way would wait for this thread, and this thread for it
    ++sync::tls.busy;
    reclaim_guard().lock();
    sync::executor_before_fork();
    tree_lock().lock();
    slab::caches_lock().lock();
    slab::stop_world();
    sync::executor_close_for_fork();
    records_before_fork();
    ALLOT_TEST_POINT("fork:world_stopped");
    --sync::tls.busy;
}

void after_fork_parent() noexcept ALLOT_NO_TSA {
    ++sync::tls.busy;
    sync::executor_open_after_fork();
    slab::resume_world();
    slab::caches_lock().unlock();
    tree_lock().unlock();
    sync::executor_after_fork_parent();
    reclaim_guard().unlock();
    --sync::tls.busy;
}

void reset_static_items() noexcept {
    reset_crowd_works();
    slab::reset_static_works();
}

void after_fork_child() noexcept ALLOT_NO_TSA {
    ++sync::tls.busy;
    sync::executor_open_after_fork();
    records_after_fork_child();
    slab::park_dead_threads();
    slab::resume_world();
    sync::slots_after_fork();
    slab::caches_lock().unlock();
    tree_lock().unlock();
    sync::executor_after_fork_child(reset_static_items);
    reclaim_guard().unlock();
    --sync::tls.busy;
    slab::requeue_after_fork();
    if (!slab::nested())
        settle_figures(nullptr);
    records_restart_counts();
}

void decay() noexcept {
    slab::trim_idle_threads();
    free_spares();
    if (slab::pages_dirty() > dirty_pages_kept)
        slab::purge();
    note_idle_memory();
}

struct publication {
    const char* directory;
    int result;
};

void publish(void* data) noexcept {
    auto& job = *static_cast<publication*>(data);
    sync::lock_guard hold(tree_lock());
    slab::stop_world();
    job.result = records_publish(job.directory);
    slab::resume_world();
}

} // namespace

bool ensure_runtime() noexcept {
    // (1) acquire: pairs with (2).
    std::uint32_t now = phase.load(std::memory_order_acquire);
    if (now == ready) [[likely]]
        return true;
    if (now == not_started && phase.compare_exchange_strong(now, starting, std::memory_order_acquire, // (3) as (1)
                                                            std::memory_order_relaxed)) {             // relaxed: lost
        sync::busy_scope busy; // a handler on top must neither take a lock nor wait for us
        const bool up = bring_up();
        // (2) release: pairs with (1).
        phase.store(up ? ready : broken, std::memory_order_release);
        return up;
    }
    while ((now = phase.load(std::memory_order_acquire)) == starting) // (4) as (1)
        platform::yield();
    return now == ready;
}

void install_process_hooks() noexcept {
    if (!ensure_runtime() || hooks_installed.exchange(true, std::memory_order_relaxed)) // relaxed: constructors
        return;
    sync::slots_make_exit_hook();
    pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

int publish_figures(const char* directory) noexcept {
    publication job{directory, 0};
    sync::run_exclusive(publish, &job);
    return job.result;
}

void note_idle_memory() noexcept {
    if (slab::pages_dirty() > dirty_pages_kept || slab::trim_is_wanted() || spares_are_kept())
        sync::set_timer(decay, decay_ns);
}

} // namespace allot::memcg
