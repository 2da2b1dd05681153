// SPDX-License-Identifier: MIT
//
// reserve: a few blocks for signal handlers that interrupt the allocator.
//
// Idea.        64 cells of 1 KiB and a bitmap: taking and giving back is one atomic operation, in any context. The pages are
//              the root's metadata.
// Concurrency. any thread, Context any.
#include "slab/alloc.hpp"
#include "slab/page_alloc.hpp"

namespace allot::slab {

namespace {

constexpr std::size_t cell_bytes = 1024;
constexpr unsigned order = 4;
constexpr std::uint64_t no_cells = 0;
std::atomic<std::uint64_t> free_cells{no_cells};
slab* cells = nullptr; // constant after init

} // namespace

bool reserve_init() noexcept {
    counter::page_counter* over = nullptr;
    const page_run run = alloc_pages(order);
    if (run.first == nullptr ||
        !counter::try_charge_pages(*root_owner, page_bytes << order, counter::charge_kind::metadata, &over))
        return false;
    cells = run.first;
    set_pages(*cells, std::size_t{1} << order);
    cells->kind = slab_kind::reserve;
    cells->order = order;
    cells->object_bytes = cell_bytes;
    static_assert((page_bytes << order) / cell_bytes == 64);
    free_cells.store(~no_cells, std::memory_order_relaxed); // relaxed: init
    return true;
}

void* reserve_alloc(std::size_t bytes) noexcept {
    std::uint64_t mask = free_cells.load(std::memory_order_relaxed); // relaxed: a guess that the exchange checks
    while (bytes <= cell_bytes && mask != no_cells) {
        const auto cell = static_cast<unsigned>(std::countr_zero(mask));
        // (1) acquire: pairs with (2). Failure is relaxed: it is retried.
        if (free_cells.compare_exchange_weak(mask, mask & (mask - 1), std::memory_order_acquire,
                                             std::memory_order_relaxed))
            return start_of(*cells) + cell * cell_bytes;
    }
    return nullptr;
}

void reserve_free(slab& s, void* block) noexcept {
    const auto cell = static_cast<std::size_t>(static_cast<char*>(block) - start_of(s)) / cell_bytes;
    // (2) release: pairs with (1).
    const std::uint64_t before = free_cells.fetch_or(std::uint64_t{1} << cell, std::memory_order_release);
    if ((before & (std::uint64_t{1} << cell)) != 0)
        base::bug_object("double free", block, "/", "reserve");
}

} // namespace allot::slab
