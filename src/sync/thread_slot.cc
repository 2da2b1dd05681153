// SPDX-License-Identifier: MIT
//
// thread_slot: the registry of slots and the grace period over them.
//
// Idea.        Slots lie in one lazily backed mapping, indexed by number; free numbers are on a stack in a second one.
// Concurrency. the registry lock guards the stack; the walk is lock-free.
// Lock order.  registry.
#include "sync/thread_slot.hpp"

#include "platform/memory.hpp"
#include "sync/context.hpp"

#include <new>
#include <pthread.h>

namespace allot::sync {

constexpr std::uint32_t not_reading = ~std::uint32_t{0};

// Its counter is odd for ever, so that the fast paths of a thread without a slot fall through to the slow ones.
constinit thread_slot no_slot{.reader = {1}, .user_reader = {}};
__thread thread_state tls __attribute__((tls_model("initial-exec"), visibility("hidden"))) = {
    &no_bins, &no_slot, 0, 0, 0, 0, nullptr, not_reading, 0, 0};
constinit shared_readers rcu_guard::shared_{};
/// Sections of users without a slot; apart, since whoever stops the world waits for ours and not for theirs.
static constinit shared_readers user_readers{};

namespace {

constinit spinlock registry{lock_rank::registry};
char* slots_base = nullptr; // constant after slots_init
std::uint32_t* free_numbers ALLOT_GUARDED_BY(registry) = nullptr;
std::uint32_t free_count ALLOT_GUARDED_BY(registry) = 0;
std::atomic<std::uint32_t> used{1}; // number 0 is "no slot"
void (*construct_slot)(thread_slot&) noexcept = nullptr;
void (*on_thread_exit)() noexcept = nullptr;
pthread_key_t exit_key;
std::atomic<bool> exit_hook_ready{false};

std::uint32_t slot_count = slot_count_max; // constant after slots_init

/// Slots take at most this part of a limited address space.
std::uint32_t affordable_slots() noexcept {
    constexpr std::uint64_t part = 64;
    const std::uint64_t limit = platform::address_space_limit();
    const std::uint64_t count = limit / part / slot_bytes;
    return count < slot_count_max ? static_cast<std::uint32_t>(count) : slot_count_max;
}

void thread_exit_hook(void*) noexcept {
    check_thread_end();
    on_thread_exit();
}

} // namespace

bool slots_init(void (*construct)(thread_slot& slot) noexcept, void (*thread_exit)() noexcept) noexcept {
    construct_slot = construct;
    on_thread_exit = thread_exit;
    slot_count = affordable_slots();
    slots_base = static_cast<char*>(platform::map(slot_bytes * slot_count));
    auto* numbers = static_cast<std::uint32_t*>(platform::map(sizeof(std::uint32_t) * slot_count));
    lock_guard hold(registry);
    free_numbers = numbers;
    return slots_base != nullptr && numbers != nullptr;
}

void slots_make_exit_hook() noexcept {
    if (exit_hook_ready.load(std::memory_order_relaxed)) // relaxed: one thread runs constructors
        return;
    if (pthread_key_create(&exit_key, thread_exit_hook) != 0)
        return;
    // (1) release: pairs with (2): who sees the hook ready sees the key.
    exit_hook_ready.store(true, std::memory_order_release);
    if (tls.slot != &no_slot)
        pthread_setspecific(exit_key, tls.slot);
}

thread_slot& slot_at(std::uint32_t index) noexcept {
    return *reinterpret_cast<thread_slot*>(slots_base + slot_bytes * index);
}

std::uint32_t slots_used() noexcept {
    // (3) acquire: pairs with (4): slots below the count are constructed.
    return used.load(std::memory_order_acquire);
}

spinlock& slots_registry_lock() noexcept { return registry; }

bool slot_attach() noexcept {
    thread_slot* slot = nullptr;
    {
        busy_scope busy;
        if (tls.slot != &no_slot)
            return true; // a handler was here first
        lock_guard hold(registry);
        std::uint32_t index = 0;
        if (free_count != 0)
            index = free_numbers[--free_count];
        else if (const std::uint32_t fresh = used.load(std::memory_order_relaxed); fresh < slot_count) // relaxed: lock
            index = fresh;
        if (index == 0)
            return false;
        slot = &slot_at(index);
        if (!slot->initialised) {
            slot = new (slot) thread_slot;
            slot->index = index;
            construct_slot(*slot);
            slot->initialised = true;
            // (4) release: pairs with (3).
            used.store(index + 1, std::memory_order_release);
        }
        lock_guard own(slot->lock);
        slot->owner.store(&tls, std::memory_order_relaxed); // relaxed: read under the slot's lock or as a hint
        tls.slot = slot;
    }
    // (2) acquire: pairs with (1). Outside the locks: pthread_setspecific may allocate.
    if (exit_hook_ready.load(std::memory_order_acquire))
        pthread_setspecific(exit_key, slot);
    return true;
}

void slot_detach() noexcept {
    thread_slot* const slot = tls.slot;
    busy_scope busy;
    lock_guard hold(registry);
    lock_guard own(slot->lock);
    ALLOT_BUG_ON(
        slot->user_reader.inside()); // a thread must not end inside a section: every grace period would wait for ever
    // (5) seq_cst: pairs with slab/free.cc(1): who queues work for the slot after the last look at its queue sees it empty.
    slot->owner.store(nullptr, std::memory_order_seq_cst);
    tls.slot = &no_slot;
    free_numbers[free_count++] = slot->index;
}

void slot_reserve_orphan() noexcept {
    busy_scope busy;
    lock_guard hold(registry);
    ALLOT_BUG_ON(free_count != 1 || free_numbers[0] != 1);
    free_count = 0;
}

void slots_after_fork() noexcept ALLOT_NO_TSA {
    registry.reset_after_fork();
    const std::uint32_t end = slots_used();
    for (std::uint32_t i = 1; i < end; ++i) {
        thread_slot& slot = slot_at(i);
        slot.lock.reset_after_fork();
        if (&slot == tls.slot || slot.owner.load(std::memory_order_relaxed) == nullptr) // relaxed: one thread
            continue;
        slot.owner.store(nullptr, std::memory_order_relaxed); // relaxed: one thread
        if (slot.reader.inside())
            slot.reader.leave();
        if (slot.user_reader.inside())
            slot.user_reader.leave();
        free_numbers[free_count++] = i;
    }
    rcu_guard::shared_side().reset_after_fork();
    user_readers.reset_after_fork();
}

void user_read_lock() noexcept {
    if (user_reading()) {
        ++tls.read_depth;
        return;
    }
    if (tls.slot != &no_slot)
        tls.slot->user_reader.enter();
    else
        tls.read_side = user_readers.enter();
}

void user_read_unlock() noexcept {
    ALLOT_ASSERT(user_reading());
    if (tls.read_depth != 0) {
        --tls.read_depth;
        return;
    }
    if (tls.read_side == not_reading) {
        tls.slot->user_reader.leave();
        return;
    }
    const std::uint32_t side = tls.read_side;
    tls.read_side = not_reading;
    user_readers.leave(side);
}

bool user_reading() noexcept {
    return tls.read_side != not_reading || (tls.slot != &no_slot && tls.slot->user_reader.inside());
}

bool try_synchronize_rcu() noexcept {
    ALLOT_ASSERT(tls.slot == &no_slot || !tls.slot->reader.inside());
    ALLOT_ASSERT(!user_reading());
    const std::uint32_t used_now = slots_used();
    for (std::uint32_t i = 1; i < used_now; ++i)
        if (slot_at(i).user_reader.inside())
            return false; // a look before the barrier, which costs more
    bool users_are_out = true;
    synchronize<real>([&]() noexcept {
        const std::uint32_t end = slots_used();
        for (std::uint32_t i = 1; i < end && users_are_out; ++i)
            users_are_out = is_quiescent(slot_at(i).user_reader);
        users_are_out = users_are_out && user_readers.idle();
        for (std::uint32_t i = 1; i < end && users_are_out; ++i)
            wait_for_reader(slot_at(i).reader);
        if (users_are_out)
            rcu_guard::shared_side().wait();
    });
    return users_are_out;
}

void synchronize_rcu() noexcept {
    might_block();
    synchronize<real>([]() noexcept {
        const std::uint32_t end = slots_used();
        for (std::uint32_t i = 1; i < end; ++i) {
            wait_for_reader(slot_at(i).reader);
            wait_for_reader(slot_at(i).user_reader);
        }
        rcu_guard::shared_side().wait();
        user_readers.wait();
    });
}

} // namespace allot::sync
