// SPDX-License-Identifier: MIT
//
// verify_test: the recount finds what is there to the byte, and every kind of tampering, by name.
//
// Idea.        One figure or field is falsified, the recount is asked, and the figure is put right again. The thread that does it
//              is the only one that uses the group.
#include "support/core.hpp"

#include "slab/metadata.hpp"
#include "slab/slab_ops.hpp"

#include <numeric>

namespace {

using allot::counter::charge_kind;
using allot_test::blocks;
using allot_test::heat;
using allot_test::inside;
namespace slab = allot::slab;

class recount : public allot_test::core_test {
  protected:
    void SetUp() override {
        core_test::SetUp();
        tenant = child("tenant");
        other = child("other");
    }
    void TearDown() override {
        tenant = {};
        other = {};
        core_test::TearDown();
    }
    static std::atomic<std::int64_t>& share(const allot::group& of, charge_kind kind) {
        return inside(of).record->local[static_cast<std::size_t>(kind)];
    }

    allot::group tenant;
    allot::group other;
};

/// Success if the recount of what `falsify` did says `what`; `mend` takes it back.
template <class F, class G> testing::AssertionResult is_found(const char* what, F&& falsify, G&& mend) {
    falsify();
    const allot::verify_report books = allot::verify();
    mend();
    const allot::verify_report afterwards = allot::verify();
    if (!afterwards)
        return testing::AssertionFailure() << "not put right again: " << afterwards.first_error;
    if (books || books.errors == 0)
        return testing::AssertionFailure() << "not found";
    if (std::string{books.first_error}.find(what) == std::string::npos)
        return testing::AssertionFailure() << "named as: " << books.first_error;
    return testing::AssertionSuccess();
}

template <class T, class V> testing::AssertionResult is_found(const char* what, std::atomic<T>& figure, V change) {
    return is_found(
        what, [&] { figure += static_cast<T>(change); }, [&] { figure -= static_cast<T>(change); });
}

TEST_F(recount, agrees_with_an_untouched_library_and_says_what_it_saw) {
    const allot::verify_report books = allot::verify();
    EXPECT_TRUE(books);
    EXPECT_EQ(books.errors, 0u);
    EXPECT_STREQ(books.first_error, "");
    EXPECT_GE(books.groups, 4u) << "the root, the test's, two below";
    EXPECT_EQ(books.charged_bytes, books.pages_bytes);
    EXPECT_EQ(books.pages_bytes, slab::pages_handed_out() * allot::page_bytes);
}

TEST_F(recount, counts_every_live_block_of_a_known_population) {
    heat(tenant, 64);
    allot_test::settle_all();
    const allot::verify_report before = allot::verify();
    blocks made;
    ASSERT_TRUE(made.make(tenant, 64, 1000));     // in slabs of its own
    ASSERT_TRUE(made.make(other, 100, 10));       // in shared ones
    ASSERT_TRUE(made.make(other, 3000, 2));       // cold runs of a page
    ASSERT_TRUE(made.make(tenant, 1'000'000, 3)); // large
    EXPECT_EQ(allot::verify().objects, before.objects + 1015);
    made.thin(5); // the others are freed
    EXPECT_EQ(allot::verify().objects, before.objects + 203);
    std::thread{[&] { made.clear(); }}.join(); // whose frees nobody has collected yet
    const allot::verify_report after = allot::verify();
    EXPECT_EQ(after.objects, before.objects);
    EXPECT_TRUE(after) << after.first_error;
}

TEST_F(recount, a_known_population_costs_what_the_design_says_to_the_byte) {
    const std::uint64_t of_groups = other.stat().current;
    blocks made;
    ASSERT_TRUE(made.make(other, 100, 10));      // 112 each
    ASSERT_TRUE(made.make(other, 8, 7));         // 8 each
    ASSERT_TRUE(made.make(other, 3000, 2));      // a page each: cold and above 2 KiB
    ASSERT_TRUE(made.make(other, 1'000'000, 3)); // whole pages
    const allot::charge external = other.charge_for(12'345);
    const allot::stat stat = other.stat();
    EXPECT_EQ(stat.shared, 10u * 112 + 7 * 8);
    EXPECT_EQ(stat.large, 2u * 4096 + 3 * 245 * 4096);
    EXPECT_EQ(stat.external, 12'345u);
    EXPECT_EQ(stat.slab, 0u);
    EXPECT_EQ(stat.current, of_groups + stat.shared + stat.large + stat.external);
    EXPECT_EQ(stat.local, stat.current);
    allot_test::expect_books_agree("with the population alive");
}

TEST_F(recount, finds_each_kind_of_own_share_that_is_off_by_a_byte) {
    struct {
        charge_kind kind;
        const char* name;
    } const kinds[] = {{charge_kind::slab, "slab bytes of tenant"},
                       {charge_kind::shared, "shared bytes of tenant"},
                       {charge_kind::large, "large bytes of tenant"},
                       {charge_kind::metadata, "metadata bytes of tenant"},
                       {charge_kind::external, "usage of tenant"}}; // lies outside, so it only has to add up
    for (const auto& each : kinds)
        for (const int change : {1, -1})
            EXPECT_TRUE(is_found(each.name, share(tenant, each.kind), change)) << each.name << " " << change;
}

TEST_F(recount, finds_bytes_that_moved_from_one_group_to_another) {
    blocks made;
    ASSERT_TRUE(made.make(tenant, 100, 3));
    EXPECT_TRUE(is_found(
        "shared bytes of ",
        [&] {
            share(tenant, charge_kind::shared) -= 112;
            share(other, charge_kind::shared) += 112;
        },
        [&] {
            share(tenant, charge_kind::shared) += 112;
            share(other, charge_kind::shared) -= 112;
        }));
}

TEST_F(recount, finds_a_usage_that_is_not_the_sum_of_the_shares) {
    EXPECT_TRUE(is_found("usage of tenant: counter 1, recount 0", inside(tenant).counter().usage, 1));
    EXPECT_TRUE(is_found("usage of /", inside(allot::root()).counter().usage, 4096));
}

TEST_F(recount, finds_an_external_charge_that_only_one_level_has) {
    const allot::charge external = tenant.charge_for(5000);
    allot_test::expect_books_agree("with the charge");
    EXPECT_TRUE(is_found(("usage of " + top.name()).c_str(), [&] { inside(top).counter().usage -= 5000; },
                         [&] { inside(top).counter().usage += 5000; }));
}

TEST_F(recount, finds_pages_that_nobody_is_charged_for) {
    slab::page_run lost;
    EXPECT_TRUE(is_found(
        "pages handed out and charges of /",
        [&] {
            const allot::sync::busy_scope busy;
            lost = slab::alloc_pages(0);
        },
        [&] {
            const allot::sync::busy_scope busy;
            slab::free_pages(*lost.first, 1);
        }));
}

TEST_F(recount, finds_a_lost_block_of_a_groups_own_slab) {
    heat(tenant, 64);
    blocks made;
    ASSERT_TRUE(made.make(tenant, 64, 3));
    allot_test::empty_bins(tenant);
    slab::slab& s = *slab::slab_of(made[0]);
    ASSERT_EQ(s.kind, slab::slab_kind::owned);
    const char* const name = "blocks in a slab of kmalloc-64";
    EXPECT_TRUE(is_found(
        name, [&] { ++s.free_list; }, [&] { --s.free_list; }));
    ASSERT_NE(s.free_list, 0u);
    const slab::free_word head = s.free_list;
    slab::free_word& link = slab::link_of(s.cache->shape, slab::first_free(head));
    const slab::free_word next = link;
    EXPECT_TRUE(is_found(
        name, [&] { link = head; }, [&] { link = next; }))
        << "a free list that goes round for ever";
    EXPECT_TRUE(is_found(
        name, [&] { link = 0; }, [&] { link = next; }))
        << "a free list that ends too soon";
    EXPECT_TRUE(is_found(
        name, [&] { s.carved += s.capacity; }, [&] { s.carved -= s.capacity; }));
}

TEST_F(recount, finds_an_object_of_a_shared_slab_without_its_owner) {
    blocks made;
    ASSERT_TRUE(made.make(tenant, 100, 3));
    slab::slab& s = *slab::slab_of(made[1]);
    ASSERT_EQ(s.kind, slab::slab_kind::shared);
    auto& id = slab::owner_ids(s)[slab::object_index(s, s.cache->shape, made[1])];
    const std::uint32_t right = id;
    EXPECT_TRUE(is_found(
        "owners in a shared slab of kmalloc-112", [&] { id = 0; }, [&] { id = right; }));
    EXPECT_TRUE(is_found(
        "shared bytes of ", [&] { id = inside(other).objects->id; }, [&] { id = right; }))
        << "somebody else's";
    auto& unused = slab::owner_ids(s)[s.capacity - 1u];
    ASSERT_EQ(unused, 0u);
    EXPECT_TRUE(is_found(
        "owners in a shared slab of kmalloc-112", [&] { unused = right; }, [&] { unused = 0; }))
        << "an owner without an object";
}

TEST_F(recount, finds_a_free_by_another_thread_that_was_not_counted) {
    blocks made;
    ASSERT_TRUE(made.make(tenant, 100, 3));
    auto& word = slab::remote_of(*slab::slab_of(made[0])).word;
    EXPECT_TRUE(is_found("owners in a shared slab of kmalloc-112", word, slab::remote_count_one));
}

TEST_F(recount, finds_a_large_block_of_the_wrong_length_or_owner) {
    blocks made;
    ASSERT_TRUE(made.make(tenant, 100'000, 1));
    slab::slab& s = *slab::slab_of(made[0]);
    ASSERT_EQ(s.kind, slab::slab_kind::large);
    EXPECT_TRUE(is_found(
        "large bytes of tenant", [&] { --s.pages; }, [&] { ++s.pages; }));
    slab::obj_cgroup* const right = s.payer;
    EXPECT_TRUE(is_found(
        "large bytes of ", [&] { s.payer = inside(other).objects; }, [&] { s.payer = right; }));
}

TEST_F(recount, finds_a_cache_that_names_the_wrong_payer) {
    heat(tenant, 64);
    blocks made;
    ASSERT_TRUE(made.make(tenant, 64, 3));
    slab::kmem_cache& cache = *slab::slab_of(made[0])->cache;
    slab::cache_owner* const right = cache.payer;
    EXPECT_TRUE(is_found(
        "slab bytes of ", [&] { cache.payer = &inside(other); }, [&] { cache.payer = right; }));
}

TEST_F(recount, finds_metadata_that_is_not_charged) {
    // An object of the library in a page of its own, charged to nobody.
    EXPECT_TRUE(is_found(
        "metadata bytes of /", [] { share(allot::root(), charge_kind::metadata) += 64; },
        [] { share(allot::root(), charge_kind::metadata) -= 64; }));
    void* object = nullptr;
    {
        const allot::sync::busy_scope busy;
        object = slab::metadata_alloc(64, nullptr);
    }
    ASSERT_NE(object, nullptr);
    allot_test::expect_books_agree("an object in a page that is charged");
    const allot::sync::busy_scope busy;
    slab::metadata_free(object, 64);
}

TEST_F(recount, counts_all_differences_and_names_the_first) {
    share(tenant, charge_kind::slab) += 4096;
    share(other, charge_kind::large) += 8192;
    const allot::verify_report books = allot::verify();
    share(tenant, charge_kind::slab) -= 4096;
    share(other, charge_kind::large) -= 8192;
    EXPECT_FALSE(books);
    EXPECT_GE(books.errors, 4u) << "two shares, and what the usage of each does not add up to";
    EXPECT_STREQ(books.first_error, "slab bytes of tenant: counter 4096, recount 0");
}

TEST_F(recount, runs_beside_threads_that_allocate_and_frees_of_others) {
    std::atomic<bool> done{false};
    std::atomic<int> wrong{0};
    std::thread checker{[&] {
        while (!done)
            wrong += allot::verify() ? 0 : 1;
    }};
    std::atomic<void*> places[64]{};
    allot_test::on_threads(2, [&](unsigned i) {
        for (unsigned turn = 0; turn < 10'000 / allot_test::slowdown; ++turn)
            allot::free(places[turn * 7 % 64].exchange((i == 0 ? tenant : other).malloc(turn % 3000)));
    });
    done = true;
    checker.join();
    for (auto& place : places)
        allot::free(place.exchange(nullptr));
    EXPECT_EQ(wrong, 0);
}

} // namespace
