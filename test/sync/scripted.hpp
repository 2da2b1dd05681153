// SPDX-License-Identifier: MIT
//
// scripted: a platform P (sync/real.hpp) on which a test decides what happens between any two accesses.
//
// Idea.        Before each atomic operation the platform calls the running thread's script with what is about to happen; the
//              script may run something else there, as a signal handler or another thread would, or wait for it. So a race is
//              a plain test case that always goes the same way. The protocol under test is the production template.
// Concurrency. a script belongs to the thread that sets it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

namespace allot_test {

enum class access { load, store, exchange, fetch_add, fetch_sub, compare_exchange, get, set, pause, wait, wake };

struct scripted {
    using script = std::function<void(access what, const void* where)>;

    static inline thread_local script on_access;

    /// Runs `body` with a script, which does not see what it does itself.
    template <class F> static void play(script with, const F& body) {
        on_access = std::move(with);
        body();
        on_access = nullptr;
    }

    static void about_to(access what, const void* where) {
        if (!on_access)
            return;
        script now = std::exchange(on_access, nullptr);
        now(what, where);
        if (!on_access)
            on_access = std::move(now);
    }

    template <class T> class atomic : public std::atomic<T> {
      public:
        using base = std::atomic<T>;
        using base::base;

        T load(std::memory_order order) const noexcept {
            about_to(access::load, this);
            return base::load(order);
        }
        void store(T value, std::memory_order order) noexcept {
            about_to(access::store, this);
            base::store(value, order);
        }
        T exchange(T value, std::memory_order order) noexcept {
            about_to(access::exchange, this);
            return base::exchange(value, order);
        }
        T fetch_add(T value, std::memory_order order) noexcept {
            about_to(access::fetch_add, this);
            return base::fetch_add(value, order);
        }
        T fetch_sub(T value, std::memory_order order) noexcept {
            about_to(access::fetch_sub, this);
            return base::fetch_sub(value, order);
        }
        template <class... Orders> bool compare_exchange_weak(T& expected, T wanted, Orders... orders) noexcept {
            about_to(access::compare_exchange, this);
            return base::compare_exchange_strong(expected, wanted, orders...);
        }
        template <class... Orders> bool compare_exchange_strong(T& expected, T wanted, Orders... orders) noexcept {
            about_to(access::compare_exchange, this);
            return base::compare_exchange_strong(expected, wanted, orders...);
        }
    };

    template <class T> class var {
      public:
        var() = default;
        explicit constexpr var(T value) noexcept : value_(value) {}
        T get() const noexcept {
            about_to(access::get, this);
            return value_;
        }
        void set(T value) noexcept {
            about_to(access::set, this);
            value_ = value;
        }

      private:
        T value_{};
    };

    static void reader_barrier() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }
    static void all_barrier() noexcept {}
    static void pause(unsigned) noexcept { about_to(access::pause, nullptr); }

    /// Would sleep: counts it, if so.
    static void wait(atomic<std::uint32_t>& word, std::uint32_t expected, std::uint64_t timeout_ns) noexcept {
        about_to(access::wait, &word);
        if (static_cast<std::atomic<std::uint32_t>&>(word).load() == expected) {
            ++sleeps;
            last_timeout_ns = timeout_ns;
        }
    }
    static void wake(atomic<std::uint32_t>& word) noexcept { about_to(access::wake, &word); }

    static inline thread_local unsigned sleeps;
    static inline thread_local std::uint64_t last_timeout_ns;
};

/// A script that runs `act` once, before the n-th access of the kind.
inline scripted::script before_nth(access kind, int n, std::function<void()> act) {
    return [kind, n, act = std::move(act)](access what, const void*) mutable {
        if (what == kind && --n == 0)
            act();
    };
}

} // namespace allot_test
