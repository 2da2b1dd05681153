// SPDX-License-Identifier: MIT
//
// sim: the engine: fibers, choices, and what memory does.
//
// Idea.        A location keeps the list of its stores, oldest first: its modification order is the order of execution. A thread
//              has a view (for each location the oldest store it may still read) and a vector clock (what happened before).
//                load      any store at or after the view; acquire joins the store's view and clock into the thread's
//                store     appended; a release store takes the thread's view and clock along
//                rmw       reads the last store; carries on the view of what it read (release sequence)
//                seq_cst   as acquire and release, and per location one more bound for seq_cst loads: they read nothing older
//                          than what a seq_cst operation on this location wrote or read. It is no fence: it says nothing
//                          about other locations. The order S of all seq_cst operations is the order of execution.
//                fence     release: later relaxed stores take the view along; acquire: the views of earlier relaxed loads are
//                          joined; seq_cst: both, and the view is joined with the bounds of the seq_cst operations, both ways
//                barrier   all_barrier(): a seq_cst fence of each thread, one after the other, whenever
//              Plain data has one value; two accesses, one a write, that do not happen one before the other, are a race.
// Invariants.  I1  A run is a function of the scenario and of the answers of the strategy.
// Limits.      No load buffering (a load never sees a store that is executed later): what would need it is reported as a race,
//              if plain data depends on it. Modification order and S are orders of execution. Memory is not reused in a run.
// Checked by.  litmus.cc, and there the flaws.
// Source.      see sim.hpp; C++20 [atomics.order].
#include "engine.hpp"

#include <algorithm>
#include <csetjmp>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <ucontext.h>

namespace allot::base {

void bug(const char* text, const char* file, int line) noexcept { explore::fail("BUG: %s (%s:%d)", text, file, line); }

} // namespace allot::base

