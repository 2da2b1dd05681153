// SPDX-License-Identifier: MIT
//
// percpu_ref: a reference count that is per slot while its object lives and is hot, and atomic before that and while it dies.
//
// Idea.        Atomic, it is one word that get and put add to. Switched to per-slot it has cells, one cache line a slot: a thread
//              adds to its own by a plain load and store, and nobody knows the sum. Who cannot use a cell (a handler on top of
//              a section, a thread without a slot or with a slot beyond the cells) still adds to the word, which carries a
//              bias meanwhile, so that nobody takes it for zero. Going back to atomic marks the pointer to the cells, waits a
//              grace period for those who did not see the mark, and adds the cells, less the bias, to the word.
//
//              pointer word          gets and puts go to     tryget_online    left by
//              0                     the word                counts up        switch_to_percpu, begin_kill
//              cells                 cells, or the word      succeeds         begin_switch_to_atomic, begin_kill
//              cells | draining      the word                succeeds         finish_switch_to_atomic, begin_kill
//              cells | dying         the word                fails            confirm_kill
//              dying                 the word                fails            resurrect; or the last put
//
// Invariants.  I1  A reference exists until the object is released; the owner keeps one from the switch to per-slot until the
//                  cells are in the word again. So only then can a put be the last.
//              I2  The bias leaves the word only in the same addition that brings in the cells.
//              I3  A cell is written by its slot's thread alone, in an outermost section that saw the pointer unmarked.
//              I4  What the low 40 bits hold stays between 0 and 2^40 after each addition: with the bias, half of that and the
//                  difference of what others have in cells. So nothing is carried into the heat above them; what the heat
//                  carries leaves at the top of the word. It is a hint, and wraps.
// Concurrency. get, tryget, tryget_online, put: any thread, Context any; the last put is told so and only enqueues.
//              switch_to_percpu: any thread with a reference. begin_kill: once, also during a switch. What begins or ends the way
//              back, confirm_kill, resurrect: one thread at a time, e.g. the executor.
// Lock order.  takes none.
// Checked by.  test/sync/percpu_ref_test.cc, verify/spin/percpu_ref.pml, verify/explore/percpu_ref.cc
// Source.      Linux lib/percpu-refcount.c.
#pragma once

#include "base/assert.hpp"
#include "sync/executor.hpp"
#include "sync/thread_slot.hpp"

#include <new>

