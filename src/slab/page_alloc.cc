// SPDX-License-Identifier: MIT
//
// page_alloc: the buddy lists and the chunks.
//
// Idea.        See page_alloc.hpp. Free blocks are linked through their descriptors by page index.
// Concurrency. all lists under page_lock; the counts are relaxed atomics so that statistics need no lock.
// Lock order.  page_alloc.
#include "slab/page_alloc.hpp"

#include "platform/memory.hpp"
#include "sync/spinlock.hpp"

#include <bit>

namespace allot::slab {

namespace {

using sync::lock_guard;

constinit sync::spinlock page_lock{sync::lock_rank::page_alloc};
/// Free blocks by order. Clean ones apart from dirty ones: those are used again first, and purge looks for them alone.
struct free_list_heads {
    std::uint32_t clean = 0; // page indices
    std::uint32_t dirty = 0;
    std::uint32_t& of(bool is_dirty) noexcept { return is_dirty ? dirty : clean; }
};
free_list_heads free_lists[chunk_order + 1] ALLOT_GUARDED_BY(page_lock);
std::size_t chunks_committed ALLOT_GUARDED_BY(page_lock) = 0;
// All relaxed: statistics.
std::atomic<std::uint64_t> handed_out{0};
std::atomic<std::uint64_t> committed{0};
std::atomic<std::uint64_t> dirty_pages{0};
/// Dirty pages that should go, count: see note_taken(), which changes it under page_lock. A debt that is repaid meanwhile may be repaid twice.
std::atomic<std::uint64_t> owed_pages{0};
constexpr std::uint64_t owed_most = 256;    // 1 MiB
constexpr std::uint64_t dirty_always = 256; // 1 MiB may lie dirty, wanted or not
/// A time in which as many pages are handed out as were dirty when it began.
struct dirty_window {
    std::uint64_t left = 0;   // pages until its end
    std::uint64_t lowest = 0; // pages that were dirty all the time
};
dirty_window window ALLOT_GUARDED_BY(page_lock);

void count_dirty(const slab& block, bool added) noexcept {
    const std::uint64_t pages = std::uint64_t{1} << block.order;
    if (block.dirty) // relaxed: statistics
        dirty_pages.fetch_add(added ? pages : std::uint64_t{0} - pages, std::memory_order_relaxed);
}

void link_free(slab& block, unsigned order, bool dirty) noexcept ALLOT_REQUIRES(page_lock) {
    block.kind = slab_kind::free_block;
    block.order = static_cast<std::uint8_t>(order);
    block.dirty = dirty;
    count_dirty(block, true);
    const std::uint32_t index = page_index(block);
    std::uint32_t& head = free_lists[order].of(dirty);
    block.prev = 0;
    block.next = head;
    if (head != 0)
        slab_at(head).prev = index;
    head = index;
}

void unlink_free(slab& block) noexcept ALLOT_REQUIRES(page_lock) {
    count_dirty(block, false);
    if (block.prev != 0)
        slab_at(block.prev).next = block.next;
    else
        free_lists[block.order].of(block.dirty) = block.next;
    if (block.next != 0)
        slab_at(block.next).prev = block.prev;
    block.kind = slab_kind::none;
    block.next = block.prev = 0;
}

/// Puts a block on its list, merged with its buddies as far as they are free.
void free_block(std::uint32_t page, unsigned order, bool dirty) noexcept ALLOT_REQUIRES(page_lock) {
    while (order < chunk_order) {
        slab& buddy = slab_at(page ^ (1u << order));
        if (buddy.kind != slab_kind::free_block || buddy.order != order)
            break;
        dirty |= buddy.dirty;
        unlink_free(buddy);
        page &= ~(1u << order);
        ++order;
    }
    link_free(slab_at(page), order, dirty);
}

/// Frees any range of pages as the largest aligned blocks that it consists of.
void free_range(std::size_t page, std::size_t pages, bool dirty) noexcept ALLOT_REQUIRES(page_lock) {
    while (pages != 0) {
        const auto aligned = static_cast<unsigned>(std::countr_zero(page | chunk_pages));
        const auto fits = static_cast<unsigned>(std::bit_width(pages)) - 1;
        const unsigned order = aligned < fits ? aligned : fits;
        free_block(static_cast<std::uint32_t>(page), order, dirty);
        page += std::size_t{1} << order;
        pages -= std::size_t{1} << order;
    }
}

bool commit_more(std::size_t chunks) noexcept ALLOT_REQUIRES(page_lock) {
    if ((chunks_committed + chunks) * chunk_bytes > arena.bytes || !arena_commit_chunks(chunks_committed, chunks))
        return false;
    committed.fetch_add(chunks * chunk_pages, std::memory_order_relaxed); // relaxed: statistics
    const std::size_t first = chunks_committed * chunk_pages;
    chunks_committed += chunks;
    if (first == 0) // page 0 stays out: index 0 means none
        free_range(1, chunks * chunk_pages - 1, false);
    else
        free_range(first, chunks * chunk_pages, false);
    return true;
}

/// The smallest free block of at least this order: a dirty one, if there is any, since a clean one costs memory. Null if there is none.
slab* find_block(unsigned order) noexcept ALLOT_REQUIRES(page_lock) {
    for (const bool dirty : {true, false})
        for (unsigned found = order; found <= chunk_order; ++found)
            if (const std::uint32_t page = free_lists[found].of(dirty); page != 0)
                return &slab_at(page);
    return nullptr;
}

page_run take_block(unsigned order) noexcept ALLOT_REQUIRES(page_lock) {
    slab* const from = find_block(order);
    if (from == nullptr) {
        if (!commit_more(1))
            return {};
        return take_block(order);
    }
    slab& block = *from;
    unsigned found = block.order;
    const bool dirty = block.dirty;
    unlink_free(block);
    while (found > order) {
        --found;
        link_free(slab_at(page_index(block) + (1u << found)), found, dirty);
    }
    return {&block, !dirty};
}

/// First chunk of `count` adjacent chunks that are wholly free, or chunks_committed if there are none.
std::size_t find_free_chunks(std::size_t count) noexcept ALLOT_REQUIRES(page_lock) {
    std::size_t run = 0;
    for (std::size_t chunk = 1; chunk < chunks_committed; ++chunk) {
        const slab& first = slab_at(static_cast<std::uint32_t>(chunk * chunk_pages));
        run = first.kind == slab_kind::free_block && first.order == chunk_order ? run + 1 : 0;
        if (run == count)
            return chunk + 1 - count;
    }
    return chunks_committed;
}

/// Free chunks at the end of the committed part, count; new ones continue them.
std::size_t free_chunks_at_end() noexcept ALLOT_REQUIRES(page_lock) {
    std::size_t count = 0;
    while (chunks_committed - count > 1) {
        const slab& first = slab_at(static_cast<std::uint32_t>((chunks_committed - count - 1) * chunk_pages));
        if (first.kind != slab_kind::free_block || first.order != chunk_order)
            break;
        ++count;
    }
    return count;
}

page_run take_chunks(std::size_t count) noexcept ALLOT_REQUIRES(page_lock) {
    std::size_t chunk = find_free_chunks(count);
    if (chunk == chunks_committed) {
        if (chunks_committed == 0 && !commit_more(1)) // chunk 0 lacks its first page
            return {};
        const std::size_t at_end = free_chunks_at_end();
        chunk = chunks_committed - at_end;
        if (!commit_more(count - at_end))
            return {};
    }
    page_run run{&slab_at(static_cast<std::uint32_t>(chunk * chunk_pages)), true};
    for (std::size_t i = 0; i < count; ++i) {
        slab& block = slab_at(static_cast<std::uint32_t>((chunk + i) * chunk_pages));
        run.zeroed = run.zeroed && !block.dirty;
        unlink_free(block);
    }
    return run;
}

/// Counts what was handed out, and what should go to the system for it. Memory without contents becomes resident now: as much of the
/// dirty should go. And what was dirty all the while as much was handed out is not wanted: all but a little should go.
void note_taken(const page_run& run, std::uint64_t pages) noexcept ALLOT_REQUIRES(page_lock) {
    handed_out.fetch_add(pages, std::memory_order_relaxed); // relaxed: statistics
    // relaxed, all: under the lock
    const std::uint64_t dirty = dirty_pages.load(std::memory_order_relaxed);
    std::uint64_t owed = owed_pages.load(std::memory_order_relaxed) + (run.zeroed ? pages : 0);
    window.lowest = window.lowest < dirty ? window.lowest : dirty;
    window.left -= pages < window.left ? pages : window.left;
    if (window.left == 0) {
        const std::uint64_t idle = window.lowest > dirty_always ? window.lowest - dirty_always : 0;
        owed = owed > idle ? owed : idle;
        window = {dirty > dirty_always ? dirty : dirty_always, dirty};
    }
    owed_pages.store(owed < dirty ? owed : dirty, std::memory_order_relaxed);
}

/// Takes one free block that is dirty and at least of `order_min` off its list, or null.
slab* take_dirty(unsigned order_min) noexcept {
    lock_guard hold(page_lock);
    for (unsigned order = chunk_order + 1; order-- > order_min;)
        if (const std::uint32_t page = free_lists[order].dirty; page != 0) {
            unlink_free(slab_at(page));
            return &slab_at(page);
        }
    return nullptr;
}

/// Gives back the descriptors of a whole chunk that is off its list, but for the page with those of its first pages. All zero
/// says the same as they did: no first page of anything. Returns bytes.
std::uint64_t discard_descriptors(const slab& first) noexcept {
    static_assert(static_cast<int>(slab_kind::none) == 0);
    constexpr std::size_t kept = page_bytes / sizeof(slab); // descriptors
    const std::size_t page = page_index(first);
    struct part {
        void* begin;
        std::size_t bytes;
    };
    const part parts[] = {{&arena.slabs[page + kept], (chunk_pages - kept) * sizeof(slab)},
                          {&arena.remotes[page], chunk_pages * sizeof(slab_remote)},
                          {&arena.tags[page], chunk_pages * sizeof(page_tag)},
                          {&arena.heads[page], chunk_pages * sizeof(std::uint32_t)}};
    std::uint64_t bytes = 0;
    for (const part& each : parts)
        bytes += platform::discard(each.begin, each.bytes) ? each.bytes : 0;
    return bytes;
}

} // namespace

page_run alloc_pages(unsigned order) noexcept {
    lock_guard hold(page_lock);
    const page_run run = take_block(order);
    if (run.first != nullptr)
        note_taken(run, std::uint64_t{1} << order);
    return run;
}

page_run alloc_run(std::size_t pages, std::size_t alignment_pages) noexcept {
    const std::size_t wanted = pages > alignment_pages ? pages : alignment_pages;
    if (wanted > arena.bytes / page_bytes)
        return {};
    lock_guard hold(page_lock);
    page_run run;
    std::size_t taken = std::bit_ceil(wanted);
    std::size_t skip = 0;
    if (taken <= chunk_pages) {
        run = take_block(static_cast<unsigned>(std::countr_zero(taken)));
    } else {
        // Whole chunks; an alignment above a chunk takes so many more that an aligned run is among them.
        const std::size_t extra = alignment_pages > chunk_pages ? alignment_pages : 0;
        taken = round_up(pages + extra, chunk_pages);
        run = take_chunks(taken / chunk_pages);
        if (run.first != nullptr && extra != 0) {
            const auto address = reinterpret_cast<std::uintptr_t>(start_of(*run.first));
            skip = (round_up(address, alignment_pages * page_bytes) - address) / page_bytes;
        }
    }
    if (run.first == nullptr)
        return run;
    const std::size_t page = page_index(*run.first);
    free_range(page, skip, !run.zeroed);
    free_range(page + skip + pages, taken - skip - pages, !run.zeroed);
    run.first = &slab_at(static_cast<std::uint32_t>(page + skip));
    note_taken(run, pages);
    return run;
}

bool extend_run(slab& first, std::size_t had, std::size_t pages) noexcept {
    const std::size_t begin = page_index(first) + had;
    lock_guard hold(page_lock);
    if (pages > chunks_committed * chunk_pages - page_index(first))
        return false;
    const std::size_t end = page_index(first) + pages;
    // What follows a run is the first page of a free block, or is not free.
    bool zeroed = true;
    std::size_t page = begin;
    while (page < end) {
        const slab& block = slab_at(static_cast<std::uint32_t>(page));
        if (block.kind != slab_kind::free_block)
            return false;
        zeroed = zeroed && !block.dirty;
        page += std::size_t{1} << block.order;
    }
    for (std::size_t next = begin; next < page;) {
        slab& block = slab_at(static_cast<std::uint32_t>(next));
        next += std::size_t{1} << block.order;
        unlink_free(block);
    }
    free_range(end, page - end, !zeroed);
    note_taken({&first, zeroed}, pages - had);
    return true;
}

void free_pages(slab& first, std::size_t pages) noexcept {
    lock_guard hold(page_lock);
    free_range(page_index(first), pages, true);
    handed_out.fetch_sub(pages, std::memory_order_relaxed); // relaxed: statistics
}

page_run alloc_pages(page_stash& stash, unsigned order) noexcept {
    if (stash.count[order] == 0)
        return alloc_pages(order);
    handed_out.fetch_add(std::uint64_t{1} << order, std::memory_order_relaxed); // relaxed: statistics
    return {&slab_at(stash.block[order][--stash.count[order]]), false};
}

void free_pages(page_stash& stash, slab& first, unsigned order) noexcept {
    const std::size_t pages = std::size_t{1} << order;
    if (stash.count[order] == page_stash::room) {
        free_pages(first, pages);
        return;
    }
    handed_out.fetch_sub(pages, std::memory_order_relaxed); // relaxed: statistics
    stash.block[order][stash.count[order]++] = page_index(first);
}

void drain_stash(page_stash& stash) noexcept {
    lock_guard hold(page_lock);
    for (unsigned order = 0; order < page_stash::order_count; ++order)
        while (stash.count[order] != 0)
            free_block(stash.block[order][--stash.count[order]], order, true);
}

std::uint64_t purge_pages(unsigned order_min, std::uint64_t bytes_most) noexcept {
    std::uint64_t bytes = 0;
    platform::errno_guard keep;
    while (bytes < bytes_most) {
        slab* const block = take_dirty(order_min);
        if (block == nullptr)
            break;
        // Off the list, the block is this thread's; its order is still in the descriptor.
        const unsigned order = block->order;
        const bool dropped = platform::discard(start_of(*block), page_bytes << order);
        bytes += dropped ? page_bytes << order : 0;
        if (dropped && order == chunk_order && bytes_most == all_bytes)
            bytes += discard_descriptors(*block);
        lock_guard hold(page_lock);
        free_block(page_index(*block), order, !dropped);
        if (!dropped)
            break;
    }
    return bytes;
}

bool pages_are_owed() noexcept {
    return owed_pages.load(std::memory_order_relaxed) >= owed_most; // relaxed: a hint
}

std::uint64_t repay_pages() noexcept {
    // relaxed: who comes second finds nothing to do
    return purge_pages(0, owed_pages.exchange(0, std::memory_order_relaxed) * page_bytes);
}

std::uint64_t pages_handed_out() noexcept { return handed_out.load(std::memory_order_relaxed); } // relaxed: statistics
std::uint64_t pages_committed() noexcept { return committed.load(std::memory_order_relaxed); }   // relaxed: statistics
std::uint64_t pages_dirty() noexcept { return dirty_pages.load(std::memory_order_relaxed); }     // relaxed: statistics

} // namespace allot::slab
