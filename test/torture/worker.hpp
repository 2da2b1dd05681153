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
#include <pthread.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace torture {

inline std::atomic<bool> round_over{false};

// --- Children ---------------------------------------------------------------------------------------------------------------

/// What a child does for a while: the same as everybody, alone, and without a heap of its own that another thread might have locked.
class child_life {
  public:
    child_life(allot_group* in, std::uint64_t own_seed) : random_(own_seed), in_(in) {}

    void live() {
        for (auto& place : pool)
            empty_place(place);
        for (int i = 0; i < 300; ++i)
            step();
        for (void*& block : blocks_)
            allot_free(std::exchange(block, nullptr));
        for (allot_group*& group : groups_)
            end_group(group);
        allot_cache_destroy(cache_, nullptr);
        allot_rcu_barrier();
        allot_quiesce();
    }

  private:
    static void end_group(allot_group*& group) {
        if (group != nullptr)
            allot_group_close(group, nullptr);
        allot_group_put(std::exchange(group, nullptr));
    }
    void step() {
        void*& block = blocks_[random_() % std::size(blocks_)];
        allot_group*& group = groups_[random_() % std::size(groups_)];
        switch (random_() % 16) {
        case 0:
            end_group(group);
            if (allot_group_create(in_, random_() % 2 == 0 ? "child's" : "child's too", nullptr, &group) != 0)
                group = nullptr;
            break;
        case 1:
            allot_cache_destroy(std::exchange(cache_, nullptr), nullptr);
            break;
        case 2:
            allot_poll();
            break;
        case 3:
            replace(block, group != nullptr ? allot_group_malloc(group, random_() % 50'000, 0) : nullptr);
            break;
        case 4:
        case 5:
        case 6:
            replace(block, make_object());
            break;
        default:
            replace(block, group != nullptr && random_() % 2 == 0 ? allot_group_malloc(group, random_() % 500, 0)
                                                                  : allot_malloc(random_() % 500));
        }
    }
    static void replace(void*& place, void* block) { allot_free(std::exchange(place, block)); }
    void* make_object() {
        const allot_cache_options options{.size = 88, .alignment = 0, .flags = 0, .constructor = nullptr};
        if (cache_ == nullptr)
            cache_ = allot_cache_create("child's", &options);
        return cache_ != nullptr ? allot_cache_alloc(cache_) : nullptr;
    }

    std::mt19937_64 random_;
    allot_group* const in_;
    allot_cache* cache_ = nullptr;
    void* blocks_[100] = {};
    allot_group* groups_[2] = {};
};

/// Who forks, and whom a signal is on its way to. A handler that calls the library on top of libc's malloc keeps libc's lock meanwhile, which
/// fork() waits for when it has the library's (README, Limitations): so the one who forks gets signals, and nobody else.
struct fork_turns {
    static constexpr unsigned nobody = ~0u;
    std::atomic<bool> forks[worker_count] = {};
    std::atomic<unsigned> signalled{nobody};

    void begin(unsigned index) {
        forks[index] = true;
        for (unsigned to = signalled; to != nobody && to != index; to = signalled)
            std::this_thread::yield();
    }
    void end(unsigned index) { forks[index] = false; }
    /// True if a signal may go to this one; then end_signal() is called when it was handled.
    bool begin_signal(unsigned to) {
        signalled = to;
        for (unsigned i = 0; i < worker_count; ++i)
            if (i != to && forks[i]) {
                end_signal();
                return false;
            }
        return true;
    }
    void end_signal() { signalled = nobody; }
};
inline fork_turns turns;

/// A child finds everything whole and usable.
inline void fork_once(const allot::group& in, std::uint64_t own_seed, unsigned index) {
    turns.begin(index);
    const pid_t pid = ::fork();
    if (pid != 0)
        turns.end(index);
    if (pid == 0) {
        ::alarm(50);
        allot::sync::allow_worker(false);
        child_life{in.get(), own_seed}.live();
        const allot::verify_report books = allot::verify();
        if (!books)
            fail("in a child: %s", books.first_error);
        ::_exit(0);
    }
    int status = 0;
    while (pid > 0 && ::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (pid > 0)
        must_end_well("a forked child", status);
}

/// Frees a block at the very end of a thread, after the library's exit hook: asks to be run again until the hook has run.
inline pthread_key_t late_key;
inline void free_late(void* block) {
    static thread_local unsigned calls = 0;
    if (++calls < 3)
        pthread_setspecific(late_key, block);
    else
        allot_free(block);
}

// --- Workers ----------------------------------------------------------------------------------------------------------------

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
        for (std::size_t i = 0; i < 4; ++i)
            withdraw(published[i * worker_count + index_].exchange(nullptr));
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
        if (it.size >= 2 * sizeof(allot_rcu_head) && random_() % 16 == 0)
            free_item(it, [&](unsigned char* block) {
                const std::size_t at = (it.size - sizeof(allot_rcu_head)) & ~(alignof(allot_rcu_head) - 1);
                allot_free_rcu(block, reinterpret_cast<allot_rcu_head*>(block + at));
            });
        else
            free_item(it);
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
    /// A group of its own whose blocks go with it, unless an ancestor was closed before: then they live, and are freed.
    void request() {
        allot_group* group = nullptr;
        if (allot_group_create(groups_.any(random_).first.get(), index_ % 2 == 0 ? "request" : "request too", nullptr,
                               &group) != 0)
            return;
        std::vector<void*> made;
        allot_scope in;
        allot_enter(group, &in);
        for (auto count = random_() % 300; count != 0; --count) {
            void* const block = allot_malloc(any_size() >> random_() % 8);
            sums_.allocations += block != nullptr ? 1 : 0;
            if (random_() % 4 == 0)
                allot_free(block);
            else
                made.push_back(block);
        }
        const bool early = random_() % 4 == 0;
        if (!early)
            allot_leave(&in);
        if (allot_group_discard(group, nullptr) != 0)
            for (void* const block : made)
                allot_free(block);
        if (early)
            allot_leave(&in);
        allot_group_put(group);
    }
    void resize() {
        if (held_.empty())
            return;
        item it = pop();
        it.check();
        if (it.cache != 0) { // an object of a cache is not resized
            release(it);
            return;
        }
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
        else if (random_() % 2 == 0)
            (void)charges_[random_() % 10].try_resize(random_() % 5000);
        else if (allot::charge& one = charges_[random_() % 10]; random_() % 2 == 0 && one.bytes() != 0)
            charges_.push_back(one.split(random_() % one.bytes()));
        else
            charges_.clear();
    }
    /// Puts another block where readers look, and has the old one freed after them.
    void publish() {
        std::atomic<published_block*>& place = published[random_() % 4 * worker_count + index_];
        const std::size_t size = random_() % 500;
        const std::size_t tail = sizeof(published_block) + size + alignof(allot_rcu_head);
        published_block* fresh = nullptr;
        if (random_() % 8 != 0) {
            const allot::group group = groups_.any(random_).first;
            fresh = static_cast<published_block*>(group.malloc(tail + sizeof(allot_rcu_head)));
        }
        if (fresh != nullptr) {
            fresh->size = size;
            fresh->mark = static_cast<unsigned char>(random_());
            std::memset(fresh->marks, fresh->mark, size);
            ++sums_.live;
            ++sums_.allocations;
        }
        withdraw(place.exchange(fresh, std::memory_order_acq_rel)); // release: pairs with look_at()
    }
    void withdraw(published_block* old) {
        if (old == nullptr)
            return;
        const std::size_t at = (sizeof *old + old->size + alignof(allot_rcu_head) - 1) & ~(alignof(allot_rcu_head) - 1);
        allot_free_rcu(old, reinterpret_cast<allot_rcu_head*>(reinterpret_cast<char*>(old) + at));
        --sums_.live;
    }
    void ask_owner() {
        if (held_.empty())
            return;
        const item& it = held_[random_() % held_.size()];
        const allot::group owner = allot::owner_of(it.block);
        if (!groups_.may_own(owner, it.group))
            fail("%p belongs to %s, which is no ancestor of its group", static_cast<void*>(it.block),
                 owner.path().c_str());
    }
    void leave_reference() {
        allot_group_put(references[random_() % pool_size].exchange(allot_group_get(groups_.any(random_).first.get())));
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
            if (!held_.empty() && held_.back().cache == 0) {
                pthread_setspecific(late_key, held_.back().block);
                held_.pop_back();
                --sums_.live;
            }
        }}.join();
    }
    void rare() {
        switch (random_() % 16) {
        case 0:
            churn();
            break;
        case 1:
            fork_once(groups_.any(random_).first, random_(), index_);
            break;
        case 2:
        case 3:
            caches[random_() % std::size(caches)].renew(random_);
            break;
        case 4:
            groups_.any(random_).first.reclaim();
            break;
        case 5:
            random_() % 2 == 0 ? allot_purge() : allot_poll();
            break;
        case 6:
            caches[random_() % std::size(caches)].shrink();
            break;
        case 7:
        case 8:
        case 9:
            groups_.change_limits(random_);
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
        else if (kind < 64)
            request();
        else if (kind < 68)
            publish();
        else if (kind < 76)
            look_at(published[random_() % std::size(published)]);
        else if (kind < 80)
            ask_owner();
        else if (kind < 83)
            leave_reference();
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
