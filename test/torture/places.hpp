// SPDX-License-Identifier: MIT
//
// places: where the threads of torture_groups meet: what handlers free, typed caches, blocks that readers look at, a market.
//
// Concurrency. as each says.
#pragma once

#include "model.hpp"

#include "slab/arena.hpp"

#include <cerrno>
#include <shared_mutex>
#include <thread>

namespace torture {

inline constexpr unsigned worker_count = 3;
inline constexpr std::size_t pool_size = 63;

// --- Typed caches -----------------------------------------------------------------------------------------------------------

/// What is known of one root cache, for as long as objects of it live.
struct cache_record {
    allot_cache* cache = nullptr;
    std::size_t size = 0;
    unsigned aliases = 0; // 0: destroyed
    std::atomic<std::int64_t> made{0};
    std::atomic<std::int64_t> freeing{0}; // counted before the free begins
    std::atomic<std::int64_t> freed{0};   // counted after it has ended
};

/// All root caches of the test. Making and destroying are one at a time, so that it is known which destruction is the last.
class cache_registry {
  public:
    cache_record* create(std::mt19937_64& random) {
        const std::lock_guard hold{lock_};
        static constexpr unsigned kinds[] = {0, ALLOT_CACHE_ZERO, ALLOT_CACHE_TYPESAFE_BY_RCU};
        const allot_cache_options options{
            .size = 24 + random() % 3 * 200, .alignment = 0, .flags = kinds[random() % 3], .constructor = nullptr};
        allot_cache* const cache = allot_cache_create("torture", &options); // often an alias
        if (cache == nullptr)
            return nullptr;
        for (cache_record& each : records_)
            if (each.aliases != 0 && each.cache == cache) {
                ++each.aliases;
                return &each;
            }
        for (cache_record& each : records_)
            if (each.aliases == 0 && each.made == each.freed) {
                each.cache = cache;
                each.size = options.size;
                each.aliases = 1;
                return &each;
            }
        allot_cache_destroy(cache, nullptr); // the objects of too many dead ones live
        return nullptr;
    }
    /// Destroys it, and compares what the library says of its objects with what is known.
    void destroy(cache_record& record) {
        const std::lock_guard hold{lock_};
        const bool is_last = --record.aliases == 0;
        const std::int64_t at_most = is_last ? record.made - record.freed : 0;
        allot_cache_report report{};
        allot_cache_destroy(record.cache, &report);
        const std::int64_t at_least = is_last ? record.made - record.freeing : 0;
        const auto live = static_cast<std::int64_t>(report.live);
        if (live < at_least || live > at_most)
            fail("a destroyed cache reports %lld objects, there are %lld to %lld", static_cast<long long>(live),
                 static_cast<long long>(at_least), static_cast<long long>(at_most));
        if (report.nr_samples != std::min<std::uint64_t>(report.live, std::size(report.sample)))
            fail("a report of %lld objects has %u samples", static_cast<long long>(live), report.nr_samples);
        for (std::uint32_t i = 0; i < report.nr_samples; ++i)
            if (!allot_owns(report.sample[i]))
                fail("sample %u of a report is no block", i);
    }
    /// The number that an item of this cache carries.
    std::uint32_t number_of(const cache_record& record) const {
        return static_cast<std::uint32_t>(&record - records_) + 1;
    }
    cache_record& at(std::uint32_t number) { return records_[number - 1]; }

  private:
    std::mutex lock_;
    cache_record records_[512];
};
inline cache_registry registry;

/// Where threads find a cache, which is destroyed and made anew under everybody's objects.
class cache_place {
  public:
    void renew(std::mt19937_64& random) {
        const std::unique_lock hold{lock_}; // no allocation may begin after the call
        if (record_ != nullptr)
            registry.destroy(*record_);
        record_ = registry.create(random);
    }
    void clear() {
        if (record_ != nullptr)
            registry.destroy(*std::exchange(record_, nullptr));
    }
    void shrink() {
        const std::shared_lock hold{lock_};
        if (record_ != nullptr)
            allot_cache_shrink(record_->cache);
    }
    item make() {
        const std::shared_lock hold{lock_};
        item out;
        if (record_ == nullptr)
            return out;
        out.block = static_cast<unsigned char*>(allot_cache_alloc(record_->cache));
        if (out.block == nullptr)
            return out;
        ++record_->made;
        out.size = record_->size;
        out.cache = registry.number_of(*record_);
        return out;
    }

