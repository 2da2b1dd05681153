// SPDX-License-Identifier: MIT
//
// deferred_free_test: a block that is freed after a grace period stays whole for the readers there are, and is free soon after.
#include "support/core.hpp"
#include "support/threads.hpp"

#include <cerrno>
#include <cstring>
#include <signal.h>

namespace {

class free_rcu : public allot_test::core_test {};

struct node {
    std::uint64_t value = 0;
    allot_rcu_head head{};
    std::uint64_t check = 0;
};

TEST_F(free_rcu, gives_the_block_back) {
    const std::uint64_t before = usage();
    auto* const block = static_cast<node*>(top.malloc(200'000));
    ASSERT_NE(block, nullptr);
    auto* const small = static_cast<node*>(top.malloc(sizeof(node)));
    ASSERT_NE(small, nullptr);
    EXPECT_GT(usage(), before);
    errno = 77;
    allot_free_rcu(block, &block->head);
    allot_free_rcu(small, &small->head);
    EXPECT_EQ(errno, 77);
    allot_rcu_barrier();
    allot::quiesce();
    EXPECT_EQ(usage(), before);
    allot_free_rcu(nullptr, nullptr);
}

TEST_F(free_rcu, leaves_the_block_as_it_is_while_a_reader_looks_at_it) {
    auto* const block = static_cast<node*>(top.malloc(sizeof(node)));
    ASSERT_NE(block, nullptr);
    block->value = 1;
    block->check = ~std::uint64_t{1};
    std::atomic<int> step{0};
    std::thread reader([&] {
        allot_rcu_read_lock();
        step = 1;
        while (step != 2)
            allot::platform::yield();
        EXPECT_EQ(block->value, 1u);
        EXPECT_EQ(block->check, ~std::uint64_t{1});
        EXPECT_EQ(allot::owner_of(block), top) << "still allocated";
        allot_rcu_read_unlock();
    });
    while (step != 1)
        allot::platform::yield();
    allot_free_rcu(block, &block->head);
    std::this_thread::sleep_for(std::chrono::milliseconds(20)); // time for a wrong implementation to free it
    step = 2;
    reader.join();
    allot_rcu_barrier();
}

TEST_F(free_rcu, the_barrier_waits_for_what_every_thread_handed_over_before) {
    const std::uint64_t before = usage();
    constexpr int each = 2000 / static_cast<int>(allot_test::slowdown);
    allot_test::on_threads(4, [&](unsigned) {
        for (int i = 0; i < each; ++i) {
            auto* const block = static_cast<node*>(top.malloc(i % 16 == 0 ? 40'000 : sizeof(node)));
            ASSERT_NE(block, nullptr);
            allot_free_rcu(block, &block->head);
        }
    });
    allot_rcu_barrier();
    allot_test::settle_all();
    EXPECT_EQ(usage(), before);
}

TEST_F(free_rcu, works_in_a_handler_on_top_of_an_allocation) {
    static std::vector<node*> given;
    static std::atomic<std::size_t> next;
    given.clear();
    next = 0;
    for (int i = 0; i < 300; ++i)
        given.push_back(static_cast<node*>(top.malloc(sizeof(node))));
    struct sigaction action {};
    struct sigaction before {};
    action.sa_handler = [](int) {
        if (const std::size_t i = next++; i < given.size())
            allot_free_rcu(given[i], &given[i]->head);
    };
    ASSERT_EQ(sigaction(SIGUSR2, &action, &before), 0);
    const pthread_t target = pthread_self();
    std::thread sender([&] {
        while (next < given.size())
            pthread_kill(target, SIGUSR2), std::this_thread::yield();
    });
    while (next < given.size())
        allot::free(top.malloc(100));
    sender.join();
    sigaction(SIGUSR2, &before, nullptr);
    allot_rcu_barrier();
    allot_test::expect_books_agree("after frees from handlers");
}

TEST_F(free_rcu, nothing_is_lost_over_fork) {
    EXPECT_TRUE(allot_test::child_lives(20, [&] {
        auto* const block = static_cast<node*>(top.malloc(100'000));
        const std::uint64_t with = usage();
        std::thread reader;
        allot_free_rcu(block, &block->head);
        const auto inner = allot_test::in_child(10, [&] {
            allot_rcu_barrier();
            allot::quiesce();
            return usage() < with ? 0 : 1;
        });
        return inner.exit_status;
    }));
}

} // namespace
