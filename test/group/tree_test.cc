// SPDX-License-Identifier: MIT
//
// tree_test: names, depth, look-ups and ids of groups, one or ten thousand of them.
#include "support/core.hpp"

#include <algorithm>
#include <cerrno>
#include <set>

namespace {

using allot_test::inside;
using namespace allot::literals;

class tree : public allot_test::core_test {
  protected:
    /// The result of creating `name` in `top`; the group is closed again.
    int result_of(const char* name, const allot_limits* limits = nullptr) const {
        allot_group* made = nullptr;
        const int error = allot_group_create(top.get(), name, limits, &made);
        if (error == 0) {
            EXPECT_STREQ(allot_group_name(made), name);
            allot_group_close(made, nullptr);
            allot_group_put(made);
        }
        return error;
    }
};

TEST_F(tree, takes_every_name_that_a_path_can_hold) {
    for (const char* const good : {"a", "...", ".a", "a.", " ", "with space", "tenant-0042", "\xc3\xa4", "\"quoted\\"})
        EXPECT_EQ(result_of(good), 0) << good;
    EXPECT_EQ(result_of(std::string(ALLOT_NAME_MAX, 'x').c_str()), 0);
    for (const char* const bad : {"", ".", "..", "/", "a/b", "a/", "\n", "a\tb", "\x7f", "\x01"})
        EXPECT_EQ(result_of(bad), -EINVAL) << bad;
    EXPECT_EQ(result_of(std::string(ALLOT_NAME_MAX + 1, 'x').c_str()), -EINVAL);
    EXPECT_EQ(top.stat().nr_children, 0u) << "a refused name leaves nothing";
}

TEST_F(tree, a_long_name_is_not_taken_for_one_that_begins_alike) {
    const std::string longest(ALLOT_NAME_MAX, 'x');
    const allot::group whole = top.create(longest);
    const allot::group cut = top.create(longest.substr(1));
    EXPECT_EQ(*top.find(longest), whole);
    EXPECT_EQ(*top.find(longest.substr(1)), cut);
    EXPECT_FALSE(top.find(longest.substr(2)));
    EXPECT_FALSE(top.find(longest + "x"));
}

TEST_F(tree, a_name_is_taken_once_among_siblings_and_free_elsewhere) {
    const allot::group first = child("same");
    EXPECT_EQ(result_of("same"), -EEXIST);
    const allot::group below = first.create("same");
    EXPECT_NE(below, first);
    first.close();
    EXPECT_EQ(result_of("same"), 0) << "free at the moment of the close, handles or not";
}

TEST_F(tree, contradicting_limits_make_no_group) {
    const allot_limits bad_min{.min = 2, .low = ALLOT_KEEP, .high = ALLOT_KEEP, .max = 1};
    const allot_limits bad_low{.min = ALLOT_KEEP, .low = 2, .high = ALLOT_KEEP, .max = 1};
    const allot_limits equal{.min = 1_MiB, .low = 1_MiB, .high = 1, .max = 1_MiB};
    EXPECT_EQ(result_of("one", &bad_min), -EINVAL);
    EXPECT_EQ(result_of("one", &bad_low), -EINVAL);
    EXPECT_EQ(result_of("one", &equal), 0) << "high below max, and both protections at it";
}

TEST_F(tree, the_depth_has_a_limit_and_the_deepest_works_like_any_other) {
    std::vector<allot::group> chain{top};
    while (chain.size() < ALLOT_DEPTH_MAX)
        chain.push_back(chain.back().create("d"));
    EXPECT_EQ(inside(chain.back()).depth, unsigned{ALLOT_DEPTH_MAX});
    allot_group* beyond = nullptr;
    EXPECT_EQ(allot_group_create(chain.back().get(), "d", nullptr, &beyond), -EINVAL);
    allot_test::blocks made;
    const std::uint64_t before = top.stat().current;
    ASSERT_TRUE(made.make(chain.back(), 100'000, 1) && made.make(chain.back(), 64, 1000));
    EXPECT_EQ(top.stat().current - before, chain.back().stat().current) << "charged at every level";
    EXPECT_EQ(*allot::root().find(chain.back().path()), chain.back()) << "longer than ALLOT_PATH_MAX in places";
    allot_test::expect_books_agree("256 deep");
    EXPECT_EQ(chain[1].close().groups, ALLOT_DEPTH_MAX - 1u);
    chain.clear();
    allot_quiesce();
    EXPECT_EQ(allot::owner_of(made[0]), top);
}

TEST_F(tree, a_path_is_cut_as_snprintf_cuts) {
    const allot::group below = child("abc").create("def");
    const std::string whole = below.path();
    EXPECT_EQ(whole, top.path() + "/abc/def");
    for (std::size_t size = 0; size <= whole.size() + 2; ++size) {
        std::string buffer(size + 1, '#');
        EXPECT_EQ(allot_group_path(below.get(), buffer.data(), size), whole.size());
        EXPECT_EQ(buffer[size], '#') << "not beyond " << size;
        if (size != 0) {
            EXPECT_EQ(std::string{buffer.c_str()}, whole.substr(0, size - 1));
        }
    }
    char slash[4] = "###";
    EXPECT_EQ(allot_group_path(allot_root(), slash, sizeof slash), 1u);
    EXPECT_STREQ(slash, "/");
}

TEST_F(tree, find_takes_paths_with_any_number_of_slashes_and_nothing_relative) {
    const allot::group below = child("one").create("two");
    const std::string path = below.path();
    allot_group* found = nullptr;
    for (const std::string& good : {path, "//" + path, path + "/", path + "//"}) {
        ASSERT_EQ(allot_group_find(good.c_str(), &found), 0) << good;
        EXPECT_EQ(found, below.get());
        allot_group_put(found);
    }
    ASSERT_EQ(allot_group_find("///", &found), 0);
    EXPECT_EQ(found, allot_root());
    allot_group_put(found);
    for (const std::string& absent :
         {path + "x", path.substr(0, path.size() - 1), path + "/three", std::string{"/nowhere"}})
        EXPECT_EQ(allot_group_find(absent.c_str(), &found), -ENOENT) << absent;
    for (const char* const bad : {"", "one", "./one"})
        EXPECT_EQ(allot_group_find(bad, &found), -EINVAL) << bad;
    below.close();
    EXPECT_EQ(allot_group_find(path.c_str(), &found), -ENOENT) << "closed";
}

TEST_F(tree, ten_thousand_siblings_are_found_walked_and_closed_quickly) {
    constexpr unsigned count = 10'000 / allot_test::slowdown;
    std::vector<allot::group> all;
    for (unsigned i = 0; i < count; ++i)
        all.push_back(top.create("sibling-" + std::to_string(i)));
    EXPECT_EQ(top.stat().nr_children, count);
    for (unsigned i = 0; i < count; ++i)
        ASSERT_EQ(*top.find("sibling-" + std::to_string(i)), all[i]);
    EXPECT_FALSE(top.find("sibling-" + std::to_string(count)));
    std::set<std::uint32_t> ids;
    std::size_t visits = 0;
    top.walk([&](const allot::group& each) {
        ++visits;
        ids.insert(allot_group_id(each.get()));
    });
    EXPECT_EQ(visits, count + 1);
    EXPECT_EQ(ids.size(), count + 1) << "each has an id of its own";
    for (unsigned i = 0; i < count; i += 2)
        all[i].close();
    EXPECT_EQ(top.stat().nr_children, count / 2);
    EXPECT_FALSE(top.find("sibling-0"));
    EXPECT_TRUE(top.find("sibling-1"));
    allot_test::expect_books_agree("with half of them closed");
}

TEST_F(tree, ids_are_one_to_one_at_every_instant_while_groups_come_and_go) {
    // Whoever has made a group marks its id as his; no other may meet the mark until he lets the group go.
    std::vector<std::atomic<const allot_group*>> holder(ALLOT_STAT_CAPACITY);
    std::atomic<unsigned> clashes{0};
    std::vector<std::atomic<bool>> used(ALLOT_STAT_CAPACITY);
    constexpr unsigned turns = 3000 / allot_test::slowdown;
    allot_test::on_threads(3, [&](unsigned thread) {
        std::mt19937 random{thread};
        std::vector<allot::group> mine;
        for (unsigned turn = 0; turn < turns; ++turn) {
            const allot::group& parent = mine.empty() || random() % 2 == 0 ? top : mine[random() % mine.size()];
            allot_group* made = nullptr;
            const std::string name = std::to_string(thread) + "." + std::to_string(turn);
            if (allot_group_create(parent.get(), name.c_str(), nullptr, &made) != 0)
                continue; // the parent was closed with one above it
            const std::uint32_t id = allot_group_id(made);
            clashes += holder[id].exchange(made) != nullptr;
            used[id] = true;
            mine.push_back(allot::group::adopt(made));
            if (turn % 64 == 0)
                allot_quiesce(); // frees what is closed
            if (mine.size() < 20)
                continue;
            std::swap(mine[random() % mine.size()], mine.back());
            mine.back().close(); // its descendants too; their handles keep their ids
            holder[allot_group_id(mine.back().get())] = nullptr;
            mine.pop_back();
        }
        for (const allot::group& each : mine)
            holder[allot_group_id(each.get())] = nullptr;
        mine.clear();
    });
    EXPECT_EQ(clashes, 0u);
    EXPECT_LT(std::count(used.begin(), used.end(), true), 3 * turns / 2) << "ids are used again";
}

TEST_F(tree, a_group_that_is_found_by_id_is_the_one_that_has_it) {
    const allot::group first = child("first");
    allot::memcg::mem_cgroup* const found = allot::memcg::group_of(inside(first).counter());
    EXPECT_EQ(found, &inside(first));
    allot::memcg::put(*found);
    first.close();
    allot::memcg::mem_cgroup* const closed = allot::memcg::group_of(inside(first).counter());
    EXPECT_EQ(closed, &inside(first)) << "until the last reference is gone";
    allot::memcg::put(*closed);
}

TEST_F(tree, one_of_many_threads_makes_the_name_and_one_closes_it) {
    for (unsigned round = 0; round < 200 / allot_test::slowdown; ++round) {
        std::atomic<unsigned> made{0};
        std::atomic<unsigned> closed{0};
        allot_test::on_threads(3, [&](unsigned) {
            allot_group* one = nullptr;
            const int error = allot_group_create(top.get(), "contended", nullptr, &one);
            EXPECT_TRUE(error == 0 || error == -EEXIST) << error;
            made += error == 0;
            if (error == 0)
                allot_group_put(one);
            if (allot_group_find((top.path() + "/contended").c_str(), &one) == 0) {
                closed += allot_group_close(one, nullptr) == 0;
                allot_group_put(one);
            }
        });
        EXPECT_GE(made, 1u);
        EXPECT_LE(closed, made);
        if (const auto left = top.find("contended"))
            closed += allot_group_close(left->get(), nullptr) == 0;
        EXPECT_EQ(closed, made) << "each that was made is closed by exactly one";
    }
}

TEST_F(tree, the_root_cannot_be_closed_and_a_group_only_once) {
    EXPECT_EQ(allot_group_close(allot_root(), nullptr), -EBUSY);
    const allot::group one = child("one");
    EXPECT_EQ(allot_group_close(one.get(), nullptr), 0);
    EXPECT_EQ(allot_group_close(one.get(), nullptr), -ENOENT);
    EXPECT_EQ(allot_group_close(nullptr, nullptr), -EINVAL);
    EXPECT_FALSE(one.is_open());
}

} // namespace