namespace explore {

namespace engine {

namespace {

constexpr unsigned locations_max = 96;
constexpr unsigned threads_max = 8; // 0 is the scenario itself
constexpr unsigned handlers_max = 3;
constexpr unsigned steps_max = 3000;
constexpr std::size_t stack_bytes = 128 * 1024;

struct view {
    std::int16_t at[locations_max];
    void join(const view& other) {
        for (unsigned i = 0; i < locations_max; ++i)
            at[i] = at[i] > other.at[i] ? at[i] : other.at[i];
    }
};
struct clock {
    std::uint32_t at[threads_max];
    void join(const clock& other) {
        for (unsigned i = 0; i < threads_max; ++i)
            at[i] = at[i] > other.at[i] ? at[i] : other.at[i];
    }
};
struct knowledge {
    view seen;
    clock happened;
    void join(const knowledge& other) {
        seen.join(other.seen);
        happened.join(other.happened);
    }
};
struct message {
    std::uint64_t value;
    knowledge known;
};
struct bits {
    std::uint64_t word[(locations_max + 63) / 64];
    void set(unsigned i) { word[i / 64] |= std::uint64_t{1} << i % 64; }
    void clear(unsigned i) { word[i / 64] &= ~(std::uint64_t{1} << i % 64); }
    bool has(unsigned i) const { return (word[i / 64] >> i % 64 & 1) != 0; }
};

struct location {
    const char* address;
    std::size_t bytes;
    bool is_var, dead;
    std::uint16_t holder; // of a lock: thread + 1
    std::int16_t bound;   // for seq_cst loads
    unsigned count;       // of history
    unsigned write_thread;
    std::uint32_t write_clock; // the last plain write, or the initialisation
    clock accesses;            // of each thread the last: plain reads, or all of an atomic
    knowledge released;        // of a lock
    std::vector<message> history;
};

enum class state : std::uint8_t { ready, locking, sleeping, paused, done };

struct task {
    void (*run)(void*);
    void* closure;
};
struct handler_info {
    task what;
    unsigned left;
    bool active;
};
struct thread_info {
    task what;
    state now;
    unsigned waits_for;
    knowledge known;
    knowledge read;     // by relaxed loads, for an acquire fence
    knowledge released; // by a release fence, for relaxed stores
    bits polled, fresh;
    std::int16_t read_at[locations_max];
    handler_info handlers[handlers_max];
    unsigned handler_count, handler_depth, blocked;
};
struct fiber {
    ucontext_t context;
    jmp_buf resume;
    bool made, begun;
    char* stack;
};

// The run.
location locations[locations_max];
unsigned location_count;
thread_info threads[threads_max];
unsigned thread_count; // with the scenario itself
unsigned current;
bool running;
unsigned steps;
task at_end;
bool fences_only;
std::vector<unsigned> taken;
strategy* chooser;
std::string failure;
alignas(64) char arena[64 * 1024];
std::size_t arena_used;

// What outlives it.
fiber fibers[threads_max];
jmp_buf main_context, abort_context;
mutation active_mutation;
flaw active_flaw;
bool verbose;
std::vector<site_info> all_sites;

bool is(flaw f) { return active_flaw == f; }

// --- Sites -----------------------------------------------------------------------------------------------------------------

constexpr unsigned site_slots = 1024;
struct site_key {
    const char* file;
    unsigned line, column;
    int index;
} site_table[site_slots];

int site_of(const where& at, site_info::kind_t kind, order declared) {
    unsigned slot = (at.line() * 37 + at.column()) % site_slots;
    for (;; slot = (slot + 1) % site_slots) {
        site_key& key = site_table[slot];
        if (key.file == at.file_name() && key.line == at.line() && key.column == at.column()) {
            ++all_sites[static_cast<std::size_t>(key.index)].hits;
            return key.index;
        }
        if (key.file != nullptr)
            continue;
        for (const site_info& s : all_sites) // the same place, seen from another object file
            if (s.line == at.line() && s.column == at.column() && s.file == at.file_name()) {
                key = {at.file_name(), at.line(), at.column(), static_cast<int>(&s - all_sites.data())};
                return key.index;
            }
        key = {at.file_name(), at.line(), at.column(), static_cast<int>(all_sites.size())};
        all_sites.push_back({at.file_name(), at.function_name(), {}, at.line(), at.column(), kind, declared, 1});
        return key.index;
    }
}

order effective(const where& at, site_info::kind_t kind, order declared) {
    const int site = site_of(at, kind, declared);
    return site == active_mutation.site ? active_mutation.weaker : declared;
}

/// A flaw that treats one half of an order as if it were not there.
order flawed(order o) {
    const bool sc = o == order::seq_cst;
    if (sc && is(flaw::seq_cst_is_acq_rel))
        return order::acq_rel;
    return o;
}
bool acquires(order o) {
    return !is(flaw::acquire_is_relaxed) && (o == order::acquire || o == order::acq_rel || o == order::seq_cst);
}
bool releases(order o) {
    return !is(flaw::release_is_relaxed) && (o == order::release || o == order::acq_rel || o == order::seq_cst);
}

const char* name_of_order(order o) {
    switch (o) {
    case order::relaxed:
        return "relaxed";
    case order::acquire:
        return "acquire";
    case order::release:
        return "release";
    case order::acq_rel:
        return "acq_rel";
    default:
        return "seq_cst";
    }
}

void say(const char* what, unsigned id, std::uint64_t value, const where& at, const char* note = "") {
    if (!verbose)
        return;
    const char* slash = std::strrchr(at.file_name(), '/');
    std::printf("  %4zu T%u%s %-14s L%-2u %#llx %s  %s:%u\n", taken.size(), current,
                threads[current].handler_depth != 0 ? "/handler" : "", what, id, static_cast<unsigned long long>(value),
                note, slash != nullptr ? slash + 1 : at.file_name(), static_cast<unsigned>(at.line()));
}

// --- Scheduling ------------------------------------------------------------------------------------------------------------

unsigned decide(choice kind, unsigned n, const unsigned* numbers = nullptr, bool can_stay = false) {
    if (n <= 1)
        return 0;
    const unsigned c = chooser->pick(kind, n, numbers, can_stay);
    taken.push_back(c < n ? c : 0);
    return taken.back();
}

bool enabled(unsigned t) {
    return threads[t].now == state::ready ||
           (threads[t].now == state::locking && locations[threads[t].waits_for].holder == 0);
}

void fiber_main();

void resume(unsigned t) {
    current = t;
    fiber& f = fibers[t];
    if (f.begun)
        _longjmp(f.resume, 1);
    if (!f.made) {
        if (f.stack == nullptr)
            f.stack = static_cast<char*>(std::malloc(stack_bytes));
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack;
        f.context.uc_stack.ss_size = stack_bytes;
        f.context.uc_link = nullptr;
        makecontext(&f.context, fiber_main, 0);
        f.made = true;
    }
    f.begun = true;
    setcontext(&f.context);
    __builtin_unreachable();
}

[[gnu::noinline]] void switch_to(unsigned t) {
    if (_setjmp(fibers[current].resume) == 0)
        resume(t);
}

[[noreturn]] void deadlock() {
    std::string text = "deadlock:";
    for (unsigned t = 1; t < thread_count; ++t) {
        static const char* const names[] = {"", "waits for a lock", "sleeps", "polls", "has ended"};
        text += " thread " + std::to_string(t) + " " + names[static_cast<unsigned>(threads[t].now)] + ";";
    }
    fail("%s", text.c_str());
}

/// Chooses who goes on. The running thread may be unable to, or would rather not.
void reschedule(bool yields = false) {
    unsigned numbers[threads_max];
    unsigned n = 0;
    const bool can_stay = !yields && enabled(current);
    if (can_stay)
        numbers[n++] = current;
    if (!can_stay || !is(flaw::no_preemption))
        for (unsigned t = 1; t < thread_count; ++t)
            if (t != current && enabled(t))
                numbers[n++] = t;
    if (yields)
        numbers[n++] = current;
    if (n == 0)
        deadlock();
    const unsigned next = numbers[decide(choice::thread, n, numbers, can_stay)];
    if (next != current)
        switch_to(next);
}

void run_handlers() {
    thread_info& me = threads[current];
    for (unsigned i = 0; i < me.handler_count; ++i) {
        handler_info& h = me.handlers[i];
        if (h.left == 0 || h.active || me.blocked != 0 || is(flaw::no_signals) || decide(choice::signal, 2) == 0)
            continue;
        --h.left;
        h.active = true;
        ++me.handler_depth;
        if (verbose)
            std::printf("  %4zu T%u handler begins\n", taken.size(), current);
        h.what.run(h.what.closure);
        if (verbose)
            std::printf("  %4zu T%u handler ends\n", taken.size(), current);
        --me.handler_depth;
        h.active = false;
    }
}

void point() {
    if (!running)
        return;
    if (++steps > steps_max)
        fail("livelock: more than %u steps", steps_max);
    run_handlers();
    reschedule();
}

void fiber_main() {
    for (;;) {
        threads[current].what.run(threads[current].what.closure);
        run_handlers();
        threads[current].now = state::done;
        unsigned left = 0;
        for (unsigned t = 1; t < thread_count; ++t)
            left += threads[t].now != state::done;
        if (left == 0) {
            if (_setjmp(fibers[current].resume) == 0)
                _longjmp(main_context, 1);
        } else {
            reschedule();
        }
    }
}

[[gnu::noinline]] void run_threads() {
    if (_setjmp(main_context) != 0)
        return;
    unsigned numbers[threads_max];
    for (unsigned t = 1; t < thread_count; ++t)
        numbers[t - 1] = t;
    resume(numbers[decide(choice::thread, thread_count - 1, numbers, false)]);
}

// --- Memory ----------------------------------------------------------------------------------------------------------------

void tick() { ++threads[current].known.happened.at[current]; }

bool happened_before(unsigned thread, std::uint32_t when) { return threads[current].known.happened.at[thread] >= when; }

void race(const location& l, const char* what, unsigned other, const where& at) {
    if (is(flaw::no_races))
        return;
    fail("race: %s at %s:%u by thread %u against thread %u (location %zu)", what, at.file_name(),
         static_cast<unsigned>(at.line()), current, other, static_cast<std::size_t>(&l - locations));
}

location& access(unsigned id, const where& at) {
    location& l = locations[id];
    if (l.dead && !is(flaw::no_use_after_free))
        fail("use after free: at %s:%u by thread %u", at.file_name(), static_cast<unsigned>(at.line()), current);
    return l;
}

location& access_atomic(unsigned id, const where& at) {
    location& l = access(id, at);
    if (!happened_before(l.write_thread, l.write_clock))
        race(l, "use of an atomic before its initialisation is seen", l.write_thread, at);
    l.accesses.at[current] = threads[current].known.happened.at[current];
    return l;
}

void polled(unsigned id, unsigned index) {
    threads[current].polled.set(id);
    threads[current].read_at[id] = static_cast<std::int16_t>(index);
}

/// The thread has read store `index` of the location.
void absorb(location& l, unsigned id, unsigned index, order o) {
    thread_info& me = threads[current];
    const message& m = l.history[index];
    if (!is(flaw::no_read_coherence))
        me.known.seen.at[id] = std::max(me.known.seen.at[id], static_cast<std::int16_t>(index));
    if (acquires(o))
        me.known.join(m.known);
    else
        me.read.join(m.known);
    if (o == order::seq_cst)
        l.bound = std::max(l.bound, static_cast<std::int16_t>(index));
    polled(id, index);
}

void wake_pollers(unsigned id) {
    for (unsigned t = 1; t < thread_count; ++t)
        if (threads[t].now == state::paused && threads[t].polled.has(id))
            threads[t].now = state::ready;
}

/// Appends a store. `from`: the store that a read-modify-write read, or -1.
void append(location& l, unsigned id, std::uint64_t value, order o, int from) {
    thread_info& me = threads[current];
    const unsigned index = l.count++;
    if (l.history.size() < l.count)
        l.history.resize(l.count + 8);
    message& m = l.history[index];
    if (!is(flaw::no_write_coherence))
        me.known.seen.at[id] = static_cast<std::int16_t>(index);
    m.value = value;
    me.read_at[id] = static_cast<std::int16_t>(index); // for who polls: its own stores are no news
    m.known = releases(o) ? me.known : me.released;
    m.known.seen.at[id] = std::max(m.known.seen.at[id], static_cast<std::int16_t>(index));
    if (from >= 0 && !is(flaw::no_release_sequence))
        m.known.join(l.history[static_cast<unsigned>(from)].known);
    if (o == order::seq_cst)
        l.bound = static_cast<std::int16_t>(index);
    wake_pollers(id);
}

unsigned oldest_readable(const location& l, unsigned id, order o) {
    const std::int16_t seen = threads[current].known.seen.at[id];
    return static_cast<unsigned>(o == order::seq_cst ? std::max(seen, l.bound) : seen);
}

/// A flaw: a seq_cst operation orders everything around it.
void fence_if_flawed(order o);

void fence_of(unsigned t, order o) {
    thread_info& me = threads[t];
    if (o != order::release && !is(flaw::no_fence_acquire))
        me.known.join(me.read);
    if (o == order::seq_cst && !is(flaw::fence_is_not_seq_cst))
        for (unsigned i = 0; i < location_count; ++i)
            me.known.seen.at[i] = locations[i].bound = std::max(me.known.seen.at[i], locations[i].bound);
    if (o != order::acquire && !is(flaw::no_fence_release))
        me.released = me.known;
}

void fence_if_flawed(order o) {
    if (o == order::seq_cst && is(flaw::seq_cst_is_fence))
        fence_of(current, o);
}

unsigned new_location(const void* address, std::size_t bytes, bool is_var) {
    if (location_count == locations_max) {
        std::fprintf(stderr, "explore: more than %u locations\n", locations_max);
        std::abort();
    }
    location& l = locations[location_count];
    l.address = static_cast<const char*>(address);
    l.bytes = bytes;
    l.is_var = is_var;
    l.dead = false;
    l.holder = 0;
    l.bound = 0;
    l.count = 0;
    tick();
    l.write_thread = current;
    l.write_clock = threads[current].known.happened.at[current];
    l.accesses = {};
    return location_count++;
}

void reset() {
    location_count = 0;
    for (thread_info& t : threads)
        t = {};
    thread_count = 1;
    current = 0;
    running = false;
    steps = 0;
    at_end = {};
    fences_only = false;
    taken.clear();
    failure.clear();
    arena_used = 0;
}

int rmw_from; // between rmw_begin() and rmw_end()
unsigned rmw_location;
order rmw_order;

} // namespace

// --- The interface -----------------------------------------------------------------------------------------------------------

unsigned new_atomic(const void* address, std::size_t bytes, std::uint64_t value) {
    const unsigned id = new_location(address, bytes, false);
    location& l = locations[id];
    if (l.history.empty())
        l.history.resize(8);
    l.count = 1;
    l.history[0].value = value;
    l.history[0].known = {};
    l.released = {};
    return id;
}

unsigned new_var(const void* address, std::size_t bytes) { return new_location(address, bytes, true); }

std::uint64_t load(unsigned id, order o, where at) {
    o = flawed(effective(at, site_info::load, o));
    point();
    tick();
    location& l = access_atomic(id, at);
    thread_info& me = threads[current];
    const unsigned newest = l.count - 1;
    unsigned oldest = oldest_readable(l, id, o);
    if (!running || me.fresh.has(id) || is(flaw::no_stale_loads))
        oldest = newest;
    me.fresh.clear(id);
    const unsigned index = newest - decide(choice::value, newest - oldest + 1);
    fence_if_flawed(o);
    absorb(l, id, index, o);
    say("load", id, l.history[index].value, at, index != newest ? "(old)" : name_of_order(o));
    return l.history[index].value;
}

void store(unsigned id, std::uint64_t value, order o, where at) {
    o = flawed(effective(at, site_info::store, o));
    point();
    tick();
    location& l = access_atomic(id, at);
    say("store", id, value, at, name_of_order(o));
    append(l, id, value, o, -1);
    fence_if_flawed(o);
}

std::uint64_t rmw_begin(unsigned id, order o, where at) {
    o = flawed(effective(at, site_info::rmw, o));
    point();
    tick();
    location& l = access_atomic(id, at);
    unsigned index = l.count - 1;
    if (is(flaw::rmw_reads_old))
        index -= decide(choice::value, index - oldest_readable(l, id, o) + 1);
    fence_if_flawed(o);
    absorb(l, id, index, o);
    rmw_from = static_cast<int>(index);
    rmw_location = id;
    rmw_order = o;
    say("rmw", id, l.history[index].value, at, name_of_order(o));
    return l.history[index].value;
}

void rmw_end(unsigned id, std::uint64_t value) {
    if (verbose)
        std::printf("            -> %#llx\n", static_cast<unsigned long long>(value));
    append(locations[id], id, value, rmw_order, rmw_from);
}

bool compare_exchange(unsigned id, std::uint64_t& expected, std::uint64_t value, order ok, order failed, bool weak,
                      where at) {
    ok = flawed(effective(at, site_info::rmw, ok));
    point();
    tick();
    location& l = access_atomic(id, at);
    const unsigned newest = l.count - 1;
    const bool equal = l.history[newest].value == expected;
    unsigned candidates[64];
    unsigned n = 0;
    if (!equal)
        candidates[n++] = newest;
    for (unsigned i = newest; running && n < 64 && !is(flaw::no_stale_loads) && i > oldest_readable(l, id, failed); --i)
        if (l.history[i - 1].value != expected)
            candidates[n++] = i - 1;
    const unsigned c = decide(choice::value, n + (equal ? 1 : 0));
    unsigned index = newest;
    bool success = equal && c == 0;
    if (!success)
        index = candidates[equal ? c - 1 : c];
    else if (weak && running && !is(flaw::no_weak_failures) && decide(choice::weak, 2) != 0)
        success = false;
    const order o = success ? ok : failed;
    fence_if_flawed(o);
    absorb(l, id, index, o);
    say(success ? "cas" : "cas failed", id, l.history[index].value, at, name_of_order(o));
    if (!success) {
        expected = l.history[index].value;
        return false;
    }
    rmw_order = o;
    rmw_from = static_cast<int>(index);
    rmw_end(id, value);
    return true;
}

void read_var(unsigned id, where at) {
    point();
    tick();
    location& l = access(id, at);
    if (!happened_before(l.write_thread, l.write_clock))
        race(l, "read", l.write_thread, at);
    l.accesses.at[current] = threads[current].known.happened.at[current];
    say("read", id, 0, at);
}

void write_var(unsigned id, where at) {
    point();
    tick();
    location& l = access(id, at);
    if (!happened_before(l.write_thread, l.write_clock))
        race(l, "write", l.write_thread, at);
    for (unsigned t = 0; t < thread_count; ++t)
        if (!happened_before(t, l.accesses.at[t]))
            race(l, "write, of what was read,", t, at);
    l.write_thread = current;
    l.write_clock = threads[current].known.happened.at[current];
    say("write", id, 0, at);
}

void lock(unsigned id) {
    point();
    location& l = access_atomic(id, where::current());
    thread_info& me = threads[current];
    if (l.holder == current + 1)
        fail("self-deadlock: lock taken again by thread %u%s", current, me.handler_depth != 0 ? " in a handler" : "");
    while (running && l.holder != 0) {
        me.now = state::locking;
        me.waits_for = id;
        reschedule();
        me.now = state::ready;
    }
    l.holder = static_cast<std::uint16_t>(current + 1);
    tick();
    if (!is(flaw::lock_orders_nothing))
        me.known.join(l.released);
    say("lock", id, 0, where::current());
}

void unlock(unsigned id) {
    point();
    tick();
    location& l = access_atomic(id, where::current());
    if (l.holder != current + 1)
        fail("unlock by thread %u, which does not hold the lock", current);
    l.released.join(threads[current].known);
    l.holder = 0;
    say("unlock", id, 0, where::current());
}

void fence(order o, where at) {
    point();
    tick();
    fence_of(current, o);
    say("fence", 0, 0, at, name_of_order(o));
}

void reader_barrier(where at) {
    if (!fences_only || site_of(at, site_info::barrier, order::seq_cst) == active_mutation.site)
        return;
    fence(order::seq_cst, at);
}

void all_barrier(where at) {
    if (site_of(at, site_info::barrier, order::seq_cst) == active_mutation.site || is(flaw::all_barrier_is_nothing))
        return;
    fence(order::seq_cst, at);
    if (fences_only)
        return;
    for (unsigned t = 1; t < thread_count; ++t) {
        if (t == current)
            continue;
        point(); // a thread that has ended may still have stores on their way
        fence_of(t, order::seq_cst);
    }
    fence(order::seq_cst, at);
}

void pause(unsigned round) {
    point();
    thread_info& me = threads[current];
    if (!running)
        fail("the scenario itself would wait for ever");
    bool outdated = round == 0;
    for (unsigned id = 0; id < location_count; ++id)
        if (me.polled.has(id) && static_cast<unsigned>(me.read_at[id]) + 1 < locations[id].count) {
            me.fresh.set(id); // it does not stay unseen for ever
            outdated = true;
        }
    if (outdated) {
        reschedule(true);
    } else {
        me.now = state::paused; // until somebody stores to what was read
        reschedule();
        me.now = state::ready;
    }
    me.polled = {};
}

bool wait(unsigned id, std::uint64_t expected, where at) {
    point();
    tick();
    location& l = access_atomic(id, at);
    if (l.history[l.count - 1].value != expected)
        return false;
    thread_info& me = threads[current];
    me.now = state::sleeping;
    me.waits_for = id;
    say("sleep", id, expected, at);
    reschedule();
    me.now = state::ready;
    return true;
}

void wake(unsigned id, where at) {
    point();
    tick();
    say("wake", id, 0, at);
    if (is(flaw::wake_is_lost))
        return;
    for (unsigned t = 1; t < thread_count; ++t)
        if (threads[t].now == state::sleeping && threads[t].waits_for == id) {
            threads[t].now = state::ready;
            return;
        }
}

void* allocate(std::size_t bytes) {
    constexpr std::size_t line = 64;
    void* const memory = arena + arena_used;
    arena_used += (bytes + line - 1) / line * line;
    if (arena_used > sizeof arena) {
        std::fprintf(stderr, "explore: a scenario needs more than %zu bytes\n", sizeof arena);
        std::abort();
    }
    return memory;
}

void retire(const void* object, std::size_t bytes) {
    point();
    tick();
    const auto* const begin = static_cast<const char*>(object);
    for (unsigned id = 0; id < location_count; ++id) {
        location& l = locations[id];
        if (l.address < begin || l.address >= begin + bytes)
            continue;
        if (l.dead && !is(flaw::no_use_after_free))
            fail("double free by thread %u", current);
        for (unsigned t = 0; t < thread_count; ++t)
            if (!happened_before(t, l.accesses.at[t]) || !happened_before(l.write_thread, l.write_clock)) {
                if (!is(flaw::no_races))
                    fail("race: freed by thread %u, and an access by thread %u does not happen before", current, t);
            }
        l.dead = true;
    }
    if (verbose)
        std::printf("  %4zu T%u frees an object\n", taken.size(), current);
}

void add_thread(void (*run)(void*), void* closure) {
    if (thread_count == threads_max)
        std::abort();
    threads[thread_count].what = {run, closure};
    ++thread_count;
}

void add_handler(unsigned thread, void (*run)(void*), void* closure, unsigned times) {
    thread_info& t = threads[thread];
    if (t.handler_count == handlers_max)
        std::abort();
    t.handlers[t.handler_count++] = {{run, closure}, times, false};
}

void set_finally(void (*run)(void*), void* closure) { at_end = {run, closure}; }

bool run(void (*body)(), strategy& s) {
    reset();
    chooser = &s;
    if (!s.begin())
        return false;
    if (_setjmp(abort_context) != 0) {
        for (fiber& f : fibers) // their stacks are as the failure left them
            f.made = f.begun = false;
        running = false;
        return false;
    }
    body();
    for (unsigned t = 1; t < thread_count; ++t)
        threads[t].known = threads[0].known;
    running = true;
    if (thread_count > 1)
        run_threads();
    running = false;
    current = 0;
    for (unsigned t = 1; t < thread_count; ++t)
        threads[0].known.join(threads[t].known);
    if (at_end.run != nullptr)
        at_end.run(at_end.closure);
    return true;
}

const std::string& error() { return failure; }
unsigned steps_of_last_run() { return steps; }
void set_verbose(bool on) { verbose = on; }
void set_flaw(flaw f) { active_flaw = f; }
void set_mutation(const mutation& m) { active_mutation = m; }
std::vector<site_info>& sites() { return all_sites; }

std::string schedule() {
    std::string text;
    for (std::size_t i = 0; i < taken.size(); ++i)
        if (taken[i] != 0)
            text += (text.empty() ? "" : ",") + std::to_string(i) + "=" + std::to_string(taken[i]);
    return text.empty() ? "0=0" : text;
}

const char* name_of(flaw f) {
    static const char* const names[] = {"none",
                                        "seq_cst_is_acq_rel",
                                        "seq_cst_is_fence",
                                        "acquire_is_relaxed",
                                        "release_is_relaxed",
                                        "no_read_coherence",
                                        "no_write_coherence",
                                        "rmw_reads_old",
                                        "no_release_sequence",
                                        "no_fence_acquire",
                                        "no_fence_release",
                                        "fence_is_not_seq_cst",
                                        "all_barrier_is_nothing",
                                        "no_stale_loads",
                                        "no_races",
                                        "no_use_after_free",
                                        "no_preemption",
                                        "no_signals",
                                        "lock_orders_nothing",
                                        "wake_is_lost",
                                        "no_weak_failures"};
    static_assert(std::size(names) == static_cast<std::size_t>(flaw::count));
    return names[static_cast<unsigned>(f)];
}

// --- Labels of sites -----------------------------------------------------------------------------------------------------------

namespace {

/// The number that the comment in this line begins with, or 0.
unsigned number_in(const std::string& line) {
    const std::size_t at = line.find("// ");
    if (at == std::string::npos)
        return 0;
    unsigned number = 0;
    for (const char* prefix : {"// (%u)", "// also (%u)", "// as (%u)", "// second load of (%u)"})
        if (std::sscanf(line.c_str() + at, prefix, &number) == 1 && number != 0)
            return number;
    return 0;
}

bool comment_only(const std::string& line) {
    const std::size_t at = line.find_first_not_of(" \t");
    return at != std::string::npos && line.compare(at, 2, "//") == 0;
}

/// The number of the comment beside the line, or of the block that stands nearest above.
unsigned number_above(const std::vector<std::string>& lines, unsigned line) {
    constexpr unsigned reach = 4;
    if (line == 0 || line > lines.size())
        return 0;
    if (const unsigned beside = number_in(lines[line - 1]))
        return beside;
    bool in_block = false;
    for (unsigned up = 1; up < line && (up <= reach || in_block); ++up) {
        const std::string& text = lines[line - 1 - up];
        if (const unsigned number = number_in(text))
            return number;
        if (in_block && !comment_only(text))
            return 0;
        in_block = comment_only(text);
    }
    return 0;
}

} // namespace

void label_sites() {
    std::map<std::string, std::vector<std::string>> texts;
    std::vector<std::size_t> by_line(all_sites.size());
    for (std::size_t i = 0; i < by_line.size(); ++i)
        by_line[i] = i;
    std::sort(by_line.begin(), by_line.end(), [](std::size_t a, std::size_t b) {
        const site_info &x = all_sites[a], &y = all_sites[b];
        return std::tie(x.file, x.line, x.column) < std::tie(y.file, y.line, y.column);
    });
    std::map<std::string, unsigned> seen;
    for (const std::size_t i : by_line) {
        site_info& site = all_sites[i];
        std::vector<std::string>& lines = texts[site.file];
        if (lines.empty()) {
            std::ifstream in(site.file);
            for (std::string line; std::getline(in, line);)
                lines.push_back(line);
        }
        const std::string base = site.file.substr(site.file.rfind('/') + 1);
        const unsigned number = site.kind == site_info::barrier ? 0 : number_above(lines, site.line);
        std::string function = site.function.substr(0, site.function.find('('));
        function = function.substr(function.find_last_of(" :") + 1);
        site.label = number != 0 ? base + "(" + std::to_string(number) + ")" : base + ":" + function;
        if (site.declared == order::relaxed)
            continue;
        const unsigned copy = seen[site.label]++;
        if (copy != 0)
            site.label += static_cast<char>('a' + copy);
    }
}

// --- Strategies ------------------------------------------------------------------------------------------------------------

std::uint64_t random_walk::random() noexcept { // splitmix64
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

bool random_walk::begin() {
    if (left_ == 0)
        return false;
    --left_;
    state_ = next_seed_++ * 0x2545f4914f6cdd1d;
    static constexpr unsigned switches[] = {1, 1, 2, 3, 4, 5};
    static constexpr unsigned stales[] = {1, 2, 1, 4};
    switch_shift_ = switches[random() % std::size(switches)];
    stale_shift_ = stales[random() % std::size(stales)];
    signal_shift_ = 1 + static_cast<unsigned>(random() % 5);
    return true;
}

unsigned random_walk::pick_other(choice kind, unsigned n) {
    const auto one_in = [this](unsigned shift) { return (random() & ((1u << shift) - 1)) == 0; };
    switch (kind) {
    case choice::value:
        return one_in(stale_shift_) ? static_cast<unsigned>(random() % n) : 0;
    case choice::weak:
        return one_in(4) ? 1 : 0;
    case choice::signal:
        return one_in(signal_shift_) ? 1 : 0;
    default:
        return static_cast<unsigned>(random() % n);
    }
}

unsigned random_walk::pick(choice kind, unsigned n, const unsigned*, bool can_stay) {
    if (kind != choice::thread || !can_stay)
        return pick_other(kind, n);
    return (random() & ((1u << switch_shift_) - 1)) == 0 ? 1 + static_cast<unsigned>(random() % (n - 1)) : 0;
}

bool pct::begin() {
    if (!random_walk::begin())
        return false;
    const unsigned length = 16u << random() % 5;
    now_ = changes_ = 0;
    for (std::uint64_t& p : priority_)
        p = 100 + (random() >> 8);
    for (unsigned& at : change_at_)
        at = 1 + static_cast<unsigned>(random() % length);
    return true;
}

unsigned pct::pick(choice kind, unsigned n, const unsigned* numbers, bool can_stay) {
    if (kind != choice::thread)
        return pick_other(kind, n);
    ++now_;
    for (const unsigned at : change_at_)
        if (at == now_ && can_stay)
            priority_[numbers[0]] = depth - changes_++;
    unsigned best = 0;
    for (unsigned i = 1; i < n; ++i)
        if (priority_[numbers[i]] > priority_[numbers[best]])
            best = i;
    return best;
}

bool exhaustive::begin() {
    used_ = {0, 0};
    depth_ = 0;
    if (first_) {
        first_ = false;
        return true;
    }
    while (!path_.empty() && path_.back().taken + 1 >= path_.back().count)
        path_.pop_back();
    if (path_.empty())
        return false;
    ++path_.back().taken;
    return true;
}

unsigned exhaustive::pick(choice kind, unsigned n, const unsigned*, bool can_stay) {
    unsigned nothing = 0;
    unsigned nothing_limit = ~0u;
    const bool preempts = kind == choice::signal || (kind == choice::thread && can_stay);
    const bool stales = kind == choice::value || kind == choice::weak;
    unsigned& used = preempts ? used_.preemptions : stales ? used_.stale : nothing;
    const unsigned limit = preempts ? bounds_.preemptions : stales ? bounds_.stale : nothing_limit;
    if (depth_ == path_.size())
        path_.push_back({0, used < limit ? n : 1});
    const step& s = path_[depth_++];
    if (s.taken != 0)
        ++used;
    return s.taken;
}

replay::replay(const std::string& schedule) {
    const char* text = schedule.c_str();
    unsigned at = 0, what = 0;
    int used = 0;
    while (std::sscanf(text, "%u=%u%n", &at, &what, &used) == 2) {
        if (choices_.size() <= at)
            choices_.resize(at + 1);
        choices_[at] = what;
        text += used;
        if (*text == ',')
            ++text;
    }
}

bool replay::begin() {
    at_ = 0;
    return !std::exchange(done_, true);
}

unsigned replay::pick(choice, unsigned, const unsigned*, bool) {
    return at_ < choices_.size() ? choices_[at_++] : (++at_, 0);
}

} // namespace engine

// --- What drivers use --------------------------------------------------------------------------------------------------------

void fail(const char* format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    engine::failure = text;
    _longjmp(engine::abort_context, 1);
}

bool mutant(const char* name) noexcept {
    return engine::active_mutation.step != nullptr && std::strcmp(engine::active_mutation.step, name) == 0;
}

unsigned choose(unsigned n) { return engine::decide(engine::choice::driver, n); }
unsigned self() noexcept { return engine::current; }
void without_membarrier() noexcept { engine::fences_only = true; }
signals_blocked::signals_blocked() noexcept { ++engine::threads[engine::current].blocked; }
signals_blocked::~signals_blocked() { --engine::threads[engine::current].blocked; }

} // namespace explore
