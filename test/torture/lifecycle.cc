// SPDX-License-Identifier: MIT
//
// torture_lifecycle: caches and groups that are made and removed all the time, under objects that others free.
//
//     torture_lifecycle [--seconds N] [--seed N] [--no-worker] [--leak]
//
// Idea.        Rounds in which threads make, alias, shrink and destroy caches and create and close groups whose children are hot,
//              while the last objects and references go from other threads, from handlers, after grace periods and after the
//              exit hook. At the end of a round nothing is left, and a census has to agree with the one before.
//              --leak loses one thing of each kind, as a bug would; each has to be noticed.
// Concurrency. makers of caches, makers of groups, one that frees what lies about, one that sends signals; main counts.
#include "census.hpp"

#include "platform/os.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <pthread.h>
#include <thread>
#include <vector>

namespace {

using namespace torture;

constexpr int storm_signal = SIGUSR1;
constexpr auto round_length = std::chrono::milliseconds{100};
constexpr unsigned maker_count = 4;
std::atomic<bool> round_over{false};
std::atomic<std::uint64_t> caches_made{0}, groups_made{0}, handled{0}, reported{0};

// --- What others let go of --------------------------------------------------------------------------------------------------

/// Blocks and references to groups that whoever comes by frees. Context: any.
class left_about {
  public:
    void put_block(std::uint64_t where, void* block) { allot_free(blocks_[where % block_count].exchange(block)); }
    void put_group(std::uint64_t where, allot_group* group) {
        allot_group_put(groups_[where % group_count].exchange(group));
    }
    void free_one(std::uint64_t where) {
        put_block(where, nullptr);
        put_group(where / 7, nullptr);
    }
    void clear() {
        for (std::size_t i = 0; i < block_count; ++i)
            free_one(i * 7 + i);
        for (std::size_t i = 0; i < block_count; ++i)
            put_block(i, nullptr);
        for (std::size_t i = 0; i < group_count; ++i)
            put_group(i, nullptr);
    }

  private:
    static constexpr std::size_t block_count = 257;
    static constexpr std::size_t group_count = 31;
    std::atomic<void*> blocks_[block_count] = {};
    std::atomic<allot_group*> groups_[group_count] = {};
};
left_about leftovers;

void handle(int) {
    const int saved = errno;
    const std::uint64_t turn = handled.fetch_add(1);
    leftovers.free_one(turn * 11);
    allot_free(allot_malloc(40));
    errno = saved;
}

/// A thread's end, after the library's hook: frees what it was given. Asks to be run again until the hook has run.
pthread_key_t late_key;
void free_late(void* block) {
    static thread_local unsigned calls = 0;
    if (++calls < 3)
        pthread_setspecific(late_key, block);
    else
        allot_free(block);
}

// --- Makers -----------------------------------------------------------------------------------------------------------------

struct deferred {
    std::uint64_t text;
    allot_rcu_head head;
};

class maker {
  public:
    explicit maker(std::uint64_t own_seed) : random_(own_seed) {}

    void work_on_caches(allot_group* top) {
        while (!round_over)
            one_cache(top);
    }
    void work_on_groups(allot_group* top) {
        while (!round_over)
            one_group(top);
    }

