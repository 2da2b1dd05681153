// SPDX-License-Identifier: MIT
//
// rcu_stress_test: readers of every kind follow pointers to objects that updaters replace and free after a grace period.
//
// Idea.        An object says of itself whether it is alive, and is overwritten before it is freed. Readers look several times
//              within one section. Under the address sanitizer a grace period too short is also a use after free, under the
//              thread sanitizer a race of the free with the last look.
#include "support/threads.hpp"
#include "sync/executor.hpp"

#include <csignal>
#include <gtest/gtest.h>
#include <random>

namespace allot::sync {
namespace {

using allot_test::attach_thread;
using allot_test::ms;
using allot_test::stopwatch;

constexpr std::uint64_t alive = 0x600d0b1ec7;
constexpr std::uint64_t dead = 0xdead0b1ec7;

struct object {
    work item;
    std::uint64_t magic = alive;
    std::uint64_t value;
    std::uint64_t check;

    explicit object(std::uint64_t n) : value(n), check(~n) { ++made; }
    ~object() {
        magic = dead;
        value = check = 0;
        ++freed;
    }
    bool is_whole() const { return magic == alive && check == ~value; }

    static inline std::atomic<std::uint64_t> made, freed;
};

constexpr std::size_t place_count = 4;
std::atomic<object*> places[place_count];
std::atomic<std::uint64_t> looks, looks_in_handlers, broken;

/// One section: follows every pointer twice, with some time in between. Context: any.
void look(std::uint64_t time) {
    rcu_guard guard;
    object* found[place_count];
    bool whole = true;
    for (std::size_t i = 0; i < place_count; ++i) {
        found[i] = places[i].load(std::memory_order_acquire);
        whole &= found[i]->is_whole();
    }
    if (time % 64 == 0)
        platform::yield();
    for (std::uint64_t spin = 0; spin < time % 256; ++spin)
        cpu_relax();
    for (const object* each : found)
        whole &= each->is_whole();
    broken += !whole;
    ++looks;
}

/// What the test's threads do until `watch` ends.
class torture {
  public:
    explicit torture(std::uint64_t seed) : seed_(seed) {
        object::made = object::freed = looks = looks_in_handlers = broken = 0;
        for (auto& place : places)
            place = new object{seed_++};
    }
    ~torture() {
        for (auto& place : places)
            delete place.exchange(nullptr);
    }

    void read(bool with_slot) {
        EXPECT_EQ(with_slot && attach_thread(), with_slot);
        std::mt19937_64 random{seed_++};
        while (watch_.running())
            look(random());
    }
    void read_in_short_threads() {
        while (watch_.running())
            std::thread([random = seed_++] {
                look(random);
                attach_thread();
                look(random * 31);
            }).join();
    }
    void replace_and_wait() {
        std::mt19937_64 random{seed_++};
        while (watch_.running()) {
            object* const old =
                places[random() % place_count].exchange(new object{random()}, std::memory_order_acq_rel);
            synchronize_rcu();
            delete old;
        }
    }
    void replace_and_call() {
        std::mt19937_64 random{seed_++};
        while (watch_.running()) {
            object* const old =
                places[random() % place_count].exchange(new object{random()}, std::memory_order_acq_rel);
            old->item.run = [](work& item) noexcept { delete &base::container_of(item, &object::item); };
            EXPECT_TRUE(call_rcu(old->item));
            if (random() % 16 == 0)
                rcu_barrier();
        }
        rcu_barrier();
    }

  private:
    std::atomic<std::uint64_t> seed_;
    stopwatch watch_{250 * ms};
};

void expect_that_all_went_well() {
    EXPECT_EQ(broken, 0u);
    EXPECT_GT(looks, 0u);
    EXPECT_GT(object::made, place_count);
    EXPECT_EQ(object::freed, object::made) << "each object is freed, once";
}

TEST(rcu_stress, readers_with_slots_never_meet_a_freed_object) {
    {
        torture all{allot_test::fresh_seed()};
        allot_test::run_threads(4, [&](unsigned index) {
            index < 2 ? all.read(true) : index == 2 ? all.replace_and_wait() : all.replace_and_call();
        });
    }
    expect_that_all_went_well();
}

TEST(rcu_stress, readers_without_slots_never_meet_a_freed_object) {
    {
        torture all{allot_test::fresh_seed()};
        allot_test::run_threads(6, [&](unsigned index) {
            index < 2 ? all.read(false) : index < 5 ? all.replace_and_wait() : all.replace_and_call();
        });
    }
    expect_that_all_went_well();
}

TEST(rcu_stress, threads_that_come_and_go_never_meet_a_freed_object) {
    {
        torture all{allot_test::fresh_seed()};
        allot_test::run_threads(4, [&](unsigned index) {
            index < 2 ? all.read_in_short_threads() : index == 2 ? all.replace_and_wait() : all.replace_and_call();
        });
    }
    expect_that_all_went_well();
}

TEST(rcu_stress, handlers_on_top_of_readers_never_meet_a_freed_object) {
    struct sigaction action {
    }, before{};
    action.sa_handler = [](int) {
        ++looks_in_handlers;
        look(looks_in_handlers);
    };
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGUSR1, &action, &before);
    {
        torture all{allot_test::fresh_seed()};
        std::atomic<unsigned> reading{2};
        std::atomic<unsigned> ready{0};
        pthread_t readers[2];
        allot_test::run_threads(5, [&](unsigned index) {
            if (index < 2) {
                readers[index] = pthread_self();
                ++ready;
                all.read(index == 0);
                --reading;
                while (ready != 3) // it may still be signalled
                    platform::yield();
            } else if (index == 2) {
                while (ready < 2)
                    platform::yield();
                for (unsigned n = 0; reading != 0; ++n) {
                    pthread_kill(readers[n % 2], SIGUSR1);
                    std::this_thread::sleep_for(std::chrono::microseconds(50));
                }
                ready = 3;
            } else {
                index == 3 ? all.replace_and_wait() : all.replace_and_call();
            }
        });
    }
    ::sigaction(SIGUSR1, &before, nullptr);
    EXPECT_GT(looks_in_handlers, 0u);
    expect_that_all_went_well();
}

} // namespace
} // namespace allot::sync
