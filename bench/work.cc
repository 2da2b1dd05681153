// SPDX-License-Identifier: MIT
//
// work: the loops that are timed, and the clock around them.
#include "work.hpp"

#include "handover.hpp"
#include "heap.hpp"

#include <algorithm>
#include <barrier>
#include <cstdio>
#include <ctime>
#include <numeric>
#include <random>
#include <thread>
#include <unistd.h>
#include <vector>

namespace allot_bench {

namespace {

constexpr std::size_t batch = 1000;
constexpr std::size_t churned = 10'000;
constexpr std::size_t live_bytes_most = std::size_t{64} << 20;
constexpr std::size_t nr_orders = 16;
/// Where threads wait for each other or for a core, the scheduler has a say: such a cell takes longer, to see more of it.
constexpr double together_times = 3;

[[noreturn, gnu::cold, gnu::noinline]] void fail(std::size_t size) {
    std::fprintf(stderr, "allot_bench: an allocation of %zu bytes failed\n", size);
    _exit(1);
}

/// Allocates a block and writes to it.
inline void* allocate(std::size_t size) {
    void* block = heap_malloc(size);
    if (block == nullptr) [[unlikely]]
        fail(size);
    *static_cast<volatile char*>(block) = 1;
    return block;
}

inline void fill(const thread_work& mine) {
    for (std::size_t index = 0; index < mine.count; ++index)
        mine.blocks[index] = allocate(mine.size);
}

inline void free_last_first(const thread_work& mine) {
    for (std::size_t index = mine.count; index-- > 0;)
        heap_free(mine.blocks[index]);
}

inline void free_in_random_order(const thread_work& mine, std::uint64_t unit) {
    const std::uint16_t* order = mine.order + unit % nr_orders * mine.count;
    for (std::size_t index = 0; index < mine.count; ++index)
        heap_free(mine.blocks[order[index]]);
}

[[gnu::noinline]] void run_pair(thread_work& mine, std::uint64_t units) {
    for (std::uint64_t unit = 0; unit < units; ++unit)
        heap_free(allocate(mine.size));
}

[[gnu::noinline]] void run_lifo(thread_work& mine, std::uint64_t units) {
    for (std::uint64_t unit = 0; unit < units; ++unit) {
        fill(mine);
        free_last_first(mine);
    }
}

[[gnu::noinline]] void run_fifo(thread_work& mine, std::uint64_t units) {
    for (std::uint64_t unit = 0; unit < units; ++unit) {
        fill(mine);
        for (std::size_t index = 0; index < mine.count; ++index)
            heap_free(mine.blocks[index]);
    }
}

[[gnu::noinline]] void run_random(thread_work& mine, std::uint64_t units) {
    for (std::uint64_t unit = 0; unit < units; ++unit) {
        fill(mine);
        free_in_random_order(mine, unit);
    }
}

/// Frees a random block and allocates another one in its place, `count` times.
[[gnu::noinline]] void run_churn(thread_work& mine, std::uint64_t units) {
    std::uint32_t random = mine.random;
    for (std::uint64_t left = units * mine.count; left > 0; --left) {
        random ^= random << 13; // Marsaglia's xorshift32
        random ^= random >> 17;
        random ^= random << 5;
        void*& block = mine.blocks[std::uint64_t{random} * mine.count >> 32];
        heap_free(block);
        block = allocate(mine.size);
    }
    mine.random = random;
}

void hand_over_batch(const thread_work& mine) {
    void** blocks = mine.to->room();
    for (std::size_t index = 0; index < mine.count; ++index)
        blocks[index] = allocate(mine.size);
    mine.to->put();
}

void free_batch(const thread_work& mine) {
    void** blocks = mine.from->next();
    for (std::size_t index = 0; index < mine.count; ++index)
        heap_free(blocks[index]);
    mine.from->take();
}

/// A producer, a consumer, or both: in a ring nobody runs more than a batch ahead of what it has taken, so not all can wait.
[[gnu::noinline]] void run_handover(thread_work& mine, std::uint64_t units) {
    for (std::uint64_t unit = 0; unit < units; ++unit) {
        if (mine.to != nullptr)
            hand_over_batch(mine);
        if (mine.from != nullptr)
            free_batch(mine);
    }
}

[[gnu::noinline]] void run_mix(thread_work& mine, std::uint64_t units) {
    for (std::uint64_t unit = 0; unit < units; ++unit) {
        fill(mine);
        free_last_first(mine);
        fill(mine);
        free_in_random_order(mine, unit);
    }
}

constexpr work works[] = {
    {"pair", run_pair, 1},
    {"lifo", run_lifo, batch},
    {"fifo", run_fifo, batch},
    {"random", run_random, batch},
    {"churn", run_churn, churned, 1, true},
    {"remote", run_handover, handover_batch, 1, false, work::in_pairs},
    {"ring", run_handover, handover_batch, 1, false, work::in_a_ring},
    {"oversub", run_mix, batch, 2, false, work::crowded},
};

/// How many blocks of a unit there are room for.
std::size_t count_of(const work& what, std::size_t size) {
    const std::size_t units_live = what.run == run_handover ? handover_slots : 1;
    return std::clamp<std::size_t>(live_bytes_most / (size * units_live), 1, what.blocks_most);
}

/// Fixed random orders, the same in every process: several, so that a branch predictor cannot learn one by heart.
std::vector<std::uint16_t> random_orders(std::size_t count) {
    std::vector<std::uint16_t> orders(nr_orders * count);
    std::mt19937 random{20190605};
    for (auto order = orders.begin(); order != orders.end(); order += static_cast<std::ptrdiff_t>(count)) {
        std::iota(order, order + static_cast<std::ptrdiff_t>(count), std::uint16_t{0});
        std::shuffle(order, order + static_cast<std::ptrdiff_t>(count), random);
    }
    return orders;
}

double now_ns() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

/// A cell that is being measured: what its threads share.
class cell_run {
  public:
    cell_run(const work& what, std::size_t size, unsigned threads)
        : what_(what), size_(size), threads_(threads), count_(count_of(what, size)), orders_(random_orders(count_)),
          rings_(threads), begins_(threads), ends_(threads), gate_(static_cast<std::ptrdiff_t>(threads)) {}

