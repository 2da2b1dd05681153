// SPDX-License-Identifier: MIT
//
// torture_groups: random threads, groups, caches, forks and signals against an exact model.
//
//     torture_groups [--seconds N] [--seed N] [--no-worker] [--leak]
//
// Idea.        Rounds of a few milliseconds in which everything happens at once; between them all threads rest, and every block,
//              group and sum is compared with the model (model.hpp) and recounted by the library. From time to time everything
//              is freed and closed, and nothing may be left. Same seed, same choices; the schedule is the machine's.
//              --no-worker leaves the deferred work to whoever comes by; --leak loses one thing of each kind on purpose, and each
//              has to be noticed.
// Concurrency. workers (worker.hpp), one thread that sends them signals and watches the limits, and main, which compares.
#include "census.hpp"
#include "worker.hpp"

#include <barrier>
#include <chrono>
#include <csignal>
#include <pthread.h>

namespace {

using namespace torture;

constexpr int storm_signal = SIGUSR1;
constexpr auto round_length = std::chrono::milliseconds{40};
constexpr unsigned rounds_per_era = 25;

/// Everything that runs during a round, and the gates between rounds.
class arena_of_threads {
  public:
    arena_of_threads(tree& groups, std::uint64_t from_seed) : groups_(groups), random_(from_seed) {
        for (unsigned i = 0; i < worker_count; ++i)
            workers_.emplace_back(groups, i, from_seed + 1 + i);
        for (unsigned i = 0; i < worker_count; ++i)
            threads_.emplace_back([this, i] { between_gates([this, i] { work(i); }); });
        threads_.emplace_back([this] { between_gates([this] { storm(); }); });
    }
    ~arena_of_threads() {
        stop_ = true;
        gate_.arrive_and_wait();
        for (auto& thread : threads_)
            thread.join();
    }

    void run_round() {
        round_over = false;
        storm_over_ = false;
        gate_.arrive_and_wait();
        std::this_thread::sleep_for(round_length);
        round_over = true;
        gate_.arrive_and_wait();
    }
    std::vector<worker>& workers() { return workers_; }

  private:
    template <class F> void between_gates(F&& work) {
        for (;;) {
            gate_.arrive_and_wait();
            if (stop_)
                return;
            work();
            gate_.arrive_and_wait();
        }
    }
    /// A signal that finds its thread at the gate may wait as long as that does: the thread sanitizer hands it out at the next call that it
    /// knows of, and the gate makes none.
    void work(unsigned number) {
        workers_[number].work();
        while (!storm_over_)
            std::this_thread::sleep_for(std::chrono::microseconds{200});
    }
    /// Waits until so many signals were handled, but not for ever.
    static bool is_handled(std::uint64_t expected) {
        constexpr std::chrono::seconds patience{5};
        const auto end = std::chrono::steady_clock::now() + patience;
        while (signals_handled < expected) {
            if (std::chrono::steady_clock::now() > end)
                return false;
            std::this_thread::yield();
        }
        return true;
    }
    /// Sends a signal, waits until it was handled, looks at a limit, and so on.
    void storm() {
        while (!round_over) {
            const auto to = static_cast<unsigned>(random_() % worker_count);
            if (!turns.begin_signal(to)) {
                std::this_thread::yield();
                continue;
            }
            const std::uint64_t expected = signals_handled + 1;
            do {
                pthread_kill(threads_[to].native_handle(), storm_signal);
            } while (!is_handled(expected)); // the thread sanitizer loses one now and then
            turns.end_signal();
            const auto [group, index] = groups_.any(random_);
            const auto& counter = reinterpret_cast<const allot::memcg::mem_cgroup*>(group.get())->counter();
            const std::uint64_t usage = counter.usage.load(); // before the limit: the model's only ever grows
            if (usage > groups_.max_ever(index))
                fail("%s is above its limit", group.path().c_str());
        }
        storm_over_ = true;
    }

