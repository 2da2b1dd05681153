// SPDX-License-Identifier: MIT
//
// remote_test: blocks that others free reach the holder, each exactly once, and who has to tell him is told so exactly once.
#include "support/core.hpp"

#include "slab/slab_ops.hpp"
#include "support/threads.hpp"

#include <algorithm>
#include <cstring>
#include <set>

namespace {

using allot_test::blocks;
using allot_test::puppet;
namespace slab = allot::slab;

class remote_frees : public allot_test::core_test {
  protected:
    static std::uint64_t word_of(const void* block) { return slab::remote_of(*slab::slab_of(block)).word; }

  private:
    const allot_test::no_decay counts_hold_;
};

/// A slab that belongs to nobody but the case: pages of its own, no cache.
class lone_slab : public allot_test::core_test {
  protected:
    void SetUp() override {
        core_test::SetUp();
        const allot::sync::busy_scope busy;
        const slab::page_run run = slab::alloc_pages(4);
        ASSERT_NE(run.first, nullptr);
        s = run.first;
        slab::remote_of(*s).word = 0;
    }
    void TearDown() override {
        slab::remote_of(*s).word = 0;
        {
            const allot::sync::busy_scope busy;
            slab::free_pages(*s, 16);
        }
        core_test::TearDown();
    }
    std::uint64_t push(std::size_t offset) const {
        char* const block = slab::start_of(*s) + offset;
        return slab::push_remote(*s, slab::remote_place(slab::start_of(*s), block), 1, block);
    }
    /// The offsets on a list that was taken.
    std::vector<std::size_t> offsets_of(std::uint64_t word) const {
        std::vector<std::size_t> out;
        auto head = static_cast<std::uint16_t>(word & slab::remote_head_mask);
        while (head != 0 && out.size() < 10'000) {
            out.push_back(std::size_t{head - 1u} * 8);
            std::memcpy(&head, slab::start_of(*s) + out.back(), sizeof head);
        }
        return out;
    }

    slab::slab* s = nullptr;

