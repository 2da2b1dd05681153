// SPDX-License-Identifier: MIT
//
// obj_cgroup_test: what objects name instead of their group follows the group's heirs and goes with the last object.
#include "support/core.hpp"

#include "slab/slab_ops.hpp"

#include <set>

namespace {

using allot_test::blocks;
using allot_test::inside;
namespace slab = allot::slab;

class owners : public allot_test::core_test {
  protected:
    /// The id that a shared object carries.
    static std::uint32_t id_of(const void* block) {
        const slab::slab& s = *slab::slab_of(block);
        EXPECT_EQ(s.kind, slab::slab_kind::shared);
        return slab::owner_ids(s)[slab::object_index(s, s.cache->shape, block)];
    }
    /// References but for the group's own.
    static std::uint64_t refs_of(const allot::group& group) {
        EXPECT_TRUE(allot::verify()) << "has the threads tell what they took and put";
        return inside(group).objects->refs - slab::obj_cgroup::own_refs;
    }
};

TEST_F(owners, an_object_carries_the_id_of_its_groups_owner) {
    const allot::group one = child("one");
    const allot::group two = child("two");
    blocks made;
    ASSERT_TRUE(made.make(one, 100, 1) && made.make(two, 100, 1));
    EXPECT_EQ(id_of(made[0]), inside(one).objects->id);
    EXPECT_EQ(id_of(made[1]), inside(two).objects->id);
    EXPECT_NE(id_of(made[0]), id_of(made[1]));
    EXPECT_EQ(&slab::obj_cgroup_of(id_of(made[0])), inside(one).objects);
    EXPECT_NE(id_of(made[0]), 0u) << "0 means free";
}

TEST_F(owners, count_a_reference_for_each_object_large_block_and_charge) {
    const allot::group one = child("one");
    EXPECT_EQ(refs_of(one), 0u);
    blocks made;
    ASSERT_TRUE(made.make(one, 100, 5) && made.make(one, 3000, 2) && made.make(one, 100'000, 3));
    EXPECT_EQ(refs_of(one), 10u);
    {
        allot::charge external = one.charge_for(1000);
        const allot::charge part = external.split(400);
        EXPECT_EQ(refs_of(one), 12u);
    }
    made.clear();
    EXPECT_EQ(refs_of(one), 0u);
}

TEST_F(owners, hear_of_all_objects_before_their_group_puts_its_own_references) {
    void* made[7];
    const allot::group gone = child("gone");
    slab::obj_cgroup& owner = *inside(gone).objects;
    {
        const allot::scope in{gone};
        for (void*& block : made)
            block = allot::malloc(100);
        EXPECT_LT(owner.refs - slab::obj_cgroup::own_refs, 7u) << "this thread has some to itself";
        const allot::report report = gone.close();
        ASSERT_EQ(report.nr_lines, 1u);
        EXPECT_EQ(report.line[0].objects, 7u) << "but a report knows";
        EXPECT_EQ(report.line[0].bytes, 7u * 112);
        allot_quiesce();
        EXPECT_EQ(owner.refs, 7u);
        EXPECT_EQ(top.stat().shared, 7u * 112);
    }
    for (void* const block : made)
        allot::free(block);
    EXPECT_EQ(top.stat().shared, 0u);
}

TEST_F(owners, of_a_thread_that_frees_more_than_it_made_never_seem_to_have_none) {
    const allot::group one = child("one");
    slab::obj_cgroup& owner = *inside(one).objects;
    constexpr std::size_t count = 200; // cold, and more than a thread keeps to itself
    blocks made;
    std::thread{[&] { ASSERT_TRUE(made.make(one, 64, count)); }}.join();
    EXPECT_EQ(owner.refs, slab::obj_cgroup::own_refs + count) << "the thread has ended";
    {
        const allot::scope in{one};
        made.clear();
    }
    EXPECT_EQ(refs_of(one), 0u);
    EXPECT_EQ(one.stat().shared, 0u);
}

TEST_F(owners, name_the_heir_after_each_removal_and_the_object_stays_as_it_is) {
    std::vector<allot::group> chain{top};
    for (int i = 0; i < 4; ++i)
        chain.push_back(chain.back().create("below"));
    blocks made;
    ASSERT_TRUE(made.make(chain.back(), 100, 1) && made.make(chain.back(), 100'000, 1));
    const std::uint32_t id = id_of(made[0]);
    while (chain.size() > 1) {
        chain.back().close();
        chain.pop_back();
        allot_quiesce();
        EXPECT_EQ(id_of(made[0]), id) << "nothing is written to objects";
        EXPECT_EQ(allot::owner_of(made[0]), chain.back());
        EXPECT_EQ(allot::owner_of(made[1]), chain.back());
        EXPECT_EQ(chain.back().stat().shared, 112u);
        EXPECT_EQ(chain.back().stat().large, 102'400u);
    }
    made.clear();
    EXPECT_EQ(top.stat().shared, 0u);
}

TEST_F(owners, outlive_their_group_until_the_last_object_and_then_the_id_is_used_again) {
    blocks made;
    {
        const allot::group gone = child("gone");
        ASSERT_TRUE(made.make(gone, 100, 3));
        gone.close();
    }
    allot_quiesce();
    EXPECT_EQ(top.stat().nr_dying, 0u) << "objects do not pin the group";
    const std::uint32_t id = id_of(made[0]);
    EXPECT_EQ(slab::obj_cgroup_of(id).refs, 3u);
    std::set<std::uint32_t> others;
    for (int i = 0; i < 50; ++i)
        others.insert(inside(child(std::to_string(i).c_str())).objects->id);
    EXPECT_FALSE(others.contains(id)) << "while an object carries it nobody else has it";
    made.clear();
    allot_quiesce();
    allot::memcg::free_spares(); // which keep their ids
    std::set<std::uint32_t> later;
    for (int i = 50; i < 100; ++i)
        later.insert(inside(child(std::to_string(i).c_str())).objects->id);
    EXPECT_TRUE(later.contains(id)) << "the last one that was given back is taken first";
}

TEST_F(owners, frees_that_race_with_the_removal_uncharge_exactly_one_group) {
    for (unsigned round = 0; round < 100 / allot_test::slowdown; ++round) {
        const allot::group gone = child("gone");
        blocks made;
        ASSERT_TRUE(made.make(gone, 100, 100) && made.make(gone, 50'000, 3));
        std::thread closer{[&] {
            gone.close();
            allot_quiesce();
        }};
        made.clear();
        closer.join();
        allot_quiesce();
        ASSERT_EQ(top.stat().shared, 0u);
        ASSERT_EQ(top.stat().large, 0u);
    }
}

TEST_F(owners, frees_that_race_for_the_last_reference_release_once) {
    for (unsigned round = 0; round < 100 / allot_test::slowdown; ++round) {
        void* made[2];
        {
            const allot::group gone = child("gone");
            made[0] = gone.malloc(100);
            made[1] = gone.malloc(100);
            gone.close();
        }
        allot_test::on_threads(2, [&](unsigned i) { allot_free(made[i]); });
        allot_quiesce();
    }
    EXPECT_EQ(usage(), top.stat().metadata);
}

} // namespace
