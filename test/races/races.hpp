// SPDX-License-Identifier: MIT
//
// races: what the tests of the catalogue of races share: threads beside the test's own, and typed caches.
//
// Idea.        A test stops one thread in the window of its race (support/test_points.hpp), has another one go through it, and
//              asks that nothing happened: books agree, each thing is released once, nr_dying is 0, the right owner pays.
//              docs/races.md lists them by number. What is asked at the end of each: core_test::TearDown.
// Concurrency. the test's thread makes and ends everything here.
#pragma once

#include "support/core.hpp"
#include "support/test_points.hpp"

#include <cstring>
#include <utility>

namespace allot_test {

/// A thread that does `work` beside the test's own; the end of the scope waits for it.
class beside {
  public:
    template <class F>
    explicit beside(F work)
        : thread_([this, work = std::move(work)]() mutable {
              work();
              done_ = true;
          }) {}
    ~beside() { join(); }
    beside(const beside&) = delete;
    beside& operator=(const beside&) = delete;

    bool done() const { return done_.load(); }
    void join() {
        if (thread_.joinable())
            thread_.join();
    }

  private:
    std::atomic<bool> done_{false};
    std::thread thread_;
};

/// Runs deferred work on a thread beside the test's, unless the library's own thread is faster.
class beside_executor : public beside {
  public:
    beside_executor() : beside([] { allot::quiesce(); }) {}
};

class races : public core_test {
  protected:
    static allot_cache* make_cache(const char* name, unsigned flags = 0, std::size_t size = 200) {
        const allot_cache_options options{.size = size, .alignment = 0, .flags = flags, .constructor = nullptr};
        return allot_cache_create(name, &options);
    }
    static std::vector<void*> fill(const allot::group& group, allot_cache* cache, int count) {
        const allot::scope in{group};
        std::vector<void*> made;
        for (int i = 0; i < count; ++i)
            made.push_back(allot_cache_alloc(cache));
        return made;
    }
    /// As fill, with one object at least in a slab of the group's own.
    static std::vector<void*> fill_hot(const allot::group& group, allot_cache* cache) {
        std::vector<void*> made = fill(group, cache, 1000);
        allot::quiesce();
        for (void* object : fill(group, cache, 500))
            made.push_back(object);
        return made;
    }
    static void free_all(std::vector<void*>& objects) {
        for (void* object : std::exchange(objects, {}))
            allot::free(object);
    }
    static allot::slab::kmem_cache& inside_of(allot_cache* cache) {
        return *reinterpret_cast<allot::slab::kmem_cache*>(cache);
    }
    static bool has_child(const allot::group& group, allot_cache* cache) {
        allot::sync::rcu_guard section;
        return allot::slab::child_of(inside(group), inside_of(cache).shape.index) != nullptr;
    }
    /// Children of the cache, the root group's among them.
    static int count_children(allot_cache* cache) {
        int count = 0;
        allot::sync::busy_scope busy;
        allot::sync::lock_guard hold(allot::slab::caches_lock());
        inside_of(cache).children.for_each([&](allot::slab::kmem_cache&) { ++count; });
        return count;
    }
    /// True while some root cache has the name.
    static bool exists(const char* name) {
        for (std::uint32_t i = 0; i < allot::slab::cache_count_max; ++i)
            if (const auto* cache = allot::slab::root_cache_at(i);
                cache != nullptr && std::strcmp(cache->name, name) == 0)
                return true;
        return false;
    }
    /// Closed groups below, without the locks that stat() takes: threads may stand somewhere with theirs.
    static std::uint32_t nr_dying(const allot::group& group) { return inside(group).nr_dying.load(); }
};

} // namespace allot_test
