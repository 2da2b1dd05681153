// SPDX-License-Identifier: MIT
//
// engine: runs scenarios under strategies; what main.cc and litmus.cc see of sim.cc.
//
// Idea.        A strategy answers "which of n?". Everything else about a run follows from its answers.
// Concurrency. one thread of the machine.
// Checked by.  litmus.cc
#pragma once

#include "sim.hpp"

#include <string>
#include <vector>

namespace explore::engine {

enum class choice : std::uint8_t {
    thread, ///< who goes on; 0 is the running thread if it can
    value,  ///< which value a load reads; 0 is the newest
    weak,   ///< a compare_exchange_weak fails for no reason
    signal, ///< a handler runs now
    driver  ///< explore::choose
};

class strategy {
  public:
    virtual ~strategy() = default;
    /// Begins a run. False if there is nothing left to try.
    virtual bool begin() = 0;
    /// `threads` (of choice::thread): their numbers; `running`: the first of them can go on.
    virtual unsigned pick(choice kind, unsigned n, const unsigned* threads, bool running) = 0;
    /// What to print so that the run can be repeated; empty if only the schedule can.
    virtual std::string name() const { return {}; }
};

class random_walk : public strategy {
  public:
    explicit random_walk(std::uint64_t seed, bool one_run = false) : next_seed_(seed), left_(one_run ? 1 : ~0ull) {}
    bool begin() override;
    unsigned pick(choice kind, unsigned n, const unsigned* threads, bool running) override;
    std::string name() const override { return "--strategy random --seed " + std::to_string(next_seed_ - 1); }

  protected:
    std::uint64_t random() noexcept;
    unsigned pick_other(choice kind, unsigned n);
    std::uint64_t next_seed_, left_, state_ = 0;
    unsigned switch_shift_ = 1, stale_shift_ = 1, signal_shift_ = 1;
};

/// Random priorities, lowered at `depth` random moments.
class pct : public random_walk {
  public:
    explicit pct(std::uint64_t seed, bool one_run = false) : random_walk(seed, one_run) {}
    bool begin() override;
    unsigned pick(choice kind, unsigned n, const unsigned* threads, bool running) override;
    std::string name() const override { return "--strategy pct --seed " + std::to_string(next_seed_ - 1); }

  private:
    static constexpr unsigned depth = 4;
    std::uint64_t priority_[16] = {};
    unsigned change_at_[depth] = {}, now_ = 0, changes_ = 0;
};

/// All runs within bounds.
class exhaustive : public strategy {
  public:
    explicit exhaustive(bounds b) : bounds_(b) {}
    bool begin() override;
    unsigned pick(choice kind, unsigned n, const unsigned* threads, bool running) override;

  private:
    struct step {
        unsigned taken, count;
    };
    bounds bounds_, used_;
    std::vector<step> path_;
    std::size_t depth_ = 0;
    bool first_ = true;
};

/// One schedule: pairs of position and choice, all others 0.
class replay : public strategy {
  public:
    explicit replay(const std::string& schedule);
    bool begin() override;
    unsigned pick(choice kind, unsigned n, const unsigned* threads, bool running) override;

  private:
    std::vector<unsigned> choices_;
    std::size_t at_ = 0;
    bool done_ = false;
};

/// A place in the sources that has an order, or a barrier.
struct site_info {
    std::string file, function, label;
    unsigned line, column;
    enum kind_t : std::uint8_t { load, store, rmw, barrier } kind;
    order declared;
    std::uint64_t hits;
};
std::vector<site_info>& sites();
/// Gives every site its label, from the numbers in the comments.
void label_sites();

/// What a mutant run changes.
struct mutation {
    int site = -1;                 ///< index of the site with another order, or of a barrier left out
    order weaker = order::relaxed; ///< its order
    const char* step = nullptr;    ///< the name of a step (steps.txt)
};
void set_mutation(const mutation& m);

/// Flaws of the engine, for the tests of the engine.
enum class flaw : std::uint8_t {
    none,
    seq_cst_is_acq_rel,
    seq_cst_is_fence,
    acquire_is_relaxed,
    release_is_relaxed,
    no_read_coherence,
    no_write_coherence,
    rmw_reads_old,
    no_release_sequence,
    no_fence_acquire,
    no_fence_release,
    fence_is_not_seq_cst,
    all_barrier_is_nothing,
    no_stale_loads,
    no_races,
    no_use_after_free,
    no_preemption,
    no_signals,
    lock_orders_nothing,
    wake_is_lost,
    no_weak_failures,
    count
};
void set_flaw(flaw f);
const char* name_of(flaw f);

/// One run. False if it failed: error() says why, schedule() how. False with an empty error: the strategy has no more runs.
bool run(void (*body)(), strategy& s);
const std::string& error();
std::string schedule();
unsigned steps_of_last_run();
void set_verbose(bool on);

} // namespace explore::engine
