// SPDX-License-Identifier: MIT
//
// owner_records_test: records outlive their group, belong to whoever pays then, and the last one lets the owner go.
#include "support/core.hpp"
#include "support/test_points.hpp"

#include "group/owner_records.hpp"

#include <cerrno>

namespace {

using namespace allot;
using namespace allot::literals;
using allot_test::inside;

class records_of_owners : public allot_test::core_test {
  protected:
    void SetUp() override {
        core_test::SetUp();
        ASSERT_TRUE(map.open(1000, 4096));
    }
    static allot::group owner(const memcg::owner_records& map, std::size_t slot) {
        memcg::mem_cgroup* const found = map.owner_of(slot);
        return found != nullptr ? allot::group::adopt(reinterpret_cast<allot_group*>(found)) : allot::group();
    }
    memcg::owner_records map;
};

TEST_F(records_of_owners, are_charged_and_uncharged) {
    const group a = child("a");
    EXPECT_EQ(map.owner_of(5), nullptr);
    ASSERT_EQ(map.record(5, inside(a)), 0);
    EXPECT_EQ(a.stat().external, 4096u);
    EXPECT_EQ(owner(map, 5), a);
    EXPECT_EQ(map.record(5, inside(a)), -EEXIST);
    EXPECT_EQ(a.stat().external, 4096u) << "a failed one leaves no charge";
    EXPECT_EQ(map.record(1000, inside(a)), -EINVAL);
    EXPECT_TRUE(map.release(5));
    EXPECT_FALSE(map.release(5));
    EXPECT_EQ(a.stat().external, 0u);
}

TEST_F(records_of_owners, respect_the_limits_of_the_group_and_of_those_above) {
    const group above = child("above", {.max = 64_KiB});
    const group a = above.create("a", {.max = 2 * 4096});
    ASSERT_EQ(map.record(0, inside(a)), 0);
    ASSERT_EQ(map.record(1, inside(a)), 0);
    EXPECT_EQ(map.record(2, inside(a)), -ENOMEM);
    EXPECT_EQ(map.owner_of(2), nullptr);
    a.close();
    EXPECT_EQ(map.record(3, inside(a)), -ENOENT);
    map.release(0);
    map.release(1);
}

TEST_F(records_of_owners, removal_succeeds_and_the_parent_pays_from_then_on) {
    const group above = child("above");
    group a = above.create("a");
    for (std::size_t slot = 0; slot < 100; ++slot)
        ASSERT_EQ(map.record(slot, inside(a)), 0);
    a.close();
    a = {};
    quiesce();
    EXPECT_EQ(above.stat().nr_dying, 0u) << "records hold nothing of the group";
    EXPECT_EQ(above.stat().external, 100u * 4096);
    EXPECT_EQ(owner(map, 7), above);
    for (std::size_t slot = 0; slot < 50; ++slot)
        map.release(slot);
    EXPECT_EQ(above.stat().external, 50u * 4096);
    above.close();
    quiesce();
    EXPECT_EQ(owner(map, 70), top);
    for (std::size_t slot = 50; slot < 100; ++slot)
        map.release(slot);
    EXPECT_EQ(top.stat().external, 0u);
}

TEST_F(records_of_owners, the_last_one_lets_the_owner_go) {
    group a = child("a");
    ASSERT_EQ(map.record(0, inside(a)), 0);
    ASSERT_EQ(map.record(1, inside(a)), 0);
    const slab::obj_cgroup& held = *inside(a).objects;
    a.close();
    a = {};
    quiesce();
    EXPECT_EQ(held.refs.load(), 2u) << "one a record, none of the group's any more";
    const std::uint32_t id = held.id;
    map.release(0);
    quiesce();
    allot::memcg::free_spares(); // which keep their ids
    map.release(1);
    quiesce();
    const group next = child("next");
    EXPECT_EQ(inside(next).objects->id, id) << "its id is free for the next group";
}

TEST_F(records_of_owners, move_from_group_to_group) {
    const group a = child("a");
    const group b = child("b", {.max = 4096});
    ASSERT_EQ(map.record(0, inside(a)), 0);
    ASSERT_EQ(map.record(1, inside(a)), 0);
    ASSERT_EQ(map.move(0, inside(b)), 0);
    EXPECT_EQ(map.move(1, inside(b)), -ENOMEM);
    EXPECT_EQ(owner(map, 1), a) << "it stays where it was";
    EXPECT_EQ(map.move(2, inside(a)), -EINVAL) << "an empty slot";
    EXPECT_EQ(a.stat().external, 4096u);
    EXPECT_EQ(b.stat().external, 4096u);
    map.release(0);
    map.release(1);
}

TEST_F(records_of_owners, one_of_many_that_change_a_slot_at_once_wins) {
    const group a = child("a");
    const group b = child("b");
    std::atomic<long> held{0};
    allot_test::on_threads(4, [&](unsigned i) {
        std::mt19937 random(i);
        for (int turn = 0; turn < 4000 / static_cast<int>(allot_test::slowdown); ++turn) {
            const std::size_t slot = random() % 8;
            const group& mine = i % 2 == 0 ? a : b;
            switch (random() % 4) {
            case 0:
                held += map.record(slot, inside(mine)) == 0;
                break;
            case 1:
                held -= map.release(slot);
                break;
            case 2:
                static_cast<void>(map.move(slot, inside(mine)));
                break;
            default:
                if (const group found = owner(map, slot); found.get() != nullptr) {
                    EXPECT_TRUE(found == a || found == b);
                }
            }
        }
    });
    EXPECT_EQ(a.stat().external + b.stat().external, static_cast<std::uint64_t>(held) * 4096);
    for (std::size_t slot = 0; slot < 8; ++slot)
        map.release(slot);
    EXPECT_EQ(a.stat().external + b.stat().external, 0u);
}

TEST_F(records_of_owners, a_release_that_has_read_its_payer_is_waited_for_by_the_removal) {
    SKIP_WITHOUT_TEST_POINTS();
    const group above = child("above");
    group a = above.create("a");
    ASSERT_EQ(map.record(0, inside(a)), 0);
    allot_test::parked at{"owner_records:payer_read"};
    std::thread releasing([&] { map.release(0); });
    ASSERT_TRUE(at.arrived());
    a.close();
    at.let_go();
    releasing.join();
    a = {};
    quiesce();
    EXPECT_EQ(above.stat().external, 0u);
    EXPECT_EQ(above.stat().nr_dying, 0u);
}

TEST_F(records_of_owners, groups_come_and_go_while_records_change) {
    std::atomic<bool> done{false};
    std::thread closer([&] {
        for (int turn = 0; turn < 200 / static_cast<int>(allot_test::slowdown); ++turn) {
            const group a = top.create("short", {});
            for (std::size_t slot = 0; slot < 20; ++slot)
                static_cast<void>(map.record(slot, inside(a)));
            a.close();
        }
        done = true;
    });
    while (!done)
        for (std::size_t slot = 0; slot < 20; ++slot) {
            static_cast<void>(owner(map, slot));
            map.release(slot);
        }
    closer.join();
    for (std::size_t slot = 0; slot < 20; ++slot)
        map.release(slot);
    quiesce();
    EXPECT_EQ(top.stat().external, 0u);
    EXPECT_EQ(top.stat().nr_dying, 0u);
}

} // namespace
