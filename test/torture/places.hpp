// SPDX-License-Identifier: MIT
//
// places: where the threads of torture_groups meet: what handlers free, typed caches, a market.
//
// Concurrency. as each says.
#pragma once

#include "model.hpp"

#include "slab/arena.hpp"

#include <cerrno>
#include <shared_mutex>

namespace torture {

inline constexpr unsigned worker_count = 3;
inline constexpr std::size_t pool_size = 63;

// --- What handlers do -------------------------------------------------------------------------------------------------------

/// A place whose block any handler may free. Only worker `index % worker_count` fills it.
struct pool_place {
    std::atomic<unsigned char*> block{nullptr};
    item it;
};
inline pool_place pool[pool_size];
inline std::atomic<std::uint32_t> pool_turn{0};
inline std::atomic<std::int64_t> handler_live{0};
inline std::atomic<std::int64_t> handler_allocations{0};
inline std::atomic<std::uint64_t> signals_handled{0};

/// True if the library counts the block as an allocation of a group.
inline bool is_counted(const void* block) {
    return allot::slab::slab_kind{allot::slab::slab_of(block)->kind} != allot::slab::slab_kind::reserve;
}

inline void handle(int) {
    const int saved = errno;
    if (void* const block = allot_malloc(100)) {
        handler_allocations += is_counted(block) ? 1 : 0;
        std::memset(block, 0x11, 100);
        allot_free(block);
    }
    if (unsigned char* const taken = pool[pool_turn.fetch_add(1) % pool_size].block.exchange(nullptr)) {
        allot_free(taken);
        --handler_live;
    }
    errno = saved;
    ++signals_handled;
}

// --- Caches -----------------------------------------------------------------------------------------------------------------

/// A typed cache that is destroyed and made anew under everybody's objects.
class cache_place {
  public:
    ~cache_place() { allot_cache_destroy(cache_, nullptr); }
    void renew(std::mt19937_64& random) {
        const std::unique_lock hold{lock_}; // no allocation may begin after the call
        allot_cache_destroy(cache_, nullptr);
        size_ = 24 + random() % 3 * 200;
        const unsigned kinds[] = {0, ALLOT_CACHE_ZERO, ALLOT_CACHE_TYPESAFE_BY_RCU};
        const allot_cache_options options{
            .size = size_, .alignment = 0, .flags = kinds[random() % 3], .constructor = nullptr};
        cache_ = allot_cache_create("torture", &options); // often an alias of another place's
    }
    item make() {
        const std::shared_lock hold{lock_};
        item out;
        if (cache_ != nullptr)
            out.block = static_cast<unsigned char*>(allot_cache_alloc(cache_));
        out.size = out.block != nullptr ? size_ : 0;
        return out;
    }

  private:
    std::shared_mutex lock_;
    allot_cache* cache_ = nullptr;
    std::size_t size_ = 0;
};
inline cache_place caches[4];

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
