// SPDX-License-Identifier: MIT
//
// sim: the platform P that the explorer instantiates the protocols with.
//
// Idea.        Threads are fibers; every atomic access, plain access, lock, barrier and pause is a point where the engine may
//              switch to another fiber or run a signal handler on top of this one. An atomic keeps all values ever stored, a
//              thread a view of the oldest that it may still read, so a load has a choice, too. All choices come from one
//              function, so a list of numbers is a schedule. Which orders mean what: sim.cc.
// Concurrency. one thread of the machine.
// Checked by.  litmus.cc
// Source.      Relacy, CDSChecker, the views of "A promising semantics" (POPL 2017), Burckhardt et al., PCT (ASPLOS 2010).
#pragma once

#include "base/compiler.hpp"

#include <atomic>
#include <cstring>
#include <new>
#include <source_location>
#include <span>
#include <type_traits>
#include <utility>

namespace explore {

using order = std::memory_order;
using where = std::source_location;

// --- What the platform asks of the engine (sim.cc) -----------------------------------------------------------------------------

namespace engine {

unsigned new_atomic(const void* address, std::size_t bytes, std::uint64_t value);
unsigned new_var(const void* address, std::size_t bytes);
std::uint64_t load(unsigned id, order o, where at);
void store(unsigned id, std::uint64_t value, order o, where at);
bool compare_exchange(unsigned id, std::uint64_t& expected, std::uint64_t value, order ok, order failed, bool weak,
                      where at);
/// A read-modify-write: returns the old value, to be followed by rmw_end() at once.
std::uint64_t rmw_begin(unsigned id, order o, where at);
void rmw_end(unsigned id, std::uint64_t value);
void read_var(unsigned id, where at);
void write_var(unsigned id, where at);
void lock(unsigned id);
void unlock(unsigned id);
void fence(order o, where at);
void reader_barrier(where at);
void all_barrier(where at);
void pause(unsigned round);
bool wait(unsigned id, std::uint64_t expected, where at);
void wake(unsigned id, where at);
void* allocate(std::size_t bytes);
void retire(const void* object, std::size_t bytes);
void add_thread(void (*run)(void*), void* closure);
void add_handler(unsigned thread, void (*run)(void*), void* closure, unsigned times);
void set_finally(void (*run)(void*), void* closure);

} // namespace engine

template <class T> std::uint64_t to_bits(T value) noexcept {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
}
template <class T> T from_bits(std::uint64_t bits) noexcept {
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// --- P -------------------------------------------------------------------------------------------------------------------------

struct sim {
    template <class T> class atomic {
      public:
        atomic() noexcept : atomic(T{}) {}
        atomic(T value) noexcept : id_(engine::new_atomic(this, sizeof *this, to_bits(value))) {}
        atomic(const atomic&) = delete;
        atomic& operator=(const atomic&) = delete;

        T load(order o, where at = where::current()) const noexcept { return from_bits<T>(engine::load(id_, o, at)); }
        void store(T value, order o, where at = where::current()) noexcept {
            engine::store(id_, to_bits(value), o, at);
        }
        T exchange(T value, order o, where at = where::current()) noexcept {
            const T old = from_bits<T>(engine::rmw_begin(id_, o, at));
            engine::rmw_end(id_, to_bits(value));
            return old;
        }
        T fetch_add(T value, order o, where at = where::current()) noexcept {
            const T old = from_bits<T>(engine::rmw_begin(id_, o, at));
            engine::rmw_end(id_, to_bits(static_cast<T>(old + value)));
            return old;
        }
        T fetch_sub(T value, order o, where at = where::current()) noexcept {
            const T old = from_bits<T>(engine::rmw_begin(id_, o, at));
            engine::rmw_end(id_, to_bits(static_cast<T>(old - value)));
            return old;
        }
        bool compare_exchange_weak(T& expected, T value, order ok, order failed, where at = where::current()) noexcept {
            return exchange_if(expected, value, ok, failed, true, at);
        }
        bool compare_exchange_weak(T& expected, T value, order ok, where at = where::current()) noexcept {
            return exchange_if(expected, value, ok, failure_of(ok), true, at);
        }
        bool compare_exchange_strong(T& expected, T value, order ok, order failed,
                                     where at = where::current()) noexcept {
            return exchange_if(expected, value, ok, failed, false, at);
        }
        unsigned id() const noexcept { return id_; }

      private:
        static constexpr order failure_of(order ok) noexcept {
            return ok == order::acq_rel ? order::acquire : ok == order::release ? order::relaxed : ok;
        }
        bool exchange_if(T& expected, T value, order ok, order failed, bool weak, where at) noexcept {
            std::uint64_t bits = to_bits(expected);
            const bool done = engine::compare_exchange(id_, bits, to_bits(value), ok, failed, weak, at);
            if (!done)
                expected = from_bits<T>(bits);
            return done;
        }
        unsigned id_;
    };

    template <class T> class var {
      public:
        var() noexcept : var(T{}) {}
        explicit var(T value) noexcept : value_(value), id_(engine::new_var(this, sizeof *this)) {}
        var(const var&) = delete;
        var& operator=(const var&) = delete;
        T get(where at = where::current()) const noexcept {
            engine::read_var(id_, at);
            return value_;
        }
        void set(T value, where at = where::current()) noexcept {
            engine::write_var(id_, at);
            value_ = value;
        }

      private:
        T value_;
        unsigned id_;
    };

    class mutex {
      public:
        mutex() noexcept : id_(engine::new_atomic(this, sizeof *this, 0)) {}
        mutex(const mutex&) = delete;
        mutex& operator=(const mutex&) = delete;
        void lock() noexcept { engine::lock(id_); }
        void unlock() noexcept { engine::unlock(id_); }

      private:
        unsigned id_;
    };
    using lock = mutex;

    static void reader_barrier(where at = where::current()) noexcept { engine::reader_barrier(at); }
    static void all_barrier(where at = where::current()) noexcept { engine::all_barrier(at); }
    static void pause(unsigned round) noexcept { engine::pause(round); }
    /// Sleeps if `word` has the value `expected`, until a wake; true if it slept. A futex.
    template <class T>
    static bool wait(atomic<T>& word, T expected, std::uint64_t = 0, where at = where::current()) noexcept {
        return engine::wait(word.id(), to_bits(expected), at);
    }
    template <class T> static void wake(atomic<T>& word, where at = where::current()) noexcept {
        engine::wake(word.id(), at);
    }
};

/// Holds a lock over a scope.
class locked {
  public:
    explicit locked(sim::lock& l) noexcept : lock_(l) { lock_.lock(); }
    ~locked() { lock_.unlock(); }
    locked(const locked&) = delete;
    locked& operator=(const locked&) = delete;

  private:
    sim::lock& lock_;
};

// --- What a driver uses --------------------------------------------------------------------------------------------------------

/// Ends the run as failed.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ::explore::fail("%s (%s:%d)", #condition, __FILE__, __LINE__);                                             \
    } while (0)

/// True if the run tries the mutant of that name (steps.txt; the build inserts the tests).
bool mutant(const char* name) noexcept;
/// 0 .. n-1, any.
unsigned choose(unsigned n);
/// The number of the running thread, 1 .. .
unsigned self() noexcept;
/// Threads without membarrier: barriers are seq_cst fences. Called by the scenario first.
void without_membarrier() noexcept;
/// Handlers wait while such an object lives.
struct signals_blocked {
    signals_blocked() noexcept;
    ~signals_blocked();
};

/// An object that lives until the end of the run.
template <class T, class... Arguments> T& make(Arguments&&... arguments) {
    return *new (engine::allocate(sizeof(T))) T{std::forward<Arguments>(arguments)...};
}
/// The object's memory is given back: whoever touches it later, or did without it happening before this, fails the run.
template <class T> void retire(T& object) { engine::retire(&object, sizeof(T)); }

template <class F> void call_closure(void* closure) { (*static_cast<F*>(closure))(); }
template <class F> F* keep(F f) { return new (engine::allocate(sizeof(F))) F(std::move(f)); }
/// Adds a thread. Numbers count from 1.
template <class F> void thread(F f) { engine::add_thread(call_closure<F>, keep(std::move(f))); }
/// A signal handler that may run on top of `thread`, up to `times`.
template <class F> void handler(unsigned thread, F f, unsigned times = 1) {
    engine::add_handler(thread, call_closure<F>, keep(std::move(f)), times);
}
/// Runs when all threads have ended.
template <class F> void finally(F f) { engine::set_finally(call_closure<F>, keep(std::move(f))); }

// --- What the main program uses ------------------------------------------------------------------------------------------------

struct bounds {
    unsigned preemptions = 2; ///< exhaustive search: forced switches and handlers
    unsigned stale = 2;       ///< exhaustive search: loads that do not read the newest value, spurious failures
};
struct scenario {
    const char* name;
    void (*body)();
    bounds exhaustive{};
};
/// An order that may be weaker, or a barrier that may be left out, as far as the explorer can tell, and why it stands.
struct survivor {
    const char* site;   ///< "rcu.hpp(6)"; of a site without a number: "rcu.hpp:function"
    const char* mutant; ///< "acquire", "drop", ...
    const char* why;
};
/// A step of an algorithm that a mutant leaves out: an if (mutant(name)) in the driver.
struct step {
    const char* name;
};
struct suite {
    const char* name;
    const char* sources; ///< the files whose orders are weakened, with a blank after each
    std::span<const scenario> scenarios;
    std::span<const survivor> survivors;
    std::span<const step> steps;
};

} // namespace explore
