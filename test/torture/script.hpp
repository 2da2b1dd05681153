// SPDX-License-Identifier: MIT
//
// script: a fixed sequence of calls that uses all that the library maps memory for, while mappings may fail.
//
// Idea.        Each step asks for something and goes on without what it did not get. A refusal must be said in the way of the call:
//              null with ENOMEM, or -ENOMEM. At the end all that was got is given back.
// Concurrency. one thread, and one that it starts and waits for.
#pragma once

#include "census.hpp"

#include "group/owner_records.hpp"

#include <random>
#include <thread>
#include <vector>

namespace torture {

class script {
  public:
    explicit script(std::uint64_t own_seed) : seed_(own_seed) {}

    /// Plays it. False if the library could not come up, and everything said so.
    bool run(bool may_fail) {
        may_fail_ = may_fail;
        random_.seed(seed_);
        if (allot_root() == nullptr) {
            library_is_down();
            return false;
        }
        make_groups();
        use_groups();
        use_caches();
        use_large_blocks();
        use_charges();
        use_a_thread();
        use_reports();
        give_back();
        return true;
    }

  private:
    void refused(const char* what) const {
        if (!may_fail_)
            fail("%s fails though no mapping does", what);
    }
    /// A pointer, or null with ENOMEM.
    template <class T> T* got(const char* what, T* pointer) const {
        if (pointer == nullptr) {
            if (errno != ENOMEM)
                fail("%s fails and says errno %d", what, errno);
            refused(what);
        }
        errno = 0;
        return pointer;
    }
    /// True for 0, false for -ENOMEM.
    bool done(const char* what, int error) const {
        if (error == 0)
            return true;
        if (error != -ENOMEM)
            fail("%s fails and says %d", what, error);
        refused(what);
        return false;
    }
    void keep(const char* what, void* block, std::size_t size) {
        if (got(what, block) == nullptr)
            return;
        std::memset(block, 0x5a, size);
        if (allot_usable_size(block) < size)
            fail("%s gave %zu bytes of %zu", what, allot_usable_size(block), size);
        blocks_.push_back(block);
    }

