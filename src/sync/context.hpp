// SPDX-License-Identifier: MIT
//
// context: which contexts code runs in, and in debug builds the proof that each does only what it may.
//
// Idea.        Lockdep's. A lock may be taken in a context that comes on top of other code (a signal handler, an RCU callback) only
//              if that context is kept away wherever else the lock is taken. Nobody has to meet the deadlock: for each rank we
//              keep where it was first taken in the context and where it was first taken with the context enabled, and the
//              second of the two to come is a bug that names both places.
//
//              | taken                                              | against taken                                       |
//              | IN-HANDLER         in a marked handler             | HANDLER-ON         signals open, thread not busy    |
//              | IN-NESTED-HANDLER  ... that interrupted the library | NESTED-HANDLER-ON  signals open                     |
//              | IN-CALLBACK        in a function given to call_rcu | CALLBACK-ON        thread not busy, not in executor |
//
//              A busy thread's handlers take no lock (`nested()`), so being busy keeps ordinary handlers away; that they keep
//              to it is the second line. The library cannot see that it runs in a handler: handler_scope says so.
// Invariants.  I1  A rank has not both facts of a line; who would make it so is reported first.
// Concurrency. any thread and its handlers; the facts are shared and never change back.
// Lock order.  takes none.
// Checked by.  test/sync/context_test.cc
// Source.      Linux kernel/locking/lockdep.c (usage bits), might_sleep(), fs_reclaim; docs/contexts.md.
#pragma once

#include "base/text_line.hpp"
#include "sync/lock_rank.hpp"
#include "sync/thread_slot.hpp"

namespace allot::sync {

inline constexpr auto rank_count = static_cast<std::size_t>(lock_rank::count);

#if ALLOT_DEBUG

/// What the calling thread holds.
struct held_locks {
    std::uint16_t count[rank_count];
    std::uint16_t spin[rank_count]; ///< of these, spinlocks
    call_site where[rank_count];    ///< where the last one of the rank was taken
};
const held_locks& locks_held() noexcept;
const char* name_of(lock_rank rank) noexcept;

/// True inside a read-side section of the library.
bool in_own_section() noexcept;

/// Facts about a rank; a pair of neighbours excludes each other.
enum class lock_fact : std::uint8_t {
    in_handler,
    handler_on,
    in_nested_handler,
    nested_handler_on,
    in_callback,
    callback_on,
    count
};
/// Notes that a lock of the rank is taken here; a bug if that contradicts what was noted before. Who only tries does not wait for
/// what it interrupted, so it is not noted as being in a context.
void note_lock_context(lock_rank rank, bool waits, call_site where) noexcept;
/// Where the fact was first noted; line 0: not yet.
call_site first_noted(lock_rank rank, lock_fact fact) noexcept;
/// Forgets what was noted of the rank. For tests, which share a process.
void forget_lock_contexts(lock_rank rank) noexcept;

/// A bug if the caller must not wait for other work: a spinlock is held, inside a read-side section, in a handler or callback.
void might_block(call_site where = call_site::current()) noexcept;
/// The same for a mutex, whose holders never wait for sections of users: there it may be taken.
void might_lock(call_site where = call_site::current()) noexcept;
/// A bug if the caller must not reclaim: a lock is held that reclaim may want, or this is the executor. Also may block.
void might_reclaim(call_site where = call_site::current()) noexcept;
/// A bug if the calling thread, which ends, still holds a lock.
void check_thread_end() noexcept;

/// Over one item of deferred work: a bug if it leaves a section open, a lock held, or the thread more or less busy.
class item_scope {
  public:
    explicit item_scope(const void* function) noexcept;
    ~item_scope();
    item_scope(const item_scope&) = delete;
    item_scope& operator=(const item_scope&) = delete;

  private:
    const void* const function_;
    const std::uint32_t busy_;
    const std::uint32_t locks_;
    const bool in_section_;
    const bool user_reading_;
};

/// What handler_scope and callback_scope tell the checks.
void handler_entered(bool nested) noexcept;
void handler_left(bool nested) noexcept;
void callback_entered() noexcept;
void callback_left() noexcept;

/// The text of a report.
class lock_report {
  public:
    lock_report& operator<<(const char* text) noexcept {
        line_ << text;
        return *this;
    }
    lock_report& operator<<(lock_rank rank) noexcept { return *this << name_of(rank); }
    lock_report& operator<<(call_site where) noexcept;
    lock_report& operator<<(const void* address) noexcept;
    /// Reports a bug at `where`.
    [[noreturn]] void die(call_site where) noexcept;

  private:
    base::text_line line_;
};

#else

inline void forget_lock_contexts(lock_rank) noexcept {}
inline void might_block(call_site = {}) noexcept {}
inline void might_lock(call_site = {}) noexcept {}
inline void might_reclaim(call_site = {}) noexcept {}
inline void check_thread_end() noexcept {}
inline void handler_entered(bool) noexcept {}
inline void handler_left(bool) noexcept {}
inline void callback_entered() noexcept {}
inline void callback_left() noexcept {}
class item_scope {
  public:
    explicit item_scope(const void*) noexcept {}
};

#endif

/// Marks a signal handler over a scope. A marked handler neither reclaims nor runs deferred work. Context: any.
class handler_scope {
  public:
    handler_scope() noexcept
        : was_handler_((tls.flags & in_marked_handler) != 0),
          nested_(tls.busy != 0 || (tls.slot != &no_slot && tls.slot->reader.inside())) {
        tls.flags |= in_marked_handler;
        handler_entered(nested_);
    }
    ~handler_scope() {
        handler_left(nested_);
        if (!was_handler_)
            tls.flags &= ~in_marked_handler;
    }
    handler_scope(const handler_scope&) = delete;
    handler_scope& operator=(const handler_scope&) = delete;

  private:
    const bool was_handler_;
    const bool nested_;
};

/// Marks the running of functions that were given to call_rcu. Context: worker.
class callback_scope {
  public:
    callback_scope() noexcept { callback_entered(); }
    ~callback_scope() { callback_left(); }
    callback_scope(const callback_scope&) = delete;
    callback_scope& operator=(const callback_scope&) = delete;
};

} // namespace allot::sync
