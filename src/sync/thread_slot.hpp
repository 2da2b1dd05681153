// SPDX-License-Identifier: MIT
//
// thread_slot: what the library keeps for each thread, in memory that is never unmapped.
//
// Idea.        A thread has 64 bytes of thread-local storage (thread_state, initial-exec, nothing to destroy) and a slot of
//              mapped memory that others may look at. Slots are handed out by number and reused, never freed, so whoever
//              walks them needs no lock. A thread without a slot (before its first allocation, after its exit hook) has
//              number 0 and uses shared state.
// Invariants.  I1  `owner` is non-null exactly while a live thread uses the slot; it changes under the slot's lock.
//              I2  Only the owning thread writes `reader`; others read it.
// Concurrency. attach/detach: the thread itself. The walk: any thread.
// Lock order.  registry > slot.
// Checked by.  test/sync/thread_slot_test.cc
#pragma once

#include "sync/rcu.hpp"
#include "sync/spinlock.hpp"

namespace allot::sync {

struct thread_slot;
/// What `bins` points to while the fast path is shut. The slab layer defines it; threads begin with it.
struct shut_table;
extern shut_table no_bins;

/// The thread-local block. `bins`, `bin_mask` and `heap` are the slab layer's; `bins` is what a revoker closes a thread's fast path
/// with.
struct alignas(cache_line_bytes) thread_state {
    std::atomic<void*> bins;  ///< table of the heap's bins; one of empty bins while closed
    thread_slot* slot;        ///< never null; `no_slot` without one
    std::uint32_t bin_mask;   ///< keeps an offset inside the table; changed while `bins` is one of the largest size
    std::uint32_t busy;       ///< > 0: inside the library with locks; a handler on top must not take any
    std::uint32_t flags;      ///< thread_exited, in_executor, ...
    std::uint32_t read_depth; ///< read-side sections of the user inside the outermost one
    void* heap;               ///< heap of the innermost scope
    std::uint32_t read_side;  ///< without a slot: side of the shared readers that the outermost one is counted on
    std::atomic<std::uint64_t> allocations; ///< count of blocks that the fast path handed out
    std::uint64_t rseq_cs;                  ///< stands in for the kernel's word where it does not restart sections
};
static_assert(sizeof(thread_state) == cache_line_bytes);

inline constexpr std::uint32_t thread_exited = 1u << 0;
inline constexpr std::uint32_t in_executor = 1u << 1;
inline constexpr std::uint32_t owns_the_world = 1u << 2;
inline constexpr std::uint32_t in_push = 1u << 3;
inline constexpr std::uint32_t in_marked_handler = 1u << 4;

struct alignas(cache_line_bytes) thread_slot {
    rcu_reader reader;        // I2
    rcu_reader user_reader;   // I2; sections of the user, inside which memory is allocated as always
    std::uint32_t index = 0;  // constant once set
    bool initialised = false; // guarded by the registry lock
    alignas(cache_line_bytes) spinlock lock{lock_rank::slot};
    std::atomic<thread_state*> owner{nullptr}; // I1
    // The slab layer's part follows in the same slot.
};

inline constexpr std::size_t slot_bytes = 20480;
inline constexpr std::uint32_t slot_count_max = 16384; ///< fewer under a small RLIMIT_AS

/// Stands for "no slot". Its reader is always inside, so that no fast path is taken.
extern thread_slot no_slot;

extern __thread thread_state tls __asm__("allot_tls") __attribute__((tls_model("initial-exec"), visibility("hidden")));

/// Maps the slots. False when out of memory. Context: init.
bool slots_init(void (*construct)(thread_slot& slot) noexcept, void (*thread_exit)() noexcept) noexcept;
/// Makes the exit hook; from the library's constructor, when thread keys are still few. Context: init.
void slots_make_exit_hook() noexcept;
/// Gives the calling thread a slot. False when there is none. Context: task.
bool slot_attach() noexcept;
/// Takes the calling thread's slot away. The slab layer has emptied it. Context: task.
void slot_detach() noexcept;
/// Takes slot 1 out of circulation: it serves all threads without a slot. It was attached and detached before. Context: init.
void slot_reserve_orphan() noexcept;
/// In a forked child: the slot of every thread but the calling one loses its owner. Context: fork_child.
void slots_after_fork() noexcept;
/// Slot by number, 1 .. slots_used(). Context: any.
thread_slot& slot_at(std::uint32_t index) noexcept;
/// One more than the highest number ever handed out. Context: any.
std::uint32_t slots_used() noexcept;
/// Keeps threads from coming and going while held.
spinlock& slots_registry_lock() noexcept;

/// Marks this thread as inside the library over a scope, so that a handler on top takes no lock. Context: any.
class busy_scope {
  public:
    ALLOT_INLINE busy_scope() noexcept {
        ++tls.busy;
        compiler_barrier();
    }
    ALLOT_INLINE ~busy_scope() {
        compiler_barrier();
        --tls.busy;
    }
    busy_scope(const busy_scope&) = delete;
    busy_scope& operator=(const busy_scope&) = delete;
};

/// A read-side section of any thread. Context: any. Nothing inside may block.
class rcu_guard {
  public:
    rcu_guard() noexcept {
        if (tls.slot != &no_slot) [[likely]] {
            entered_ = tls.slot->reader.enter() ? own : nested;
            return;
        }
        ++tls.busy; // a handler on top takes no lock: whoever stops the world waits for this section
        compiler_barrier();
        side_ = shared_.enter();
        slotless_section_entered();
    }
    ~rcu_guard() {
        if (entered_ == own) [[likely]] {
            tls.slot->reader.leave();
        } else if (entered_ == shared) {
            slotless_section_left();
            shared_.leave(side_);
            compiler_barrier();
            --tls.busy;
        }
    }
    rcu_guard(const rcu_guard&) = delete;
    rcu_guard& operator=(const rcu_guard&) = delete;

    /// True for the outermost section of a thread that has a slot; a handler on top of it is in one that is not.
    bool is_outermost() const noexcept { return entered_ == own; }
    static shared_readers& shared_side() noexcept { return shared_; }

  private:
    enum how : std::uint8_t { shared, own, nested };
    how entered_ = shared;
    unsigned side_ = 0;
    static shared_readers shared_;
};

/// A read-side section of the user: longer than ours, and not "inside the library". Sections nest. Context: any.
void user_read_lock() noexcept;
void user_read_unlock() noexcept;
/// True if the calling thread is inside such a section. Context: any.
bool user_reading() noexcept;

/// True after a grace period; false at once if a section of a user is under way, which may last for long, or for ever if it waits
/// for a lock that the caller's caller holds. Our own sections, which are short, are waited for. Context: task, not inside a section.
[[nodiscard]] bool try_synchronize_rcu() noexcept;
/// Waits until every read-side section that began before has ended. Context: task, not inside a section.
void synchronize_rcu() noexcept;

} // namespace allot::sync