  private:
    std::shared_mutex lock_;
    cache_record* record_ = nullptr;
};
inline cache_place caches[4];

/// Frees a block as `free_it` does, and notes it. Context: any, if `free_it` is.
template <class F> void free_item(const item& it, F&& free_it) {
    if (it.cache == 0) {
        free_it(it.block);
        return;
    }
    cache_record& record = registry.at(it.cache);
    ++record.freeing;
    free_it(it.block);
    ++record.freed;
}
inline void free_item(const item& it) { free_item(it, allot_free); }

// --- What handlers do -------------------------------------------------------------------------------------------------------

/// A place whose block any handler may free. Only worker `index % worker_count` fills it.
struct pool_place {
    std::atomic<unsigned char*> block{nullptr};
    item it;
};
inline pool_place pool[pool_size];
/// References that any handler may drop.
inline std::atomic<allot_group*> references[pool_size];
inline std::atomic<std::uint32_t> pool_turn{0};
inline std::atomic<std::int64_t> handler_live{0};
inline std::atomic<std::int64_t> handler_allocations{0};
inline std::atomic<std::uint64_t> signals_handled{0};

/// True if the library counts the block as an allocation of a group.
inline bool is_counted(const void* block) {
    return allot::slab::slab_kind{allot::slab::slab_of(block)->kind} != allot::slab::slab_kind::reserve;
}

/// Frees the block of a pool place, if there is one. Context: any.
inline void empty_place(pool_place& place) {
    static constinit unsigned char mark = 0;
    unsigned char* const claimed = &mark; // keeps the worker from filling the place while its item is read
    unsigned char* block = place.block.load();
    if (block == nullptr || block == claimed || !place.block.compare_exchange_strong(block, claimed))
        return;
    const item it = place.it;
    place.block = nullptr;
    free_item(it);
    --handler_live;
}

inline void handle(int) {
    const int saved = errno;
    const std::uint32_t turn = pool_turn.fetch_add(1);
    if (void* const block = allot_malloc(100)) {
        handler_allocations += is_counted(block) ? 1 : 0;
        std::memset(block, 0x11, 100);
        allot_free(block);
    }
    empty_place(pool[turn % pool_size]);
    allot_group_put(references[turn % pool_size].exchange(nullptr));
    errno = saved;
    ++signals_handled;
}

// --- Blocks that readers look at --------------------------------------------------------------------------------------------

/// A block that is replaced while others read it, and freed after a grace period.
struct published_block {
    std::uint64_t size; ///< of the marks behind it
    unsigned char mark;
    unsigned char marks[];
};

/// Looks twice at a published block within a section of the user: it must be whole.
inline void look_at(const std::atomic<published_block*>& place) {
    allot_rcu_read_lock();
    // Acquire: pairs with the publication in worker.hpp.
    if (const published_block* const seen = place.load(std::memory_order_acquire)) {
        for (int round = 0; round < 2; ++round) {
            for (std::uint64_t i = 0; i < seen->size; ++i)
                if (seen->marks[i] != seen->mark)
                    fail("a reader saw byte %llu of %llu of a block that was freed", static_cast<unsigned long long>(i),
                         static_cast<unsigned long long>(seen->size));
            std::this_thread::yield();
        }
    }
    allot_rcu_read_unlock();
}
/// Only worker `index % worker_count` replaces a block.
inline std::atomic<published_block*> published[worker_count * 4];

// --- Trade ------------------------------------------------------------------------------------------------------------------

struct stall {
    std::mutex lock;
    item it;
};
inline stall market[256];

inline item trade(std::uint64_t where, const item& offered) {
    stall& at = market[where % std::size(market)];
    const std::lock_guard hold{at.lock};
    return std::exchange(at.it, offered);
}

} // namespace torture
