// SPDX-License-Identifier: MIT
//
// census: everything that exists, counted from the structures themselves, so that what was lost shows up as one too many.
//
// Idea.        Counters can be wrong in the same way twice; the objects that they stand for are there or not. The library's own
//              structures (groups, caches, owners, heaps, arrays) are counted by size from the pages that they lie in.
// Concurrency. all threads at rest.
#pragma once

#include "program.hpp"

#include <allot/allot.hpp>

#include "group/mem_cgroup.hpp"
#include "slab/cache_lifecycle.hpp"
#include "slab/metadata.hpp"
#include "slab/page_alloc.hpp"

#include <array>
#include <bit>

namespace torture {

struct census {
    std::int64_t root_caches = 0;
    std::int64_t child_caches = 0;
    std::int64_t groups = 0;                   ///< open ones, the root among them
    std::int64_t dying = 0;                    ///< closed and not freed
    std::int64_t blocks = 0;                   ///< live
    std::int64_t slabs = 0;                    ///< with blocks or without
    std::int64_t external = 0;                 ///< bytes
    std::array<std::int64_t, 13> structures{}; ///< of the library, by the logarithm of their size
};

namespace detail {

inline void count_caches(census& out) {
    const allot::sync::busy_scope busy;
    const allot::sync::lock_guard hold{allot::slab::caches_lock()};
    for (std::uint32_t i = 0; i < allot::slab::cache_count_max; ++i)
        if (allot::slab::kmem_cache* const cache = allot::slab::root_cache_at(i)) {
            ++out.root_caches;
            cache->children.for_each([&](allot::slab::kmem_cache&) noexcept { ++out.child_caches; });
        }
}

inline void count_pages(census& out) {
    const auto end = static_cast<std::uint32_t>(allot::slab::pages_committed());
    for (std::uint32_t page = 1; page < end; ++page) {
        const allot::slab::slab& s = allot::slab::slab_at(page);
        if (s.kind == allot::slab::slab_kind::metadata)
            out.structures[static_cast<std::size_t>(std::countr_zero(s.object_bytes))] +=
                static_cast<std::int64_t>(s.live());
        else if (s.kind == allot::slab::slab_kind::owned || s.kind == allot::slab::slab_kind::shared)
            ++out.slabs;
    }
}

inline void compare_count(const char* when, const char* what, std::int64_t is, std::int64_t expected) {
    if (is != expected)
        fail("%s: %s: %lld, must be %lld", when, what, static_cast<long long>(is), static_cast<long long>(expected));
}

} // namespace detail

/// Runs deferred work and takes back all that threads hold and nobody uses.
inline void settle_library() {
    for (int round = 0; round < 2; ++round) {
        allot_quiesce();
        allot_group_reclaim(allot_root(), ALLOT_UNLIMITED);
    }
    allot_quiesce();
}

/// Recounts, and fails if the books differ.
inline census take_census(const char* when) {
    const allot::verify_report books = allot::verify();
    if (!books)
        fail("%s: %llu differences, the first: %s", when, static_cast<unsigned long long>(books.errors),
             books.first_error);
    census out;
    detail::count_caches(out);
    detail::count_pages(out);
    allot::root().walk([&](const allot::group& each) {
        ++out.groups;
        out.external += static_cast<std::int64_t>(each.stat().external);
    });
    out.dying = allot::root().stat().nr_dying;
    out.blocks = static_cast<std::int64_t>(books.objects);
    return out;
}

/// Compares, but for the library's structures.
inline void must_equal_outside(const char* when, const census& is, const census& expected) {
    detail::compare_count(when, "closed groups that are not freed", is.dying, expected.dying);
    detail::compare_count(when, "open groups", is.groups, expected.groups);
    detail::compare_count(when, "live blocks", is.blocks, expected.blocks);
    detail::compare_count(when, "external bytes", is.external, expected.external);
    detail::compare_count(when, "root caches", is.root_caches, expected.root_caches);
    detail::compare_count(when, "child caches", is.child_caches, expected.child_caches);
    detail::compare_count(when, "slabs", is.slabs, expected.slabs);
}

/// Compares all. `at_most`: structures that are made once and kept may be missing.
inline void must_equal(const char* when, const census& is, const census& expected, bool at_most = false) {
    must_equal_outside(when, is, expected);
    for (std::size_t i = 0; i < is.structures.size(); ++i)
        if (is.structures[i] > expected.structures[i] || (!at_most && is.structures[i] != expected.structures[i]))
            fail("%s: structures of %zu bytes: %lld, must be %lld", when, std::size_t{1} << i,
                 static_cast<long long>(is.structures[i]), static_cast<long long>(expected.structures[i]));
}

// --- Faults -----------------------------------------------------------------------------------------------------------------

/// Ways to lose something, as a forgotten line in the library would. Each has to be noticed.
inline constexpr const char* faults[] = {"group reference", "owner reference", "cache reference", "block",
                                         "uncharge",        "own share",       "structure",       "external charge"};

/// Does one of them to `group`, which is open.
inline void lose(const std::string& what, allot_group* handle) {
    auto& group = *reinterpret_cast<allot::memcg::mem_cgroup*>(handle);
    allot::counter::page_counter* over = nullptr;
    if (what == "group reference") {
        allot::memcg::get(group);
    } else if (what == "owner reference") {
        allot::slab::obj_cgroup_get(*group.objects);
    } else if (what == "cache reference") {
        const allot_cache_options options{.size = 72, .alignment = 0, .flags = 0, .constructor = nullptr};
        allot_cache* const cache = allot_cache_create("lost", &options);
        reinterpret_cast<allot::slab::kmem_cache*>(cache)->refs.fetch_add(1);
        allot_cache_destroy(cache, nullptr);
    } else if (what == "block") {
        if (allot_group_malloc(handle, 40, 0) == nullptr)
            std::_Exit(0);
    } else if (what == "uncharge") {
        if (!allot::counter::try_charge(group.counter(), 64, &over))
            std::_Exit(0);
    } else if (what == "own share") {
        group.record->local[0].fetch_add(64);
    } else if (what == "structure") {
        const allot::sync::busy_scope busy;
        if (allot::slab::metadata_alloc(256, &over) == nullptr)
            std::_Exit(0);
    } else if (what == "external charge") {
        allot_charge charge{};
        if (allot_try_charge(handle, 77, &charge) != 0)
            std::_Exit(0);
    } else {
        fail("there is no fault '%s'", what.c_str());
    }
}

} // namespace torture