    /// What thread `index` does. The first run warms up: what it costs to touch memory for the first time must not be taken
    /// for the time of a unit.
    void run_thread(unsigned index, double wanted_ns) {
        const query_scope in;
        std::vector<void*> blocks(count_);
        thread_work mine = work_of(index);
        mine.blocks = blocks.data();
        if (what_.keeps_blocks)
            fill(mine);
        time_of(mine, index, 1);
        std::uint64_t units = 1;
        double taken = time_of(mine, index, units);
        while (taken < wanted_ns / 8) {
            units *= 2;
            taken = time_of(mine, index, units);
        }
        // All threads have seen the same times, so all come to the same number.
        units = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(static_cast<double>(units) * wanted_ns / taken));
        taken = time_of(mine, index, units);
        if (what_.keeps_blocks)
            free_last_first(mine);
        if (index == 0)
            result_ns_ = taken / static_cast<double>(units * pairs_in_unit());
    }

    [[nodiscard]] double result_ns() const { return result_ns_; }

  private:
    [[nodiscard]] thread_work work_of(unsigned index) {
        thread_work mine{size_, count_, nullptr, 2'463'534'242u + index, nullptr, nullptr, orders_.data()};
        if (what_.threads == work::in_pairs && index % 2 == 0)
            mine.to = &rings_[index];
        else if (what_.threads == work::in_pairs)
            mine.from = &rings_[index - 1];
        if (what_.threads == work::in_a_ring) {
            mine.to = &rings_[index];
            mine.from = &rings_[(index + threads_ - 1) % threads_];
        }
        return mine;
    }

    /// Lets all threads do `units` units at once. Returns the same in each of them.
    double time_of(thread_work& mine, unsigned index, std::uint64_t units) {
        gate_.arrive_and_wait();
        begins_[index] = now_ns();
        what_.run(mine, units);
        ends_[index] = now_ns();
        gate_.arrive_and_wait();
        if (what_.threads != work::alone)
            return std::max(1.0, *std::max_element(ends_.begin(), ends_.end()) -
                                     *std::min_element(begins_.begin(), begins_.end()));
        double slowest = 1;
        for (unsigned other = 0; other < threads_; ++other)
            slowest = std::max(slowest, ends_[other] - begins_[other]);
        return slowest;
    }

    /// Allocations with their frees in one unit of all threads, or of one thread if they work alone.
    [[nodiscard]] std::uint64_t pairs_in_unit() const {
        const std::uint64_t pairs = count_ * what_.passes;
        if (what_.threads == work::alone)
            return pairs;
        return what_.threads == work::in_pairs ? pairs * threads_ / 2 : pairs * threads_;
    }

    const work& what_;
    std::size_t size_;
    unsigned threads_;
    std::size_t count_;
    std::vector<std::uint16_t> orders_;
    std::vector<handover> rings_; // the one of a thread is what it puts into
    std::vector<double> begins_;
    std::vector<double> ends_;
    std::barrier<> gate_;
    double result_ns_ = 0;
};

} // namespace

const work* find_work(std::string_view name) {
    for (const work& one : works)
        if (one.name == name)
            return &one;
    return nullptr;
}

double measure(const work& what, std::size_t size, unsigned threads, double cell_ms) {
    cell_run run{what, size, threads};
    const double wanted_ns = cell_ms * 1e6 * (what.threads == work::alone ? 1 : together_times);
    std::vector<std::thread> others;
    for (unsigned index = 1; index < threads; ++index)
        others.emplace_back([&run, index, wanted_ns] { run.run_thread(index, wanted_ns); });
    run.run_thread(0, wanted_ns);
    for (std::thread& other : others)
        other.join();
    return run.result_ns();
}

} // namespace allot_bench
