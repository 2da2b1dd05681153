// SPDX-License-Identifier: MIT
//
// torture_groups: random threads, groups, caches, forks and signals against an exact model.
//
//     torture_groups [--seconds N] [--seed N]
//
// Idea.        Rounds of a few milliseconds in which everything happens at once; between them all threads rest, and every block,
//              group and sum is compared with the model (model.hpp) and recounted by the library. From time to time everything
//              is freed and closed, and nothing may be left. Same seed, same choices; the schedule is the machine's.
// Concurrency. workers (worker.hpp), one thread that sends them signals and watches the limits, and main, which compares.
#include "worker.hpp"

#include "group/mem_cgroup.hpp"

#include <barrier>
#include <chrono>
#include <pthread.h>

extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "die_after_fork=0"; }

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
            threads_.emplace_back([this, i] { between_gates([this, i] { workers_[i].work(); }); });
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
    /// Sends a signal, waits until it was handled, looks at a limit, and so on.
    void storm() {
        while (!round_over) {
            const std::uint64_t expected = signals_handled + 1;
            pthread_kill(threads_[random_() % worker_count].native_handle(), storm_signal);
            while (signals_handled < expected)
                std::this_thread::yield();
            const auto [group, index] = groups_.any(random_);
            const auto& counter = reinterpret_cast<const allot::memcg::mem_cgroup*>(group.get())->counter();
            // Limits do not change, so any two reads will do.
            if (counter.usage.load() > counter.max.load())
                fail("%s is above its limit", group.path().c_str());
        }
    }

    tree& groups_;
    std::mt19937_64 random_;
    std::atomic<bool> stop_{false};
    std::barrier<> gate_{worker_count + 2};
    std::vector<worker> workers_;
    std::vector<std::thread> threads_;
};

/// Compares everything while all threads rest.
void check(tree& groups, std::vector<worker>& workers, const sums& base) {
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
    const sums is = library_sums();
    compare("live blocks", is.live, expected.live);
    compare("allocations", is.allocations, expected.allocations);
    compare("external bytes", is.external, expected.external);
}

/// Frees and closes everything; nothing may be left.
void end_era(tree& groups, std::vector<worker>& workers, const allot::stat& before) {
    std::int64_t freed = 0;
    for (worker& each : workers)
        each.free_all();
    for (stall& each : market)
        if (unsigned char* const block = std::exchange(each.it, item{}).block) {
            allot_free(block);
            --freed;
        }
    for (pool_place& each : pool)
        if (unsigned char* const block = each.block.exchange(nullptr)) {
            allot_free(block);
            --freed;
        }
    handler_live += freed;
    groups.clear();
    for (int round = 0; round < 2; ++round) {
        allot_quiesce();
        allot_group_reclaim(allot_root(), ALLOT_UNLIMITED);
    }
    allot_quiesce();
    const allot::stat after = allot::root().stat();
    compare("bytes in slabs at the end", static_cast<std::int64_t>(after.slab), static_cast<std::int64_t>(before.slab));
    compare("shared bytes at the end", static_cast<std::int64_t>(after.shared),
            static_cast<std::int64_t>(before.shared));
    compare("large bytes at the end", static_cast<std::int64_t>(after.large), static_cast<std::int64_t>(before.large));
    compare("external bytes at the end", static_cast<std::int64_t>(after.external), 0);
    compare("closed groups at the end", after.nr_dying, before.nr_dying);
}

void run(std::uint64_t seconds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{seconds};
    allot_quiesce();
    const allot::stat before = allot::root().stat();
    const allot::unique_group top{allot::root().create("torture")};
    const sums base = library_sums();
    tree groups{*top};
    arena_of_threads threads{groups, seed};
    while (std::chrono::steady_clock::now() < end) {
        ++round_number;
        threads.run_round();
        check(groups, threads.workers(), base);
        if (round_number % rounds_per_era == 0 || groups.is_full()) {
            end_era(groups, threads.workers(), before);
            check(groups, threads.workers(), base);
        }
    }
    end_era(groups, threads.workers(), before);
    check(groups, threads.workers(), base);
    std::printf("torture_groups: %u rounds, %llu signals, %lld allocations agree\n", round_number,
                static_cast<unsigned long long>(signals_handled.load()),
                static_cast<long long>(library_sums().allocations - base.allocations));
}

std::uint64_t number(const char* text) {
    char* rest = nullptr;
    const std::uint64_t value = std::strtoull(text, &rest, 0);
    if (rest == text || *rest != '\0') {
        std::fprintf(stderr, "torture_groups: '%s' is no number\n", text);
        std::exit(2);
    }
    return value;
}

} // namespace

int main(int argc, char** argv) {
    std::uint64_t seconds = 5;
    seed = std::random_device{}();
    for (int i = 1; i < argc; i += 2) {
        const bool has_value = i + 1 < argc;
        if (has_value && std::strcmp(argv[i], "--seconds") == 0) {
            seconds = number(argv[i + 1]);
        } else if (has_value && std::strcmp(argv[i], "--seed") == 0) {
            seed = number(argv[i + 1]);
        } else {
            std::fprintf(stderr, "usage: torture_groups [--seconds N] [--seed N]\n");
            return 2;
        }
    }
    std::printf("torture_groups: --seed %llu\n", static_cast<unsigned long long>(seed));
    std::fflush(stdout);
    ::alarm(static_cast<unsigned>(seconds) + 60); // a hang is a failure, too
    struct sigaction how {};
    how.sa_handler = handle;
    how.sa_flags = SA_RESTART;
    sigaction(storm_signal, &how, nullptr);
    run(seconds);
    return 0;
}