  private:
    const allot_test::no_decay counts_hold_;
};

TEST_F(lone_slab, what_is_pushed_is_taken_last_first_with_its_count) {
    EXPECT_EQ(push(0), 0u) << "offset 0 is not taken for an empty list";
    push(8);
    push(65'528);
    const std::uint64_t word = slab::take_remote(*s, 0, 0);
    EXPECT_EQ(slab::remote_count(word), 3u);
    EXPECT_EQ(offsets_of(word), (std::vector<std::size_t>{65'528, 8, 0}));
    EXPECT_EQ(slab::remote_of(*s).word, 0u) << "the list is empty then";
}

TEST_F(lone_slab, every_block_of_the_largest_slab_fits_on_the_list) {
    for (std::size_t offset = 0; offset < 65'536; offset += 8)
        push(offset);
    const std::uint64_t word = slab::take_remote(*s, 0, 0);
    EXPECT_EQ(slab::remote_count(word), 8192u);
    EXPECT_EQ(offsets_of(word).size(), 8192u);
}

TEST_F(lone_slab, one_pusher_is_told_that_somebody_has_to_be_notified) {
    slab::take_remote(*s, 0, slab::remote_notify);
    EXPECT_EQ(push(0) & (slab::remote_notify | slab::remote_queued), slab::remote_notify);
    EXPECT_NE(push(8) & slab::remote_queued, 0u) << "the second need not";
    slab::take_remote(*s, slab::remote_queued, 0);
    EXPECT_EQ(push(16) & slab::remote_queued, 0u) << "after it was processed, somebody has to again";
}

TEST_F(lone_slab, taking_changes_the_bits_that_were_named_and_no_others) {
    const std::uint64_t slot = std::uint64_t{1234} << slab::remote_slot_shift;
    slab::take_remote(*s, 0, slab::remote_frozen | slot);
    push(24);
    EXPECT_EQ(slab::remote_slot(slab::remote_of(*s).word), 1234u);
    const std::uint64_t word = slab::take_remote(*s, slab::remote_frozen, slab::remote_notify);
    EXPECT_EQ(offsets_of(word), std::vector<std::size_t>{24});
    EXPECT_EQ(slab::remote_of(*s).word, slab::remote_notify | slot);
}

TEST_F(lone_slab, pushers_and_a_taker_lose_no_block_and_meet_none_twice) {
    constexpr unsigned threads = 3;
    constexpr std::size_t each = 2400;
    std::atomic<unsigned> told{0};
    std::atomic<bool> done{false};
    std::multiset<std::size_t> taken;
    slab::take_remote(*s, 0, slab::remote_notify);
    std::thread taker{[&] {
        for (bool last = false; !last;) {
            last = done.load();
            const std::uint64_t word = slab::take_remote(*s, slab::remote_queued, 0);
            const auto offsets = offsets_of(word);
            EXPECT_EQ(offsets.size(), slab::remote_count(word));
            EXPECT_EQ((word & slab::remote_queued) != 0, !offsets.empty())
                << "somebody has the duty while there is something";
            told -= (word & slab::remote_queued) != 0;
            taken.insert(offsets.begin(), offsets.end());
        }
    }};
    allot_test::run_threads(threads, [&](unsigned thread) {
        for (std::size_t i = 0; i < each; ++i)
            told += (push((i * threads + thread) * 8) & slab::remote_queued) == 0;
    });
    done = true;
    taker.join();
    EXPECT_EQ(taken.size(), threads * each);
    EXPECT_EQ(std::set<std::size_t>(taken.begin(), taken.end()).size(), threads * each);
    EXPECT_EQ(told, 0u) << "as many were told as there were times to tell";
}

TEST_F(remote_frees, wait_on_the_slab_until_its_thread_looks) {
    allot_test::heat(top, 64);
    puppet holder;
    std::vector<void*> made;
    holder.does([&] {
        for (int i = 0; i < 20; ++i)
            made.push_back(top.malloc(64));
    });
    const void* const kept = made[0]; // lives, so that the slab stays
    EXPECT_NE(word_of(kept) & slab::remote_frozen, 0u) << "it is in the holder's heap";
    const std::uint64_t before = slab::remote_count(word_of(kept));
    std::set<void*> freed;
    for (std::size_t i = 1; i < made.size(); ++i) {
        if (slab::slab_of(made[i]) == slab::slab_of(kept))
            freed.insert(made[i]);
        allot_free(made[i]);
    }
    ASSERT_GT(freed.size(), 10u);
    EXPECT_EQ(slab::remote_count(word_of(kept)), before + freed.size());
    blocks more;
    holder.does([&] {
        for (int i = 0; i < 5000; ++i)
            freed.erase(more.add(top.malloc(64)));
    });
    EXPECT_TRUE(freed.empty()) << freed.size() << " of them were not handed out again";
    EXPECT_EQ(slab::remote_count(word_of(kept)), 0u);
    allot_free(made[0]);
}

TEST_F(remote_frees, of_many_blocks_at_once_name_in_each_one_further_on) {
    for (const std::size_t size : {16, 32, 64, 512}) {
        allot_test::heat(top, size);
        std::set<const void*> freed;
        puppet holder;
        std::vector<void*> made;
        holder.does([&] {
            for (int i = 0; i < 200; ++i)
                made.push_back(top.malloc(size));
        });
        const slab::slab& s = *slab::slab_of(made.back());
        {
            const allot::scope in{top};
            allot_free(allot_malloc(size)); // a bin for them
            for (void* const block : made) {
                if (slab::slab_of(block) == &s)
                    freed.insert(block);
                allot_free(block);
            }
        }
        allot_test::empty_bins(top);
        std::vector<const char*> order;
        std::vector<slab::remote_link> links;
        slab::remote_link link{static_cast<std::uint16_t>(word_of(*freed.begin()) & slab::remote_head_mask), 0};
        while (link.next != 0) {
            order.push_back(slab::block_at(slab::start_of(s), link.next));
            std::memcpy(&link, order.back(), sizeof link);
            links.push_back(link);
        }
        for (const void* const block : freed)
            EXPECT_EQ(std::count(order.begin(), order.end(), block), 1) << size;
        std::size_t named = 0;
        for (std::size_t i = 0; i < links.size(); ++i)
            if (links[i].ahead != 0) {
                ++named;
                const auto at =
                    std::find(order.begin(), order.end(), slab::block_at(slab::start_of(s), links[i].ahead));
                ASSERT_NE(at, order.end()) << "a block of " << size << " bytes that is not on the list";
                EXPECT_GT(at - order.begin(), static_cast<std::ptrdiff_t>(i + 1)) << size;
            }
        EXPECT_GT(named, links.size() / 3) << size;
        holder.does([&] { allot_free(top.malloc(size)); });
        allot_test::expect_books_agree("after the way back");
    }
}

TEST_F(remote_frees, of_a_full_slab_bring_it_back_into_use) {
    allot_test::heat(top, 2000);
    puppet holder;
    blocks made;
    holder.does([&] { ASSERT_TRUE(made.make(top, 2000, 400)); });
    const std::uint64_t before = top.stat().slab;
    made.thin(2);
    blocks more;
    holder.does([&] { ASSERT_TRUE(more.make(top, 2000, 190)); });
    EXPECT_LE(top.stat().slab, before + 64 * 1024) << "the freed halves serve before new slabs are taken";
    more.clear();
}

TEST_F(remote_frees, to_a_thread_that_is_gone_give_its_slabs_back) {
    allot_test::heat(top, 64);
    blocks made;
    std::thread{[&] { ASSERT_TRUE(made.make(top, 64, 5000)); }}.join();
    EXPECT_EQ(word_of(made[0]) & slab::remote_frozen, 0u) << "nobody's";
    made.clear();
    allot_quiesce();
    EXPECT_LE(top.stat().slab, 64u * 1024);
}

TEST_F(remote_frees, race_with_the_end_of_the_thread_and_lose_nothing) {
    allot_test::heat(top, 64);
    for (unsigned round = 0; round < 24 / allot_test::slowdown; ++round) {
        std::atomic<void*> handed[500]{};
        std::atomic<bool> ended{false};
        std::thread maker{[&] {
            for (auto& place : handed)
                place = top.malloc(64);
            ended = true;
        }};
        for (bool last = false; !last;) {
            last = ended;
            for (auto& place : handed)
                allot_free(place.exchange(nullptr));
        }
        maker.join();
        for (auto& place : handed)
            allot_free(place.exchange(nullptr));
    }
    allot_test::settle_all();
    EXPECT_EQ(usage(), 0u);
}

} // namespace