namespace allot::sync {

/// The cells of one reference count, one cache line each, numbered 1 to count(). Line 0 holds the count.
template <class P> class alignas(cache_line_bytes) basic_percpu_cells {
  public:
    static constexpr std::size_t bytes_for(std::uint32_t count) noexcept {
        return cache_line_bytes * (std::size_t{count} + 1);
    }
    /// Makes them, all 0, in `memory`, which has bytes_for(count) and begins a cache line. There is nothing to destroy.
    static basic_percpu_cells& create(void* memory, std::uint32_t count) noexcept {
        ALLOT_ASSERT(reinterpret_cast<std::uintptr_t>(memory) % cache_line_bytes == 0);
        auto* const made = new (memory) basic_percpu_cells(count);
        for (std::uint32_t i = 1; i <= count; ++i)
            new (static_cast<char*>(memory) + cache_line_bytes * i) cell;
        return *made;
    }
    std::uint32_t count() const noexcept { return count_.get(); }
    /// Adds to cell `index`; false if there is none of that number. By its owner alone.
    ALLOT_INLINE bool add(std::uint32_t index, std::uint64_t n) noexcept {
        if (index == 0 || index > count_.get()) [[unlikely]]
            return false;
        auto& value = at(index).value;
        // relaxed, both: own cell; the end of the section is what whoever sums it waits for.
        value.store(value.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
        return true;
    }
    /// Exact when nobody adds any more: after a grace period.
    std::uint64_t sum() noexcept {
        std::uint64_t total = 0;
        for (std::uint32_t i = 1; i <= count_.get(); ++i)
            total += at(i).value.load(std::memory_order_relaxed); // relaxed: the grace period has ordered them
        return total;
    }

  private:
    struct alignas(cache_line_bytes) cell {
        typename P::template atomic<std::uint64_t> value{0}; // modulo 2^64: a thread may put more than it got
    };
    static_assert(sizeof(cell) == cache_line_bytes);

    explicit basic_percpu_cells(std::uint32_t count) noexcept : count_(count) {}
    ALLOT_INLINE cell& at(std::uint32_t index) noexcept { return reinterpret_cast<cell*>(this)[index]; }

    typename P::template var<std::uint32_t> count_; // constant
};

/// P has besides what real.hpp says:
///   P::percpu_section     a read-side section from its construction to its destruction; index() is the number of the cell that
///                         the thread has to itself inside it, or 0
template <class P> class basic_percpu_ref {
  public:
    using cells = basic_percpu_cells<P>;
    static constexpr std::uint64_t hot_gets = 4096;

    explicit constexpr basic_percpu_ref(std::uint64_t initial = 1) noexcept : count_(initial) {}

    /// Takes `n` references; the caller has one, or knows of one that stays. From 0 it is a bug. Context: any.
    ALLOT_INLINE void get(std::uint64_t n = 1) noexcept {
        if (uses_cells() && add_to_cell(n))
            return;
        // Relaxed: there is a reference already, so nothing can be released meanwhile.
        const std::uint64_t old = count_.fetch_add(n + one_get, std::memory_order_relaxed);
        ALLOT_BUG_ON((old & count_mask) == 0);
    }

    /// Takes a reference unless there is none any more. The caller sees to it that the count's memory is there. Context: any.
    [[nodiscard]] ALLOT_INLINE bool tryget() noexcept { return (uses_cells() && add_to_cell(1)) || get_unless_zero(); }

    /// As tryget, but fails if the kill was seen: always, once a grace period has passed since begin_kill(). Context: any.
    [[nodiscard]] bool tryget_online() noexcept {
        typename P::percpu_section section; // so that the grace period waits for whoever has not seen the kill
        const std::uintptr_t seen = look_inside(section);
        if ((seen & dying) != 0)
            return false;
        return add_to_cell_in(section, seen, 1) || get_unless_zero();
    }

    /// Gives `n` references back. True: they were the last; the caller enqueues the release. Otherwise the object may be gone
    /// on return. Context: any.
    [[nodiscard]] ALLOT_INLINE bool put(std::uint64_t n = 1) noexcept {
        if (uses_cells() && add_to_cell(0 - n))
            return false;
        // (3) acq_rel: pairs with itself: the last put comes after all uses that earlier puts ended.
        const std::uint64_t old = count_.fetch_sub(n, std::memory_order_acq_rel) & count_mask;
        ALLOT_BUG_ON(old < n);
        return old == n;
    }

    /// True if it may pay to switch to per-slot. Context: any.
    bool is_hot() const noexcept {
        // relaxed: a hint.
        return count_.load(std::memory_order_relaxed) >> count_bits >= hot_gets;
    }
    /// True once the kill was seen. Context: any.
    bool is_dying() const noexcept {
        return (cells_.load(std::memory_order_relaxed) & dying) != 0; // relaxed: a hint; tryget_online() decides
    }
    /// True while cells are in use, or not yet summed. Context: any.
    bool is_percpu() const noexcept {
        return cells_of(cells_.load(std::memory_order_relaxed)) !=
               nullptr; // relaxed: changed by the caller's kind alone
    }
    /// The references; while it is per-slot, the word's part of them, modulo 2^40 and with the bias. Context: any.
    std::uint64_t count() const noexcept {
        return count_.load(std::memory_order_relaxed) & count_mask; // relaxed: true of some moment
    }

    /// Begins to use `with`, fresh cells. False, and `with` stays the caller's, if it is dying or has cells. The caller holds a
    /// reference. Context: any.
    [[nodiscard]] bool switch_to_percpu(cells& with) noexcept {
        std::uintptr_t seen = 0;
        // Relaxed: the bias is on before anybody sees the cells, by (1).
        count_.fetch_add(bias, std::memory_order_relaxed);
        // (1) release: pairs with (2), (4): who sees the cells sees them made, and the bias.
        if (cells_.compare_exchange_strong(seen, reinterpret_cast<std::uintptr_t>(&with), std::memory_order_release,
                                           std::memory_order_relaxed))
            return true;
        count_.fetch_sub(bias, std::memory_order_relaxed); // relaxed: no put is the last, the caller has a reference
        return false;
    }

    /// Begins to go back to the word. False if there is nothing to finish. Otherwise the caller lets a grace period pass and
    /// calls finish_switch_to_atomic(). Context: any.
    [[nodiscard]] bool begin_switch_to_atomic() noexcept {
        std::uintptr_t seen = cells_.load(std::memory_order_relaxed); // relaxed: a guess; the exchange checks it
        do {
            if (cells_of(seen) == nullptr || (seen & dying) != 0)
                return false;
            // Relaxed: the grace period orders it.
        } while (!cells_.compare_exchange_weak(seen, seen | draining, std::memory_order_relaxed));
        return true;
    }
    /// Returns the cells, for freeing; null if a kill was confirmed meanwhile. A grace period has passed since
    /// begin_switch_to_atomic(), and the caller holds a reference. Context: any.
    cells* finish_switch_to_atomic() noexcept { return take_in(); }

    /// Makes tryget_online() fail: at the latest after a grace period, which the caller lets pass, to call confirm_kill() then.
    /// A second kill is a bug. Context: any.
    void begin_kill() noexcept {
        std::uintptr_t seen = cells_.load(std::memory_order_relaxed); // relaxed: a guess; the exchange checks it
        do
            ALLOT_BUG_ON((seen & dying) != 0);
        // Relaxed: the grace period orders it.
        while (!cells_.compare_exchange_weak(seen, seen | dying, std::memory_order_relaxed));
    }
    /// Ends per-slot counting. Returns the cells, for freeing, or null. A grace period has passed since begin_kill(). The owner's
    /// reference is put afterwards. Context: any.
    cells* confirm_kill() noexcept {
        ALLOT_BUG_ON((cells_.load(std::memory_order_relaxed) & dying) == 0); // relaxed: set by the caller's kind
        return take_in();
    }
    /// Undoes a confirmed kill, and goes on with cells if there are some. The caller holds a reference. Context: any.
    void resurrect(cells* with = nullptr) noexcept {
        ALLOT_BUG_ON(cells_.load(std::memory_order_relaxed) != dying); // relaxed: set by the caller's kind
        ALLOT_BUG_ON(count() == 0);
        cells_.store(0, std::memory_order_relaxed); // relaxed: it promises nothing about what was done before
        if (with != nullptr)
            ALLOT_BUG_ON(!switch_to_percpu(*with));
    }
    /// To be called before its memory goes. Cells that are left are a bug. Context: any.
    void exit() const noexcept { ALLOT_BUG_ON(is_percpu()); }

  private:
    static constexpr unsigned count_bits = 40;
    static constexpr std::uint64_t count_mask = (std::uint64_t{1} << count_bits) - 1;
    static constexpr std::uint64_t bias = std::uint64_t{1} << (count_bits - 1);
    static constexpr std::uint64_t one_get = std::uint64_t{1} << count_bits; // I4
    static constexpr std::uintptr_t dying = 1, draining = 2, marks = dying | draining;

    static cells* cells_of(std::uintptr_t seen) noexcept { return reinterpret_cast<cells*>(seen & ~marks); }

    /// A guess that saves a section: the word is right for any get and put while the cells are in use.
    ALLOT_INLINE bool uses_cells() const noexcept {
        const std::uintptr_t seen =
            cells_.load(std::memory_order_relaxed); // relaxed: a guess; add_to_cell() looks again
        return seen != 0 && (seen & marks) == 0;
    }
    ALLOT_INLINE bool add_to_cell(std::uint64_t n) noexcept {
        typename P::percpu_section section;
        return add_to_cell_in(section, look_inside(section), n);
    }
    /// The pointer word, loaded inside a section: I3.
    ALLOT_INLINE std::uintptr_t look_inside(const typename P::percpu_section&) const noexcept {
        // (2) acquire: pairs with (1): the cells are whole.
        return cells_.load(std::memory_order_acquire);
    }
    /// Adds to the cell of `section`, in which the pointer word was `seen`; false if it has none, or there are none in use.
    ALLOT_INLINE static bool add_to_cell_in(const typename P::percpu_section& section, std::uintptr_t seen,
                                            std::uint64_t n) noexcept {
        return seen != 0 && (seen & marks) == 0 && cells_of(seen)->add(section.index(), n);
    }

    bool get_unless_zero() noexcept {
        std::uint64_t old = count_.load(std::memory_order_relaxed); // relaxed: a guess; the exchange checks it
        do {
            if ((old & count_mask) == 0)
                return false;
            // Relaxed: as get().
        } while (!count_.compare_exchange_weak(old, old + 1 + one_get, std::memory_order_relaxed));
        return true;
    }

    /// Adds the cells, less the bias, to the word, and takes the heat out that had come together.
    cells* take_in() noexcept {
        // (4) acquire: pairs with (1): the cells are whole. The grace period says so, too, but in TSan builds.
        std::uintptr_t seen = cells_.load(std::memory_order_acquire);
        cells* const found = cells_of(seen);
        if (found == nullptr)
            return nullptr;
        ALLOT_BUG_ON((seen & marks) == 0);
        // Relaxed: with a mark on it nobody follows the pointer. Only a kill may come between.
        while (!cells_.compare_exchange_weak(seen, seen & dying, std::memory_order_relaxed))
            ;
        const std::uint64_t total = found->sum();
        const std::uint64_t heat = count_.load(std::memory_order_relaxed) & ~count_mask; // relaxed: a hint
        // Relaxed: the reference that the owner has is put later, which passes on what the grace period brought.
        count_.fetch_add(total - bias - heat, std::memory_order_relaxed); // I2
        return found;
    }

    typename P::template atomic<std::uint64_t> count_;
    typename P::template atomic<std::uintptr_t> cells_{0};
};

/// The machine, with the cells numbered as the slots.
struct percpu_real : real {
    class percpu_section {
      public:
        ALLOT_INLINE std::uint32_t index() const noexcept { return guard_.is_outermost() ? tls.slot->index : 0; }

      private:
        rcu_guard guard_;
    };
};

using percpu_cells = basic_percpu_cells<percpu_real>;
using percpu_ref = basic_percpu_ref<percpu_real>;
static_assert(sizeof(percpu_ref) == 16);

/// begin_kill(), and `confirm` runs on the executor when nobody can succeed in tryget_online() any more: it calls
/// confirm_kill(), frees the cells, and puts the owner's reference. Context: any.
inline void kill_and_confirm(percpu_ref& ref, work& confirm) noexcept {
    ref.begin_kill();
    [[maybe_unused]] const bool queued = call_rcu(confirm);
    ALLOT_ASSERT(queued);
}

} // namespace allot::sync