  private:
    /// Lets a block go in one of many ways; it lives on for a while in some.
    void let_go(void* block, std::size_t size) {
        if (block == nullptr)
            return;
        const auto way = random_() % 16;
        if (way < 6) {
            leftovers.put_block(random_(), block);
        } else if (way < 8 && size >= sizeof(deferred)) {
            allot_free_rcu(block, &static_cast<deferred*>(block)->head);
        } else if (way == 8 && random_() % 16 == 0) {
            std::thread{[block] {
                allot_free(allot_malloc(64)); // gives the thread a slot, which its exit hook takes away
                pthread_setspecific(late_key, block);
            }}.join();
        } else {
            allot_free(block);
        }
    }
    void let_go_of_all(std::vector<void*>& blocks, std::size_t size) {
        std::shuffle(blocks.begin(), blocks.end(), random_);
        for (void* block : blocks)
            let_go(block, size);
        blocks.clear();
    }
    static allot_cache* some_cache(std::uint64_t choice) {
        static constexpr const char* names[] = {"lives", "lives too", "zeroed", "by rcu"};
        static constexpr unsigned flags[] = {0, 0, ALLOT_CACHE_ZERO, ALLOT_CACHE_TYPESAFE_BY_RCU};
        static constexpr std::size_t sizes[] = {48, 700, 200, 96};
        const allot_cache_options options{
            .size = sizes[choice % 4], .alignment = 0, .flags = flags[choice % 4], .constructor = nullptr};
        return allot_cache_create(names[choice % 4], &options);
    }
    /// Makes a cache, or an alias of another thread's, fills it from a group until it is hot, and destroys it under its objects.
    void one_cache(allot_group* top) {
        const auto choice = random_();
        const std::size_t size = choice % 4 == 1 ? 700 : 48;
        allot_cache* const cache = some_cache(choice);
        allot_group* group = nullptr;
        if (cache == nullptr || allot_group_create(top, next_name(), nullptr, &group) != 0)
            fail("a cache or a group could not be made");
        ++caches_made;
        allot_scope in{};
        allot_enter(group, &in);
        std::vector<void*> blocks;
        for (auto count = 50 + random_() % 500; count != 0; --count)
            blocks.push_back(allot_cache_alloc(cache));
        if (random_() % 2 == 0)
            allot_poll(); // the child that is wanted by now
        for (auto count = random_() % 100; count != 0; --count)
            blocks.push_back(allot_cache_alloc(cache));
        allot_leave(&in);
        if (random_() % 4 == 0)
            allot_cache_shrink(cache);
        if (random_() % 2 == 0)
            close(group);
        std::vector<void*> kept(blocks.begin(), blocks.begin() + static_cast<long>(random_() % blocks.size()));
        blocks.erase(blocks.begin(), blocks.begin() + static_cast<long>(kept.size()));
        let_go_of_all(blocks, size);
        allot_cache_report report{};
        allot_cache_destroy(cache, &report);
        reported += report.live;
        let_go_of_all(kept, size);
        if (allot_group_is_open(group))
            close(group);
        drop(group);
    }
    /// A group with hot children and a subgroup, closed while its objects live.
    void one_group(allot_group* top) {
        allot_group* group = nullptr;
        allot_group* below = nullptr;
        if (allot_group_create(top, next_name(), nullptr, &group) != 0 ||
            allot_group_create(group, "below", nullptr, &below) != 0)
            fail("a group could not be made");
        ++groups_made;
        std::vector<void*> blocks;
        const std::size_t size = 16 << random_() % 8;
        for (allot_group* const each : {group, below}) {
            allot_scope in{};
            allot_enter(each, &in);
            for (auto count = random_() % 600; count != 0; --count)
                blocks.push_back(allot_malloc(size));
            blocks.push_back(allot_malloc(40'000));
            allot_leave(&in);
        }
        allot_charge charge{};
        if (allot_try_charge(below, 1000, &charge) != 0)
            fail("a charge was refused");
        if (random_() % 2 == 0)
            let_go_of_all(blocks, size);
        if (random_() % 4 == 0)
            close(below);
        if (random_() % 2 == 0)
            allot_uncharge(&charge);
        if (random_() % 4 == 0)
            allot_group_reclaim(group, ALLOT_UNLIMITED);
        close(group);
        if (random_() % 2 == 0)
            std::swap(group, below);
        drop(group);
        drop(below);
        let_go_of_all(blocks, size);
        allot_uncharge(&charge);
    }
    static void close(allot_group* group) {
        if (const int error = allot_group_close(group, nullptr); error != 0)
            fail("a group could not be closed: %d", error);
    }
    void drop(allot_group* group) {
        if (random_() % 2 == 0)
            leftovers.put_group(random_(), group);
        else
            allot_group_put(group);
    }
    const char* next_name() {
        std::snprintf(name_, sizeof name_, "%p-%u", static_cast<void*>(this), ++made_);
        return name_;
    }

    std::mt19937_64 random_;
    char name_[40];
    unsigned made_ = 0;
};

// --- Rounds -----------------------------------------------------------------------------------------------------------------

/// Makes a group below the root, and closes it and lets it go.
allot_group* make_top(const char* name) {
    allot_group* top = nullptr;
    if (allot_group_create(allot_root(), name, nullptr, &top) != 0)
        fail("no group");
    return top;
}
void end_top(allot_group* top) {
    allot_group_close(top, nullptr);
    allot_group_put(top);
    allot_rcu_barrier();
    settle_library();
}

/// Threads that live for a round, and groups in one that does: a group that is used much gets structures that it keeps.
void run_round() {
    allot_group* const top = make_top("lifecycle");
    round_over = false;
    ++round_number;
    std::vector<maker> makers;
    for (unsigned i = 0; i < maker_count; ++i)
        makers.emplace_back(seed + round_number * 16 + i);
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < maker_count; ++i)
        threads.emplace_back(
            [&makers, top, i] { i % 2 == 0 ? makers[i].work_on_caches(top) : makers[i].work_on_groups(top); });
    std::thread freer{[] {
        std::mt19937_64 random{seed + round_number * 16 + maker_count};
        while (!round_over) {
            leftovers.free_one(random());
            if (random() % 64 == 0)
                std::this_thread::yield();
        }
    }};
    std::thread storm{[&threads] {
        for (unsigned i = 0; !round_over; ++i) {
            pthread_kill(threads[i % maker_count].native_handle(), storm_signal);
            std::this_thread::sleep_for(std::chrono::microseconds{100});
        }
    }};
    std::this_thread::sleep_for(round_length);
    round_over = true;
    storm.join();
    freer.join();
    for (auto& thread : threads)
        thread.join();
    leftovers.clear();
    end_top(top);
}

/// Rounds until the time is over, each compared with the first, after which lists and tables have their size; but for those the first
/// leaves nothing either. `fault`, unless empty, is put in after the second.
void run(std::uint64_t seconds, const std::string& fault) {
    pthread_key_create(&late_key, free_late);
    struct sigaction how {};
    how.sa_handler = handle;
    how.sa_flags = SA_RESTART;
    sigaction(storm_signal, &how, nullptr);
    const census start = take_census("at the beginning");
    run_round();
    const census before = take_census("after the first round");
    must_equal_outside("after the first round", before, start);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{seconds};
    do {
        run_round();
        if (!fault.empty() && round_number == 2) {
            allot_group* const victim = make_top("victim");
            lose(fault, victim);
            end_top(victim);
        }
        must_equal("after a round", take_census("after a round"), before);
    } while (std::chrono::steady_clock::now() < end);
    say("%u rounds, %llu caches, %llu groups, %llu signals; %llu objects outlived their cache", round_number,
        static_cast<unsigned long long>(caches_made.load()), static_cast<unsigned long long>(groups_made.load()),
        static_cast<unsigned long long>(handled.load()), static_cast<unsigned long long>(reported.load()));
}

} // namespace

int main(int argc, char** argv) {
    bool no_worker = false;
    bool leak = false;
    const std::uint64_t seconds =
        begin("torture_lifecycle", argc, argv,
              {{.name = "--no-worker", .is_given = &no_worker}, {.name = "--leak", .is_given = &leak}});
    allot::sync::allow_worker(!no_worker);
    if (!leak) {
        run(seconds, "");
        return pass();
    }
    for (const char* const fault : faults)
        must_be_caught(fault, 0, [&] { run(0, fault); });
    return pass();
}
