// SPDX-License-Identifier: MIT
//
// jemalloc: an arena for each heap, without a thread cache or with one of its own; destroying the arena frees what is live in it.
#pragma once

#include "heap.hpp"

#include <jemalloc/jemalloc.h>

#include <cstdlib>

namespace allot_bench {

enum class thread_cache { none, own };

template <thread_cache Cache> class arena_heap : public plain_heap {
  public:
    static constexpr std::size_t most = 4'086; // 4,094 may exist, and the first of them are those of threads

    explicit arena_heap(const char*) {
        arena_ = number_from("arenas.create");
        flags_ = MALLOCX_ARENA(arena_);
        flags_ |=
            Cache == thread_cache::own ? MALLOCX_TCACHE(cache_ = number_from("tcache.create")) : MALLOCX_TCACHE_NONE;
    }
    void* allocate(std::size_t, std::size_t bytes) { return mallocx(bytes, flags_); }
    void end(std::span<void* const>) {
        static const names destroy{"arena.0.destroy"};
        if constexpr (Cache == thread_cache::own)
            if (mallctl("tcache.destroy", nullptr, nullptr, &cache_, sizeof cache_) != 0)
                std::abort();
        std::size_t place[3] = {destroy.place[0], arena_, destroy.place[2]};
        if (mallctlbymib(place, 3, nullptr, nullptr, nullptr, 0) != 0)
            std::abort();
    }

  private:
    struct names {
        std::size_t place[3] = {};
        explicit names(const char* name) {
            std::size_t length = 3;
            if (mallctlnametomib(name, place, &length) != 0)
                std::abort();
        }
    };
    static unsigned number_from(const char* name) {
        unsigned number = 0;
        std::size_t size = sizeof number;
        if (mallctl(name, &number, &size, nullptr, 0) != 0)
            std::abort();
        return number;
    }

    unsigned arena_ = 0;
    unsigned cache_ = 0;
    int flags_ = 0;
};

struct bare_arena : arena_heap<thread_cache::none> {
    static constexpr const char* name = "jemalloc_arena";
    using arena_heap::arena_heap;
};

struct cached_arena : arena_heap<thread_cache::own> {
    static constexpr const char* name = "jemalloc_arena_tcache";
    using arena_heap::arena_heap;
};

using kinds = kind_list<bare_arena, cached_arena>;

} // namespace allot_bench
