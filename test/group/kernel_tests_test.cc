// SPDX-License-Identifier: MIT
//
// kernel_tests_test: what the kernel's own tests of memory groups and slab caches ask, asked of a process's groups.
//
// Idea.        Each is named after what it asks; the comment above names the kernel's test. Each runs alone and beside churn.
//              A recount, usage back to 0 and no dying group are the oracle of all.
// Source.      Linux tools/testing/selftests/cgroup/test_kmem.c, lib/slub_kunit.c, lib/test_meminit.c
#include "churn.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace {

using allot_test::blocks;
using allot_test::slowdown;
using allot_test::soon;
using allot_test::with_and_without_churn;

/// Groups: a test leaves `top` as empty as it found it.
class kernel_tests_of_groups : public allot_test::core_test {
  protected:
    void expect_nothing_left() const {
        allot_test::settle_all();
        EXPECT_EQ(top.stat().nr_dying, 0u);
        EXPECT_EQ(usage(), 0u);
        allot_test::expect_books_agree("with everything freed and closed");
    }
    /// With no open child and nothing under way, what is charged to `top` is what it is charged for.
    void expect_exact() const {
        const allot::stat s = top.stat();
        EXPECT_EQ(s.current, s.slab + s.shared + s.large + s.external + s.metadata);
        EXPECT_EQ(s.current, s.local);
        EXPECT_EQ(s.metadata, 0u) << "no child is left whose structure it would pay for";
        EXPECT_EQ(s.nr_children, 0u);
    }
};

unsigned threads_for_each_processor(unsigned each) {
    return each * std::clamp(std::thread::hardware_concurrency(), 1u, 4u);
}

