// SPDX-License-Identifier: MIT
//
// worker: what the threads of torture_groups do, all of it at once.
//
// Idea.        Each act is a random choice of the worker's own generator. Blocks are kept in a list of the worker's, put where
//              handlers free them, or traded through locked stalls, so most are freed by somebody else.
// Concurrency. one thread each; check() and free_all() while all rest.
#pragma once

#include "places.hpp"

#include "sync/executor.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace torture {

inline std::atomic<bool> round_over{false};

/// A child finds everything whole and usable.
inline void fork_once(const allot::group& in) {
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::alarm(30);
        allot::sync::allow_worker(false);
        for (auto& place : pool)
            allot_free(place.block.exchange(nullptr));
        allot_group* mine = nullptr;
        if (allot_group_create(in.get(), "child's", nullptr, &mine) == 0) {
            allot_free(allot_group_malloc(mine, 500, 0));
            allot_group_close(mine, nullptr);
            allot_group_put(mine);
        }
        allot_quiesce();
        const allot::verify_report books = allot::verify();
        if (!books)
            std::fprintf(stderr, "in a child: %s\n", books.first_error);
        ::_exit(books ? 0 : 1);
    }
    int status = 0;
    while (pid > 0 && ::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (pid > 0 && status != 0)
        fail("a forked child ended with status 0x%x", static_cast<unsigned>(status));
}

class worker {
  public:
    worker(tree& groups, unsigned index, std::uint64_t own_seed) : groups_(groups), index_(index), random_(own_seed) {}

    void work() {
        while (!round_over.load(std::memory_order_relaxed))
            for (int i = 0; i < 20; ++i)
                step();
    }
    template <class F> void for_each(F&& visit) const {
        for (const item& it : held_)
            visit(it);
    }
    /// What this worker has added so far; its charges as they stand.
    sums contribution() const {
        sums out = sums_;
        for (const allot::charge& each : charges_)
            out.external += static_cast<std::int64_t>(each.bytes());
        return out;
    }
    void free_all() {
        while (!held_.empty())
            release(pop());
        charges_.clear();
    }

  private:
    std::size_t any_size() {
        const auto kind = random_() % 100;
        return 1 + random_() % (kind < 85 ? 600 : kind < 98 ? 10'000 : 300'000);
    }
    item pop() {
        std::swap(held_[random_() % held_.size()], held_.back());
        const item out = held_.back();
        held_.pop_back();
        return out;
    }
    void keep(item it, std::uint32_t group) {
        if (it.block == nullptr)
            return;
        it.group = group;
        it.mark = static_cast<unsigned char>(random_());
        it.fill();
        held_.push_back(it);
        ++sums_.live;
        ++sums_.allocations;
    }
    void release(const item& it) {
        if (it.block == nullptr)
            return;
        it.check();
        allot_free(it.block);
        --sums_.live;
    }
    void allocate() {
        const auto [group, index] = groups_.any(random_);
        const allot::scope in{group};
        for (auto count = random_() % 20; count != 0; --count) {
            item it;
            it.size = any_size();
            switch (random_() % 4) {
            case 0:
                it.block = static_cast<unsigned char*>(group.malloc(it.size, std::size_t{1} << random_() % 13));
                break;
            case 1:
                it.block = static_cast<unsigned char*>(allot_calloc(it.size, 1));
                break;
            case 2:
                it = caches[random_() % std::size(caches)].make();
                break;
            default:
                it.block = static_cast<unsigned char*>(allot_malloc(it.size));
            }
            keep(it, index);
        }
    }
    void resize() {
        if (held_.empty())
            return;
        item it = pop();
        it.check();
        const std::size_t size = any_size();
        auto* const moved = static_cast<unsigned char*>(allot_realloc(it.block, size));
        if (moved != nullptr) {
            sums_.allocations += moved != it.block ? 1 : 0;
            it.size = std::min(it.size, size);
            it.block = moved;
            it.check();
            it.size = size;
            it.fill();
        }
        held_.push_back(it);
    }
    void fill_pool() {
        pool_place& place = pool[random_() % (pool_size / worker_count) * worker_count + index_];
        if (held_.empty() || place.block.load() != nullptr)
            return;
        place.it = pop();
        place.block = place.it.block;
    }
    void charge() {
        if (charges_.size() < 10)
            charges_.push_back(groups_.any(random_).first.try_charge(random_() % 5000));
        else if (random_() % 2 == 0)
            (void)charges_[random_() % 10].try_transfer(groups_.any(random_).first);
        else
            charges_.clear();
    }
    /// A thread that lives for a moment, and may end inside a scope.
    void churn() {
        std::thread{[this] {
            const auto [group, index] = groups_.any(random_);
            allot_scope in{};
            allot_enter(group.get(), &in);
            for (int i = 0; i < 5; ++i) {
                item it;
                it.size = any_size();
                it.block = static_cast<unsigned char*>(allot_malloc(it.size));
                keep(it, index);
                if (!held_.empty())
                    release(pop());
            }
            if (random_() % 2 == 0)
                allot_leave(&in);
        }}.join();
    }
    void rare() {
        switch (random_() % 16) {
        case 0:
            churn();
            break;
        case 1:
            fork_once(groups_.any(random_).first);
            break;
        case 2:
        case 3:
            caches[random_() % std::size(caches)].renew(random_);
            break;
        case 4:
            groups_.any(random_).first.reclaim();
            break;
        case 5:
            allot_purge();
            break;
        default:
            if (!groups_.is_full())
                groups_.create(random_);
            if (random_() % 3 == 0)
                groups_.close(random_);
        }
    }
    void step() {
        const auto kind = random_() % 100;
        if (kind < 15)
            allocate();
        else if (kind < 25)
            resize();
        else if (kind < 35)
            fill_pool();
        else if (kind < 40)
            charge();
        else if (kind < 60 && !held_.empty())
            take_home(trade(random_(), pop()));
        else if (kind < 62)
            rare();
        else
            for (std::size_t keep = 100 + random_() % 200; held_.size() > keep;)
                release(pop());
    }
    void take_home(const item& it) {
        if (it.block != nullptr)
            held_.push_back(it);
    }

    tree& groups_;
    const unsigned index_;
    std::mt19937_64 random_;
    std::vector<item> held_;
    std::vector<allot::charge> charges_;
    sums sums_;
};

} // namespace torture
