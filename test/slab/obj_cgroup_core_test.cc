// SPDX-License-Identifier: MIT
//
// obj_cgroup_core_test: the count and the payer of an owner by themselves.
#include "slab/obj_cgroup_core.hpp"

#include "support/bugs.hpp"

#include <gtest/gtest.h>

namespace allot::slab {
namespace {

using allot_test::bug_in;

struct payer {};
using core = basic_obj_cgroup_core<sync::real, payer>;

TEST(obj_cgroup_core, has_the_references_of_its_group_and_only_the_last_put_is_told_so) {
    core owner;
    owner.get();
    owner.get();
    EXPECT_FALSE(owner.put());
    EXPECT_FALSE(owner.put(core::own_refs));
    EXPECT_TRUE(owner.put());
}

TEST(obj_cgroup_core, references_that_are_told_late_may_be_put_before_they_were_taken) {
    core owner;
    EXPECT_FALSE(owner.put(3)) << "of another thread, which has yet to tell";
    owner.add(5);
    owner.add(-1);
    EXPECT_FALSE(owner.put(core::own_refs));
    EXPECT_TRUE(owner.put());
}

TEST(obj_cgroup_core, get_from_zero_is_a_bug) {
    core owner;
    EXPECT_TRUE(owner.put(core::own_refs));
    EXPECT_NE(bug_in([&] { owner.get(); }), "");
}

TEST(obj_cgroup_core, putting_more_than_there_is_is_a_bug) {
    core owner;
    EXPECT_TRUE(owner.put(core::own_refs));
    EXPECT_NE(bug_in([&] { static_cast<void>(owner.put()); }), "");
}

TEST(obj_cgroup_core, the_payer_is_the_latest_heir) {
    payer group, parent, root;
    core owner;
    owner.payer.store(&group);
    EXPECT_EQ(&owner.load_payer(), &group);
    owner.reparent(parent);
    owner.reparent(root);
    EXPECT_EQ(&owner.load_payer(), &root);
}

} // namespace
} // namespace allot::slab