    /// Everything says that there is no memory, and nothing falls over.
    void library_is_down() {
        refused("coming up");
        errno = 0;
        if (got("malloc", allot_malloc(10)) != nullptr || got("malloc", allot_malloc(100'000)) != nullptr ||
            got("calloc", allot_calloc(10, 10)) != nullptr)
            fail("a library that is not up gives memory");
        const allot_cache_options options{.size = 64, .alignment = 0, .flags = 0, .constructor = nullptr};
        if (got("cache_create", allot_cache_create("down", &options)) != nullptr)
            fail("a library that is not up makes caches");
        allot_group* found = nullptr;
        if (allot_group_find("/", &found) != -ENOMEM || allot_verify(nullptr) != -ENOMEM)
            fail("a library that is not up does not say so");
        allot_free(nullptr);
        allot_quiesce();
        allot_poll();
        allot_purge();
        allot_cache_destroy(nullptr, nullptr);
        allot_rcu_read_lock();
        allot_rcu_read_unlock();
        allot_synchronize_rcu();
        allot_rcu_barrier();
    }

    void make_groups() {
        allot_group* parent = allot_root();
        for (int i = 0; i < 40; ++i) {
            const std::string name = "s" + std::to_string(i);
            const allot_limits limits{ALLOT_KEEP, ALLOT_KEEP, i % 3 == 0 ? 4096 : ALLOT_KEEP, ALLOT_KEEP};
            allot_group* made = nullptr;
            if (!done("group_create", allot_group_create(parent, name.c_str(), &limits, &made)))
                continue;
            groups_.push_back(made);
            if (i % 8 == 0)
                parent = i % 16 == 0 ? made : allot_root();
        }
    }
    /// Cold and hot pairs.
    void use_groups() {
        for (std::size_t i = 0; i < groups_.size(); ++i) {
            const std::size_t count = i % 5 == 0 ? 400 : 10;
            const std::size_t size = std::size_t{16} << random_() % 10;
            allot_scope in{};
            allot_enter(groups_[i], &in);
            for (std::size_t n = 0; n < count; ++n)
                keep("malloc", allot_malloc(size), size);
            if (i % 10 == 0)
                allot_poll();
            for (std::size_t n = 0; n < count; ++n)
                keep("malloc", allot_malloc(size), size);
            allot_leave(&in);
            keep("group_malloc", allot_group_malloc(groups_[i], 48, 64), 48);
        }
        for (std::size_t i = 0; i < blocks_.size(); i += 2)
            allot_free(std::exchange(blocks_[i], nullptr));
        std::erase(blocks_, nullptr);
    }
    static void touch(void* object) { *static_cast<char*>(object) = 1; }
    /// More of them than a group's first table has room for.
    void use_caches() {
        for (int i = 0; i < 80; ++i) {
            const std::string name = "script" + std::to_string(i);
            const allot_cache_options options{.size = 40 + random_() % 500,
                                              .alignment = 0,
                                              .flags =
                                                  i % 8 == 1 ? static_cast<unsigned>(ALLOT_CACHE_TYPESAFE_BY_RCU) : 0,
                                              .constructor = i % 8 == 2 ? touch : nullptr};
            allot_cache* const cache = got("cache_create", allot_cache_create(name.c_str(), &options));
            if (cache == nullptr)
                continue;
            caches_.push_back(cache);
            allot_scope in{};
            if (!groups_.empty())
                allot_enter(groups_[static_cast<std::size_t>(i) % groups_.size()], &in);
            for (int n = 0; n < (i % 20 == 0 || i > 76 ? 400 : 5); ++n) {
                if (void* const object = got("cache_alloc", allot_cache_alloc(cache)))
                    blocks_.push_back(object);
                if (n == 300)
                    allot_poll();
            }
            if (!groups_.empty())
                allot_leave(&in);
        }
    }
    void use_large_blocks() {
        for (const std::size_t size : {40'000u, 1u << 20, 5u << 20, 40u << 20})
            keep("malloc", allot_malloc(size), 100);
        keep("aligned_alloc", allot_aligned_alloc(1 << 16, 100'000), 100'000);
        if (void* const block = got("malloc", allot_malloc(60'000))) {
            void* const larger = got("realloc", allot_realloc(block, 9 << 20));
            blocks_.push_back(larger != nullptr ? larger : block);
        }
        allot_purge();
    }
    void use_charges() {
        allot::memcg::owner_records records;
        const bool has_records = records.open(1000, 4096);
        if (!has_records)
            refused("owner_records");
        for (std::size_t i = 0; i < groups_.size(); ++i) {
            allot_charge charge{};
            if (done("try_charge", allot_try_charge(groups_[i], 1000, &charge)))
                allot_uncharge(&charge);
            if (has_records)
                done("record", records.record(i, *reinterpret_cast<allot::memcg::mem_cgroup*>(groups_[i])));
            if (i % 10 == 0 && allot_group_front_place(groups_[i]) == nullptr)
                refused("front_place");
        }
        for (std::size_t i = 0; has_records && i < groups_.size(); i += 2)
            records.release(i);
    }
    void use_a_thread() {
        std::thread{[this] {
            for (allot_group* group : groups_) {
                allot_scope in{};
                allot_enter(group, &in);
                for (int n = 0; n < 20; ++n)
                    keep("malloc", allot_malloc(200), 200);
                allot_leave(&in);
            }
            for (std::size_t i = 0; i < blocks_.size(); i += 3)
                allot_free(std::exchange(blocks_[i], nullptr));
            std::erase(blocks_, nullptr);
        }}.join();
    }
    void use_reports() {
        const auto count = [](allot_group*, void* data) {
            ++*static_cast<int*>(data);
            return 0;
        };
        int seen = 0;
        if (done("walk", allot_group_walk(allot_root(), count, &seen)) && seen != static_cast<int>(groups_.size()) + 1)
            fail("a walk saw %d groups of %zu", seen, groups_.size() + 1);
        done("snapshot", allot_snapshot(
                             ALLOT_FORMAT_JSON, [](const char*, std::size_t, void*) {}, nullptr));
        allot_verify_report books{};
        if (!done("verify", allot_verify(&books)))
            return;
        if (books.errors != 0)
            fail("in the middle: %s", books.first_error);
    }
    void give_back() {
        for (std::size_t i = 0; i < groups_.size(); i += 2)
            allot_group_reclaim(groups_[i], ALLOT_UNLIMITED);
        // A close must not fail for want of memory; a child is closed with its parent.
        for (allot_group* group : groups_)
            if (const int error = allot_group_close(group, nullptr); error != 0 && error != -ENOENT)
                fail("close says %d", error);
        for (allot_cache* cache : caches_)
            allot_cache_destroy(cache, nullptr);
        allot_quiesce();
        for (void* block : blocks_)
            allot_free(block);
        for (allot_group* group : groups_)
            allot_group_put(group);
        allot_quiesce();
        blocks_.clear();
        caches_.clear();
        groups_.clear();
    }

    const std::uint64_t seed_;
    bool may_fail_ = false;
    std::mt19937_64 random_;
    std::vector<allot_group*> groups_;
    std::vector<allot_cache*> caches_;
    std::vector<void*> blocks_;
};

} // namespace torture
