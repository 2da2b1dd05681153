// SPDX-License-Identifier: MIT
//
// context: the facts about each rank, and what each thread is in.
//
// Idea.        See context.hpp. A fact is noted once; from then on it costs one load. The signal mask is asked for only while a
//              fact is still open.
// Concurrency. see context.hpp. Two threads that note the two facts of a pair at the same time: one of them sees both.
#include "sync/context.hpp"

#if ALLOT_DEBUG

namespace allot::sync {

namespace {

constexpr auto fact_count = static_cast<std::size_t>(lock_fact::count);

/// Where a fact was first noted.
struct first_note {
    static constexpr std::uint32_t unknown = 0;
    static constexpr std::uint32_t claimed = 1; ///< somebody writes `where`
    static constexpr std::uint32_t known = 2;

    std::atomic<std::uint32_t> state{unknown};
    call_site where;
};
constinit first_note notes[rank_count][fact_count] = {};

/// What the calling thread is in.
struct context {
    std::uint32_t handlers;
    std::uint32_t nested_handlers; ///< of these, the ones that interrupted the library
    std::uint32_t callbacks;
    std::uint32_t slotless_sections;
};
thread_local constinit context here{};

struct fact_text {
    const char* name;
    const char* place;
};
constexpr fact_text texts[fact_count] = {
    {"IN-HANDLER", "taken in a handler at "},
    {"HANDLER-ON", "and with handlers enabled at "},
    {"IN-NESTED-HANDLER", "taken in a handler that interrupted the library at "},
    {"NESTED-HANDLER-ON", "and with signals enabled at "},
    {"IN-CALLBACK", "taken in an RCU callback at "},
    {"CALLBACK-ON", "and with callbacks enabled at "},
};

first_note& note_of(lock_rank rank, std::size_t fact) noexcept { return notes[static_cast<std::size_t>(rank)][fact]; }

bool is_noted(lock_rank rank, lock_fact fact) noexcept {
    // relaxed: a hint that saves work
    return note_of(rank, static_cast<std::size_t>(fact)).state.load(std::memory_order_relaxed) != first_note::unknown;
}

void note(lock_rank rank, lock_fact which, call_site where) noexcept {
    const auto fact = static_cast<std::size_t>(which);
    first_note& mine = note_of(rank, fact);
    std::uint32_t expected = first_note::unknown;
    // Relaxed: the claim decides who writes, and nothing else.
    if (is_noted(rank, which) ||
        !mine.state.compare_exchange_strong(expected, first_note::claimed, std::memory_order_relaxed))
        return;
    mine.where = where;
    // (1) seq_cst: pairs with (2), (3): of two that note a pair at once, one sees the other's note, and where.
    mine.state.store(first_note::known, std::memory_order_seq_cst);
    const std::size_t opposite = fact ^ 1;
    const first_note& other = note_of(rank, opposite);
    // (2) seq_cst: pairs with (1).
    if (other.state.load(std::memory_order_seq_cst) != first_note::known)
        return;
    const std::size_t in = fact & ~std::size_t{1};
    const std::size_t on = in + 1;
    (lock_report{} << "lock context: '" << rank << "' inconsistent {" << texts[opposite].name << "} -> {"
                   << texts[fact].name << "}: " << texts[in].place << note_of(rank, in).where << ", " << texts[on].place
                   << note_of(rank, on).where << " (docs/contexts.md)")
        .die(where);
}

/// Notes that a handler may come on top of the holder.
void note_handler_on(lock_rank rank, call_site where) noexcept {
    const bool idle = tls.busy == 0 && !is_noted(rank, lock_fact::handler_on);
    if ((!idle && is_noted(rank, lock_fact::nested_handler_on)) || platform::signals_are_blocked())
        return;
    note(rank, lock_fact::nested_handler_on, where);
    if (idle)
        note(rank, lock_fact::handler_on, where);
}

std::uint32_t sum_of(const held_locks& held) noexcept {
    std::uint32_t sum = 0;
    for (const auto count : held.count)
        sum += count;
    return sum;
}

/// The last in the order of the locks that are held and that `counts` counts; rank `count` if there is none.
lock_rank innermost(const std::uint16_t (&counts)[rank_count]) noexcept {
    for (std::size_t i = rank_count; i-- > 0;)
        if (counts[i] != 0)
            return static_cast<lock_rank>(i);
    return lock_rank::count;
}

lock_report& say_held(lock_report& report, lock_rank rank) noexcept {
    return report << "'" << rank << "', taken at " << locks_held().where[static_cast<std::size_t>(rank)] << ",";
}

} // namespace

bool in_own_section() noexcept {
    return here.slotless_sections != 0 || (tls.slot != &no_slot && tls.slot->reader.inside());
}

void note_lock_context(lock_rank rank, bool waits, call_site where) noexcept {
    if (waits && here.nested_handlers != 0)
        note(rank, lock_fact::in_nested_handler, where);
    if (waits && here.handlers != 0)
        note(rank, lock_fact::in_handler, where);
    note_handler_on(rank, where);
    if (here.handlers != 0)
        return; // a marked handler runs no callbacks
    if (waits && here.callbacks != 0)
        note(rank, lock_fact::in_callback, where);
    if (here.callbacks == 0 && tls.busy == 0 && (tls.flags & in_executor) == 0)
        note(rank, lock_fact::callback_on, where);
}

call_site first_noted(lock_rank rank, lock_fact fact) noexcept {
    const first_note& found = note_of(rank, static_cast<std::size_t>(fact));
    // (3) acquire: pairs with (1): for tests.
    return found.state.load(std::memory_order_acquire) == first_note::known ? found.where : call_site{};
}

void forget_lock_contexts(lock_rank rank) noexcept {
    for (std::size_t fact = 0; fact < fact_count; ++fact)
        note_of(rank, fact).state.store(first_note::unknown, std::memory_order_relaxed); // relaxed: for tests
}

namespace {

void check_waiting(call_site where, bool for_users) noexcept {
    const lock_rank rank = innermost(locks_held().spin);
    const char* const place = here.handlers != 0            ? "in a signal handler"
                              : here.callbacks != 0         ? "in an RCU callback"
                              : in_own_section()            ? "inside a read-side section"
                              : for_users && user_reading() ? "inside a read-side section of the user"
                                                            : nullptr;
    if (rank == lock_rank::count && place == nullptr)
        return;
    lock_report report;
    report << "might block: at " << where << " ";
    if (place != nullptr)
        report << place;
    else
        say_held(report << "while ", rank) << " is held";
    (report << " (docs/contexts.md)").die(where);
}

} // namespace

void might_block(call_site where) noexcept { check_waiting(where, true); }
void might_lock(call_site where) noexcept { check_waiting(where, false); }

void might_reclaim(call_site where) noexcept {
    const lock_rank rank = innermost(locks_held().count);
    const bool holds_a_later_one = rank != lock_rank::count && rank > lock_rank::reclaim;
    if (holds_a_later_one || (tls.flags & in_executor) != 0) {
        lock_report report;
        report << "might reclaim: at " << where << " ";
        if (holds_a_later_one)
            say_held(report << "while ", rank) << " is held";
        else
            report << "on the executor";
        (report << " (docs/contexts.md)").die(where);
    }
    might_lock(where);
}

void check_thread_end() noexcept {
    const lock_rank rank = innermost(locks_held().count);
    if (rank == lock_rank::count)
        return;
    lock_report report;
    (say_held(report << "thread end: ", rank) << " is held (docs/lock_order.md)").die(call_site::current());
}

item_scope::item_scope(const void* function) noexcept
    : function_(function), busy_(tls.busy), locks_(sum_of(locks_held())), in_section_(in_own_section()),
      user_reading_(user_reading()) {}

item_scope::~item_scope() {
    const std::uint32_t locks = sum_of(locks_held());
    const char* const left = locks > locks_                    ? "with a lock held"
                             : locks < locks_                  ? "having released a lock that it had not taken"
                             : in_own_section() != in_section_ ? "inside a read-side section"
                             : user_reading() != user_reading_ ? "inside a read-side section of the user"
                             : tls.busy != busy_               ? "with the thread's busy count changed"
                                                               : nullptr;
    if (left == nullptr)
        return;
    lock_report report;
    report << "work item: the function at " << function_ << " returned " << left;
    if (locks > locks_)
        say_held(report << ": ", innermost(locks_held().count));
    (report << " (docs/contexts.md)").die(call_site::current());
}

void handler_entered(bool nested) noexcept {
    ++here.handlers;
    here.nested_handlers += nested ? 1 : 0;
}

void handler_left(bool nested) noexcept {
    --here.handlers;
    here.nested_handlers -= nested ? 1 : 0;
}

void callback_entered() noexcept { ++here.callbacks; }
void callback_left() noexcept { --here.callbacks; }

void slotless_section_entered() noexcept { ++here.slotless_sections; }
void slotless_section_left() noexcept { --here.slotless_sections; }

lock_report& lock_report::operator<<(call_site where) noexcept {
    // The file and its folder: three whole paths would not fit into a line.
    const char* shown = where.file;
    const char* slash = nullptr;
    for (const char* at = where.file; *at != '\0'; ++at)
        if (*at == '/') {
            if (slash != nullptr)
                shown = slash + 1;
            slash = at;
        }
    (line_ << shown << ":").number(where.line, 10);
    return *this;
}

lock_report& lock_report::operator<<(const void* address) noexcept {
    (line_ << "0x").number(reinterpret_cast<std::uintptr_t>(address), 16);
    return *this;
}

void lock_report::die(call_site where) noexcept { base::bug(line_.text(), where.file, static_cast<int>(where.line)); }

} // namespace allot::sync
#endif