// test_kmem_dead_cgroups
TEST_F(kernel_tests_of_groups, thirty_dead_groups_are_gone_soon_though_their_objects_live) {
    with_and_without_churn([&] {
        blocks alive;
        for (int i = 0; i < 30; ++i) {
            const allot::group dead = child(("dead-" + std::to_string(i)).c_str());
            if (i % 10 == 0)
                allot_test::heat(dead, 64); // so that some leave slabs of their own behind, others owners
            ASSERT_TRUE(alive.make(dead, 64, 100) && alive.make(dead, 200'000, 1));
            dead.close();
        }
        EXPECT_TRUE(soon([&] { return allot_test::dying_below(top) == 0; }))
            << "nobody quiesces, and " << top.stat().nr_dying;
        for (std::size_t i = 0; i < alive.size(); i += 50)
            EXPECT_EQ(allot::owner_of(alive[i]), top);
        expect_exact();
        EXPECT_GE(usage(), 30u * (100 * 64 + 200'000)) << "the living are paid for";
        allot_test::expect_books_agree("with the groups dead and their objects alive");
        alive.clear();
        expect_nothing_left();
    });
}

// test_kmem_memcg_deletion
TEST_F(kernel_tests_of_groups, a_hundred_groups_used_by_many_threads_leave_their_parents_figures_exact) {
    constexpr unsigned groups = 100 / slowdown;
    constexpr unsigned objects = 100;
    const unsigned threads = threads_for_each_processor(2);
    with_and_without_churn([&] {
        std::vector<blocks> alive(threads);
        for (unsigned i = 0; i < groups; ++i) {
            const allot::group gone = child("gone");
            allot_test::on_threads(threads, [&](unsigned thread) {
                const allot::scope in{gone};
                blocks used;
                for (unsigned turn = 0; turn < objects; ++turn)
                    (turn % 10 == 0 ? alive[thread] : used).add(allot::malloc(192));
            });
            gone.close();
        }
        allot::quiesce();
        EXPECT_EQ(top.stat().nr_dying, 0u);
        expect_exact();
        EXPECT_GE(usage(), std::uint64_t{groups} * threads * (objects / 10) * 192);
        for (const blocks& of_one : alive)
            for (std::size_t i = 0; i < of_one.size(); i += 40)
                EXPECT_EQ(allot::owner_of(of_one[i]), top);
        allot_test::expect_books_agree("with the groups gone and a tenth of their objects alive");
        alive.clear();
        expect_nothing_left();
    });
}

// test_percpu_basic
TEST_F(kernel_tests_of_groups, the_metadata_of_a_thousand_groups_is_charged_to_their_parent) {
    constexpr unsigned count = 1000 / slowdown;
    with_and_without_churn([&] {
        std::vector<allot::group> made;
        made.push_back(child("0"));
        const std::uint64_t each = top.stat().metadata;
        EXPECT_GE(each, sizeof(allot::memcg::mem_cgroup));
        while (made.size() < count)
            made.push_back(child(std::to_string(made.size()).c_str()));
        EXPECT_EQ(top.stat().metadata, count * each);
        EXPECT_EQ(usage(), count * each) << "and nothing else is";
        for (std::size_t i = 0; i < made.size(); i += 2)
            made[i].close();
        allot::quiesce();
        EXPECT_EQ(usage(), count * each) << "closed groups cost what they did while somebody has a handle";
        for (const allot::group& group : made)
            allot_group_close(group.get(), nullptr);
        made.clear();
        allot::quiesce();
        EXPECT_EQ(usage(), 0u);
        expect_nothing_left();
    });
}

// test_percpu_basic, one level up: who pays when the parent is gone
TEST_F(kernel_tests_of_groups, the_metadata_of_a_closed_subtree_is_charged_to_the_heir_until_it_is_freed) {
    with_and_without_churn([&] {
        const allot::group parent = child("parent");
        const std::uint64_t each = usage();
        std::vector<allot::group> children;
        for (int i = 0; i < 20; ++i)
            children.push_back(parent.create(std::to_string(i)));
        parent.close();
        allot::quiesce();
        EXPECT_EQ(top.stat().metadata, 21 * each);
        EXPECT_EQ(top.stat().nr_dying, 21u);
        allot_test::expect_books_agree("with handles of a closed subtree");
        children.clear();
        allot::quiesce();
        EXPECT_EQ(usage(), each) << "the parent, of which there is a handle";
    });
    expect_nothing_left();
}

// test_kmem_kernel_stacks, test_memcg_sock
TEST_F(kernel_tests_of_groups, a_thousand_external_charges_are_all_there_and_all_given_back) {
    with_and_without_churn([&] {
        const allot::group user = child("user");
        const std::uint64_t before = usage();
        std::vector<allot::charge> stacks;
        for (int i = 0; i < 1000; ++i)
            stacks.push_back(user.charge_for(4096));
        EXPECT_EQ(user.stat().external, 4096u * 1000);
        EXPECT_EQ(usage(), before + 4096u * 1000);
        stacks.resize(500);
        EXPECT_EQ(user.stat().external, 4096u * 500);
        user.close();
        allot::quiesce();
        EXPECT_EQ(top.stat().external, 4096u * 500) << "the parent has inherited them";
        stacks.clear();
        EXPECT_EQ(top.stat().external, 0u);
    });
    expect_nothing_left();
}

constexpr std::uint64_t ctor_pattern = 0x1234'5678'9abc'def0;

void write_ctor_pattern(void* object) { std::memcpy(object, &ctor_pattern, sizeof ctor_pattern); }

/// Caches: objects of `top`, made inside it.
class kernel_tests_of_caches : public kernel_tests_of_groups {
  protected:
    static allot::kmem_cache make(std::size_t size, unsigned flags = 0, void (*constructor)(void*) = nullptr) {
        return {"kernel-test", {.size = size, .alignment = 0, .flags = flags, .constructor = constructor}};
    }
    /// Root caches of that name that exist, dying or not.
    static unsigned caches_left() {
        unsigned count = 0;
        for (std::uint32_t i = 0; i < allot::slab::cache_count_max; ++i)
            if (const auto* cache = allot::slab::root_cache_at(i))
                count += std::strcmp(cache->name, "kernel-test") == 0;
        return count;
    }
    static std::uint64_t pattern_of(const void* object) {
        std::uint64_t found = 0;
        std::memcpy(&found, object, sizeof found);
        return found;
    }
};

// slub_kunit: test_leak_destroy
TEST_F(kernel_tests_of_caches, one_that_is_destroyed_with_live_objects_reports_them_and_goes_with_the_last) {
    with_and_without_churn([&] {
        for (const unsigned count : {1u, 40u, 3000u}) {
            allot::kmem_cache leaky = make(96);
            blocks leaked;
            {
                const allot::scope in{top};
                for (unsigned i = 0; i < count; ++i)
                    leaked.add(leaky.alloc());
                allot::free(leaky.alloc());
            }
            const allot::cache_report report = leaky.shutdown();
            EXPECT_EQ(report.live, count);
            EXPECT_EQ(report.nr_samples, std::min(count, 8u));
            for (std::uint32_t i = 0; i < report.nr_samples; ++i) {
                bool known = false;
                for (std::size_t j = 0; j < leaked.size(); ++j)
                    known = known || leaked[j] == report.sample[i];
                EXPECT_TRUE(known) << "a sample is one of the live objects";
            }
            allot::quiesce();
            EXPECT_EQ(caches_left(), 1u) << "it is kept for its objects";
            for (std::size_t i = 0; i < leaked.size(); ++i)
                std::memset(leaked[i], 0x5a, 96); // still theirs
            allot_test::expect_books_agree("destroyed, with live objects");
            leaked.clear();
            allot::quiesce();
            EXPECT_EQ(caches_left(), 0u);
        }
    });
    expect_nothing_left();
}

struct freed_by_rcu {
    std::uint64_t value;
    std::uint64_t same_value;
    allot_rcu_head head;
};

// slub_kunit: test_kfree_rcu
TEST_F(kernel_tests_of_caches, one_that_is_destroyed_right_after_deferred_frees_waits_for_them) {
    with_and_without_churn([&] {
        for (unsigned round = 0; round < 20 / slowdown; ++round) {
            allot::kmem_cache cache = make(sizeof(freed_by_rcu));
            const allot::scope in{top};
            for (unsigned i = 0; i < 200; ++i) {
                auto* const object = new (cache.alloc()) freed_by_rcu{};
                allot_free_rcu(object, &object->head);
            }
            EXPECT_EQ(cache.shutdown().live, 0u) << "their frees were asked for before";
            allot::quiesce();
            EXPECT_EQ(caches_left(), 0u);
        }
    });
    expect_nothing_left();
}

// the same with a reader that is there all the time
TEST_F(kernel_tests_of_caches, a_block_given_to_free_rcu_is_had_again_only_after_its_readers_have_left) {
    constexpr unsigned tries = 1024;
    with_and_without_churn([&] {
        allot::kmem_cache cache = make(sizeof(freed_by_rcu));
        const allot::scope in{top};
        blocks others;
        others.add(cache.alloc()); // keeps the slab where it is
        bool again = false;
        allot_rcu_read_lock();
        auto* const object = new (cache.alloc()) freed_by_rcu{1, 2, {}};
        allot_free_rcu(object, &object->head);
        for (unsigned i = 0; i < tries; ++i)
            again = others.add(cache.alloc()) == object || again;
        const bool whole = object->value == 1 && object->same_value == 2;
        allot_rcu_read_unlock();
        EXPECT_FALSE(again) << "while it is read";
        EXPECT_TRUE(whole);
        allot_rcu_barrier();
        EXPECT_EQ(cache.shutdown().live, tries + 1) << "free in the end, without a quiesce";
    });
    expect_nothing_left();
}

// the same with a reader: of objects that are replaced, and freed by hand after a grace period or left to it
TEST_F(kernel_tests_of_caches, objects_freed_after_a_grace_period_are_whole_for_their_readers) {
    with_and_without_churn([&] {
        allot::kmem_cache cache = make(sizeof(freed_by_rcu));
        const allot::scope in{top};
        std::atomic<freed_by_rcu*> published{new (cache.alloc()) freed_by_rcu{}};
        std::atomic<bool> done{false};
        std::atomic<unsigned> torn{0};
        std::thread reader([&] {
            while (!done) {
                allot_rcu_read_lock();
                const freed_by_rcu* const seen = published.load();
                torn += seen->value != seen->same_value;
                allot_rcu_read_unlock();
            }
        });
        for (std::uint64_t i = 1; i <= 800 / slowdown; ++i) {
            // Whoever still read a block that was had again would see two values.
            freed_by_rcu* const old = published.exchange(new (cache.alloc()) freed_by_rcu{i, i, {}});
            if (i % 2 == 0) {
                allot_free_rcu(old, &old->head);
                continue;
            }
            allot_synchronize_rcu();
            old->value = ~i;
            cache.free(old);
        }
        done = true;
        reader.join();
        EXPECT_EQ(torn, 0u);
        cache.free(published.load());
        EXPECT_EQ(cache.shutdown().live, 0u);
    });
    expect_nothing_left();
}

// test_meminit: do_kmem_cache_rcu_persistent
TEST_F(kernel_tests_of_caches, a_type_stable_object_that_is_freed_and_had_again_has_its_old_content) {
    constexpr unsigned tries = 1024;
    with_and_without_churn([&] {
        for (const std::size_t size : {8u, 100u, 1000u}) {
            allot::kmem_cache cache = make(size, ALLOT_CACHE_TYPESAFE_BY_RCU);
            const allot::scope in{top};
            std::vector<unsigned char> content(size);
            for (std::size_t i = 0; i < size; ++i)
                content[i] = static_cast<unsigned char>(i * 7 + 1);
            allot_rcu_read_lock(); // before its grace period can end
            void* const object = cache.alloc();
            std::memcpy(object, content.data(), size);
            cache.free(object);
            EXPECT_EQ(std::memcmp(object, content.data(), size), 0) << "free, and still as it was";
            blocks had;
            bool again = false;
            for (unsigned i = 0; i < tries && !again; ++i)
                again = had.add(cache.alloc()) == object;
            EXPECT_TRUE(again) << "not handed out again in " << tries << " tries";
            EXPECT_EQ(std::memcmp(object, content.data(), size), 0) << size;
            allot_rcu_read_unlock();
        }
    });
    expect_nothing_left();
}

TEST_F(kernel_tests_of_caches, a_type_stable_slab_stays_one_until_a_grace_period_is_over) {
    with_and_without_churn([&] {
        allot::kmem_cache cache = make(256, ALLOT_CACHE_TYPESAFE_BY_RCU, write_ctor_pattern);
        std::vector<void*> freed;
        allot_rcu_read_lock();
        {
            const allot::scope in{top};
            blocks many;
            for (unsigned i = 0; i < 1024; ++i)
                freed.push_back(many.add(cache.alloc()));
        }
        blocks others; // whoever would take the slabs now would write over the objects
        others.make(top, 256, 2048);
        for (std::size_t i = 0; i < others.size(); ++i)
            std::memset(others[i], 0xff, 256);
        std::size_t changed = 0;
        for (const void* const object : freed)
            changed += pattern_of(object) != ctor_pattern;
        allot_rcu_read_unlock();
        EXPECT_EQ(changed, 0u);
    });
    expect_nothing_left();
}

// test_meminit: do_kmem_cache_size, the combinations with a constructor
TEST_F(kernel_tests_of_caches, objects_keep_what_the_constructor_wrote_over_free_and_allocation) {
    with_and_without_churn([&] {
        for (const unsigned flags : {0u, unsigned{ALLOT_CACHE_TYPESAFE_BY_RCU}})
            for (std::size_t size = 8; size <= ALLOT_KMALLOC_MAX; size *= 4) {
                allot::kmem_cache cache = make(size, flags, write_ctor_pattern);
                const allot::scope in{top};
                for (int iteration = 0; iteration < 10; ++iteration) {
                    blocks some;
                    for (int i = 0; i < 50; ++i) {
                        void* const object = some.add(cache.alloc());
                        ASSERT_NE(object, nullptr);
                        ASSERT_EQ(pattern_of(object), ctor_pattern) << size << ", flags " << flags;
                        std::memset(static_cast<char*>(object) + 8, iteration, size - 8);
                    }
                }
            }
    });
    expect_nothing_left();
}

// test_meminit: do_kmem_cache_size, the combinations with zero
TEST_F(kernel_tests_of_caches, objects_of_a_zero_cache_come_zeroed_whatever_was_in_them) {
    with_and_without_churn([&] {
        const std::vector<char> zeros(ALLOT_KMALLOC_MAX);
        for (std::size_t size = 8; size <= ALLOT_KMALLOC_MAX; size *= 4) {
            allot::kmem_cache cache = make(size, ALLOT_CACHE_ZERO);
            const allot::scope in{top};
            for (int iteration = 0; iteration < 10; ++iteration) {
                blocks some;
                for (int i = 0; i < 50; ++i) {
                    void* const object = some.add(cache.alloc());
                    ASSERT_NE(object, nullptr);
                    ASSERT_EQ(std::memcmp(object, zeros.data(), size), 0) << size;
                    std::memset(object, 0xa5, size);
                }
            }
        }
    });
    expect_nothing_left();
}

} // namespace