    tree& groups_;
    std::mt19937_64 random_;
    std::atomic<bool> stop_{false};
    std::atomic<bool> storm_over_{false};
    std::barrier<> gate_{worker_count + 2};
    std::vector<worker> workers_;
    std::vector<std::thread> threads_;
};

/// Compares everything while all threads rest.
void check(tree& groups, std::vector<worker>& workers, const sums& base, std::mt19937_64& random) {
    allot_quiesce();
    sums expected = base;
    expected.live += handler_live;
    expected.allocations += handler_allocations;
    const auto look_at = [&](const item& it) {
        it.check();
        const allot::group owner = allot::owner_of(it.block);
        if (owner != groups.payer(it.group))
            fail("%p belongs to %s, the model says %s", static_cast<void*>(it.block), owner.path().c_str(),
                 groups.payer(it.group).path().c_str());
        if (allot_usable_size(it.block) < it.size)
            fail("%p has %zu bytes of %zu", static_cast<void*>(it.block), allot_usable_size(it.block), it.size);
    };
    for (const worker& each : workers) {
        expected += each.contribution();
        each.for_each(look_at);
    }
    for (const stall& each : market)
        if (each.it.block != nullptr)
            look_at(each.it);
    for (const pool_place& each : pool)
        if (each.block.load() != nullptr)
            look_at(each.it);
    groups.check();
    for (int i = 0; i < 4; ++i)
        groups.check_headroom(random);
    const sums is = library_sums();
    compare("live blocks", is.live, expected.live);
    compare("allocations", is.allocations, expected.allocations);
    compare("external bytes", is.external, expected.external);
}

/// Frees and closes everything; nothing may be left.
void end_era(tree& groups, std::vector<worker>& workers, const allot::stat& before) {
    for (worker& each : workers)
        each.free_all();
    for (stall& each : market)
        if (const item it = std::exchange(each.it, item{}); it.block != nullptr) {
            free_item(it);
            --handler_live;
        }
    for (pool_place& each : pool)
        empty_place(each);
    for (auto& each : references)
        allot_group_put(each.exchange(nullptr));
    for (cache_place& each : caches)
        each.clear();
    groups.clear();
    settle_library();
    const allot::stat after = allot::root().stat();
    compare("bytes in slabs at the end", static_cast<std::int64_t>(after.slab), static_cast<std::int64_t>(before.slab));
    compare("shared bytes at the end", static_cast<std::int64_t>(after.shared),
            static_cast<std::int64_t>(before.shared));
    compare("large bytes at the end", static_cast<std::int64_t>(after.large), static_cast<std::int64_t>(before.large));
    compare("external bytes at the end", static_cast<std::int64_t>(after.external), 0);
    compare("closed groups at the end", after.nr_dying, before.nr_dying);
}

/// `fault`, unless empty, is put in after the first round.
void run(std::uint64_t seconds, const std::string& fault) {
    pthread_key_create(&late_key, free_late);
    struct sigaction how {};
    how.sa_handler = handle;
    how.sa_flags = SA_RESTART;
    sigaction(storm_signal, &how, nullptr);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{seconds};
    allot_quiesce();
    const allot::stat before = allot::root().stat();
    const census whole = take_census("at the beginning");
    allot::group top = allot::root().create("torture");
    const sums base = library_sums();
    {
        std::mt19937_64 random{seed};
        tree groups{top};
        arena_of_threads threads{groups, seed};
        while (std::chrono::steady_clock::now() < end) {
            ++round_number;
            threads.run_round();
            if (round_number == 1 && !fault.empty())
                lose(fault, top.get());
            check(groups, threads.workers(), base, random);
            if (round_number % rounds_per_era == 0 || groups.is_full()) {
                end_era(groups, threads.workers(), before);
                check(groups, threads.workers(), base, random);
            }
        }
        end_era(groups, threads.workers(), before);
        check(groups, threads.workers(), base, random);
    }
    say("%u rounds, %llu signals, %lld allocations agree", round_number,
        static_cast<unsigned long long>(signals_handled.load()),
        static_cast<long long>(library_sums().allocations - base.allocations));
    top.close();
    top = {};
    settle_library();
    census left = take_census("at the end");
    left.slabs = whole.slabs; // the main thread keeps some
    must_equal_outside("at the end", left, whole);
}

/// The model knows nothing of the library's structures; torture_lifecycle does.
bool changes_the_model(const std::string& fault) { return fault != "owner reference" && fault != "structure"; }

} // namespace

int main(int argc, char** argv) {
    bool no_worker = false;
    bool leak = false;
    const std::uint64_t seconds =
        begin("torture_groups", argc, argv,
              {{.name = "--no-worker", .is_given = &no_worker}, {.name = "--leak", .is_given = &leak}});
    allot::sync::allow_worker(!no_worker);
    if (!leak) {
        run(seconds, "");
        return pass();
    }
    for (const char* const fault : faults)
        if (changes_the_model(fault))
            must_be_caught(fault, 1, [&] { run(1, fault); });
    return pass();
}
