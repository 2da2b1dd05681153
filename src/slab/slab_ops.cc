// SPDX-License-Identifier: MIT
//
// slab_ops: the places of a slab and the moves between them.
//
// Idea.        See slab_ops.hpp.
// Concurrency. holder only.
// Lock order.  slot > node > page_alloc.
#include "slab/slab_ops.hpp"

#include "slab/cold.hpp"
#include "slab/discard.hpp"

#include <cstring>

namespace allot::slab {

namespace {

using sync::lock_guard;

/// Bytes of empty slabs that a heap may keep, once it has given back what it wanted again; doubled each time that this happens.
constexpr std::uint32_t keep_first = 1u << 16;
constexpr std::uint32_t keep_most = 1u << 26;

void release_kept(heap& h, std::uint32_t but) noexcept;

slab* new_slab(heap& h, kmem_cache& cache, shortage* why) noexcept {
    want_trim();
    heaps_of(*h.slot).trimmed.store(false, std::memory_order_relaxed); // relaxed: a hint
    if (h.gave_back) {
        // What it gives back it wants again: it may keep more the next time.
        h.gave_back = false;
        if (h.keep_max == keep_most)
            release_kept(h, cache.shape.index); // others have had their time
        h.keep_max = h.keep_max < keep_first ? keep_first : h.keep_max < keep_most ? 2 * h.keep_max : keep_most;
    }
    if (cache.shape.pages != 0)
        release_large_idle(h, cache.shape.index, cache.shape.object_bytes);
    const std::size_t least = pages_min(cache);
    for (std::size_t pages = pages_for(cache);; pages = least) {
        slab* const s = new_slab_of(h, cache, pages, why);
        if (s != nullptr || pages == least)
            return s;
    }
}

} // namespace

/// A reader of a typesafe_by_rcu cache may still look at an object: then the slab waits for a grace period first.
void release_slab(sync::thread_slot& slot, slab& s) noexcept {
    ALLOT_ASSERT(s.place == slab_place::none && s.empty() && !s.kept);
    kmem_cache& cache = *s.cache;
    // It is nobody's from here on: who has freed its last block inside a section asks only afterwards whose it is (retire_emptied in
    // free.cc), and by then it may be in use elsewhere. Relaxed: the slot's lock orders it for the threads of the slot.
    remote_of(s).word.store(0, std::memory_order_relaxed);
    if ((cache.shape.flags & cache_typesafe_by_rcu) == 0) {
        give_back_slab(slot, s);
        return;
    }
    sync::rcu_guard section; // until the work is queued: a run of it that takes the slab now could let the cache go
    push_queue(cache.grace_new, s);
    enqueue_grace_work(cache);
}

namespace {

bool is_queued(const slab& s) noexcept {
    // (4) acquire: pairs with remote.hpp(2): who sees it cleared sees what the clearer did.
    return (remote_of(s).word.load(std::memory_order_acquire) & remote_queued) != 0;
}

void unfreeze_home(slab& s) noexcept {
    --s.home->nr_slabs;
    s.home = nullptr;
}

void queue_partial(heap& h, slab& s) noexcept {
    s.place = slab_place::heap_partial;
    link_back(h.partial[s.cache->shape.index], s);
}

void release_queued(heap& h, slab& s) noexcept {
    unqueue(h, s);
    unfreeze_home(s);
    release_slab(*h.slot, s);
}

/// Gives back the empty slabs that the heap keeps, of all caches but one. Slot held and closed.
void release_kept(heap& h, std::uint32_t but) noexcept {
    for (std::uint32_t i = 0; i < h.capacity; ++i) {
        slab* following = nullptr;
        for (slab* s = i != but ? first_in(h.partial[i]) : nullptr; s != nullptr; s = following) {
            following = next_in(h.partial[i], *s);
            if (s->kept && s->empty() && !is_queued(*s))
                release_queued(h, *s);
        }
    }
}

/// Releases an empty frozen slab that is in its heap's queue, unless the heap may keep it.
void retire(slab& s) noexcept {
    heap& h = *s.home;
    if (is_queued(s) || keep_empty(s))
        return;
    h.gave_back = true;
    release_queued(h, s);
}

/// A slab that is on no list becomes the one that the next blocks come from.
void queue_first(heap& h, slab& s) noexcept {
    s.place = slab_place::heap_partial;
    link_front(h.partial[s.cache->shape.index], s);
}

/// The first slab of the queue has no block: moves it to the full list, unless blocks came back meanwhile. From now on others who free
/// its blocks say so, also when it is in the queue again: to change the bit each time costs more than what it would save.
void make_full(heap& h, slab& s) noexcept {
    collect(s, 0, remote_notify);
    if (s.free_list != 0)
        return;
    unqueue(h, s);
    s.place = slab_place::heap_full;
    link_front(h.full, s);
}

slab* adopt(heap& h, kmem_cache& cache) noexcept {
    lock_guard hold(cache.node.lock);
    if (cache.node.partial == 0)
        return nullptr;
    slab& s = slab_at(cache.node.partial);
    unlink(cache.node.partial, s);
    s.place = slab_place::none;
    s.home = &h;
    ++h.nr_slabs;
    collect(s, remote_notify | ~std::uint64_t{0} << remote_slot_shift,
            remote_frozen | std::uint64_t{h.slot->index} << remote_slot_shift);
    return &s;
}

bool has_free_block(slab& s) noexcept {
    if (s.free_list == 0)
        collect(s);
    return s.free_list != 0 || carve(s) || sweep_dry(s);
}

} // namespace

void link_to_node(kmem_cache& cache, slab& s) noexcept ALLOT_REQUIRES(cache.node.lock) {
    const bool has_free = s.free_list != 0 || s.carved < s.capacity;
    s.place = has_free ? slab_place::node_partial : slab_place::node_full;
    link_front(has_free ? cache.node.partial : cache.node.full, s);
}

void unlink_from_node(kmem_cache& cache, slab& s) noexcept ALLOT_REQUIRES(cache.node.lock) {
    unlink(s.place == slab_place::node_partial ? cache.node.partial : cache.node.full, s);
    s.place = slab_place::none;
}

namespace {

/// The first slab of the queue that has a free block, or null.
slab* first_with_block(heap& h, std::uint32_t index) noexcept {
    while (h.partial[index] != 0) {
        slab& s = slab_at(h.partial[index]);
        if (has_free_block(s))
            return &s;
        make_full(h, s);
    }
    return nullptr;
}

/// A queued slab that this slot holds.
void process_own(slab& s) noexcept {
    collect(s, remote_queued, 0);
    if (s.place == slab_place::heap_full && s.free_list != 0)
        make_partial(s);
    if (s.place == slab_place::heap_partial && s.empty())
        retire(s);
}

} // namespace

/// The slab is not one of the empty ones that the heap keeps, or not any more.
static void stop_keeping(heap& h, slab& s) noexcept {
    if (s.kept)
        h.kept -= static_cast<std::uint32_t>(slab_bytes(s));
    s.kept = false;
}

void unqueue(heap& h, slab& s) noexcept {
    unlink(h.partial[s.cache->shape.index], s);
    s.place = slab_place::none;
    stop_keeping(h, s);
}

void unlink(std::uint32_t& head, slab& s) noexcept {
    if (s.next == page_index(s)) {
        head = 0;
    } else {
        slab_at(s.prev).next = s.next;
        slab_at(s.next).prev = s.prev;
        if (head == page_index(s))
            head = s.next;
    }
    s.next = s.prev = 0;
}

void link_back(std::uint32_t& head, slab& s) noexcept {
    const std::uint32_t index = page_index(s);
    if (head == 0) {
        s.next = s.prev = head = index;
        return;
    }
    slab& first = slab_at(head);
    s.prev = first.prev;
    s.next = head;
    slab_at(first.prev).next = index;
    first.prev = index;
}

void link_front(std::uint32_t& head, slab& s) noexcept {
    link_back(head, s);
    head = page_index(s);
}

void collect(slab& s, std::uint64_t clear, std::uint64_t set) noexcept {
    // relaxed: a list that is empty now may be left for later, unless bits have to change. (The exchange would also wait for
    // the stores to blocks that are still on their way to memory.)
    std::uint64_t word = remote_of(s).word.load(std::memory_order_relaxed);
    if ((word & (remote_head_mask | clear)) == 0 && (word & set) == set)
        return;
    word = take_remote(s, clear, set);
    const cache_shape& shape = s.cache->shape;
    char* const start = start_of(s);
    free_word list = s.free_list;
    remote_link link{static_cast<std::uint16_t>(word & remote_head_mask), 0};
    while (link.next != 0) {
        char* const block = block_at(start, link.next);
        std::memcpy(&link, &link_of(shape, block), sizeof link);
        if (link.ahead != 0)
            __builtin_prefetch(block_at(start, link.ahead), 1);
        if (s.capacity != 1) // see behind_first
            link_of(shape, block) = list;
        list = in_front(block, list);
    }
    s.free_list = list;
}

bool carve(slab& s) noexcept {
    // Two pages at a time, but some blocks: enough to stay on the fast path, and memory that is not needed stays untouched.
    constexpr std::uint32_t batch_bytes = 2 * page_bytes;
    constexpr std::uint32_t batch_blocks_min = 4;
    constexpr std::uint32_t batch_blocks_max = 64;
    std::uint32_t count = batch_bytes / s.object_bytes;
    count = count < batch_blocks_min ? batch_blocks_min : count;
    count = count > batch_blocks_max ? batch_blocks_max : count;
    const auto left = static_cast<std::uint32_t>(s.capacity - s.carved);
    count = count < left ? count : left;
    for (std::uint32_t i = count; i-- != 0;)
        push(s, start_of(s) + (std::size_t{s.carved} + i) * s.object_bytes);
    s.carved = static_cast<std::uint16_t>(s.carved + count);
    return count != 0;
}

void* pop(slab& s) noexcept {
    void* const block = first_free(s.free_list);
    s.free_list = behind_first(s, s.free_list);
    return block;
}

void push(slab& s, void* block) noexcept {
    if (s.capacity != 1) // see behind_first
        link_of(s.cache->shape, block) = s.free_list;
    s.free_list = in_front(block, s.free_list);
}

slab* block_source(heap& h, std::uint32_t index) noexcept {
    slab* const s = first_with_block(h, index);
    if (s != nullptr)
        stop_keeping(h, *s);
    return s;
}

void* next_block(heap& h, std::uint32_t index) noexcept {
    bin& b = h.bins[index];
    if (b.free != 0)
        return take_from(b);
    slab* const s = block_source(h, index);
    if (s == nullptr)
        return nullptr;
    if (b.tag == no_bin_tag || s->capacity == 1)
        return pop(*s);
    const free_word blocks = s->free_list;
    s->free_list = 0;
    if (s->carved == s->capacity)
        make_full(h, *s);
    fill(b, blocks);
    return take_from(b);
}

bool provide(heap& h, kmem_cache& cache, shortage* why) noexcept {
    const std::uint32_t index = cache.shape.index;
    if (block_source(h, index) != nullptr ||
        (sweep_some_full(h, index, full_slabs_at_once) && block_source(h, index) != nullptr))
        return true;
    slab* s = adopt(h, cache);
    if (s == nullptr)
        s = new_slab(h, cache, why);
    if (s == nullptr)
        return false;
    queue_first(h, *s);
    return true;
}

void* refill(heap& h, kmem_cache& cache, shortage* why) noexcept {
    const std::uint32_t index = cache.shape.index;
    if (h.bins[index].free == 0 && !provide(h, cache, why))
        return nullptr;
    void* const block = next_block(h, index);
    ALLOT_ASSERT(block != nullptr);
    return block;
}

void park(slab& s) noexcept {
    kmem_cache& cache = *s.cache;
    sync::thread_slot& slot = *s.home->slot;
    s.place = slab_place::none;
    unfreeze_home(s);
    {
        lock_guard hold(cache.node.lock);
        collect(s, remote_frozen | ~std::uint64_t{0} << remote_slot_shift, remote_notify);
        if (!s.empty() || is_queued(s)) {
            link_to_node(cache, s);
            return;
        }
    }
    release_slab(slot, s);
}

void make_partial(slab& s) noexcept {
    heap& h = *s.home;
    unlink(h.full, s);
    queue_partial(h, s);
}

void after_local_free(slab& s) noexcept {
    if (s.place == slab_place::heap_full)
        make_partial(s);
    if (s.place == slab_place::heap_partial && s.empty())
        retire(s);
}

bool keep_empty(slab& s) noexcept {
    heap& h = *s.home;
    if (h.dropped || is_queued(s))
        return false;
    const auto bytes = static_cast<std::uint32_t>(slab_bytes(s));
    const bool only_one = s.next == page_index(s) && bytes <= keep_first;
    if (only_one || s.kept)
        return true;
    if (h.kept + bytes > h.keep_max)
        return false;
    s.kept = true;
    h.kept += bytes;
    return true;
}

void trim(heap& h) noexcept {
    h.keep_max /= 2;
    flush_cold(h);
    for (std::uint32_t i = 0; h.partial != nullptr && i < h.capacity; ++i) {
        flush(h, i, 0);
        shrink_bin(h, i);
        slab* following = nullptr;
        for (slab* s = first_in(h.partial[i]); s != nullptr; s = following) {
            following = next_in(h.partial[i], *s);
            collect(*s);
            if (s->empty() && !is_queued(*s))
                release_queued(h, *s);
        }
    }
}

/// Gives back `wanted` empty slabs of the cache with `index`, one block each, or as many as the heap has. Returns bytes.
static std::size_t release_idle_of(heap& h, std::uint32_t index, std::size_t wanted) noexcept {
    const std::uint32_t had = h.nr_slabs;
    const auto release_queue = [&]() noexcept {
        slab* following = nullptr;
        for (slab* s = first_in(h.partial[index]); s != nullptr && had - h.nr_slabs < wanted; s = following) {
            following = next_in(h.partial[index], *s);
            if (s->empty() && !is_queued(*s))
                release_queued(h, *s);
        }
    };
    release_queue();
    if (const std::size_t more = wanted - (had - h.nr_slabs); more != 0) {
        const std::uint32_t count = free_count(h.bins[index].free);
        flush(h, index, count > more ? count - static_cast<std::uint32_t>(more) : 0);
        release_queue();
    }
    return (had - h.nr_slabs) * class_bytes(index);
}

void release_large_idle(heap& h, std::uint32_t but, std::size_t bytes) noexcept {
    constexpr std::uint32_t first = detail::reference_class(several_max_bytes + 1);
    constexpr std::uint32_t kinds = kmalloc_class_count - first;
    if (h.partial == nullptr || but < first)
        return;
    but = but < kmalloc_class_count ? but : kmalloc_class_count;
    const bool gave_back = h.gave_back;
    for (std::uint32_t step = 1; step <= kinds && bytes != 0; ++step) {
        const std::uint32_t index = first + (but - first + kinds - step) % kinds;
        if (index == but)
            continue;
        const std::size_t released = release_idle_of(h, index, (bytes + class_bytes(index) - 1) / class_bytes(index));
        bytes -= released < bytes ? released : bytes;
    }
    h.gave_back = gave_back; // this says nothing of what is wanted again
}

void process_queued(sync::thread_slot& slot, slab& s) noexcept {
    kmem_cache& cache = *s.cache;
    {
        lock_guard hold(cache.node.lock);
        // (5) acquire: pairs with remote.hpp(1). Stable but for the list: frozen and slot change under the node lock.
        const std::uint64_t word = remote_of(s).word.load(std::memory_order_acquire);
        if ((word & remote_frozen) == 0) {
            collect(s, remote_queued, 0);
            unlink_from_node(cache, s);
            if (!s.empty()) {
                link_to_node(cache, s);
                return;
            }
        } else if (remote_slot(word) != slot.index) {
            queue_for_slot(remote_slot(word), s);
            return;
        }
    }
    if (s.home == nullptr)
        release_slab(slot, s);
    else
        process_own(s);
}

void drain_queue(sync::thread_slot& slot) noexcept {
    auto& queue = heaps_of(slot).queue;
    // (10) seq_cst: pairs with (7), for a thread that is going: free.cc(1) says why. Costs nothing more on x86.
    if (queue.load(std::memory_order_seq_cst) == nullptr)
        return;
    // (6) acquire: pairs with (7).
    slab_remote* item = queue.exchange(nullptr, std::memory_order_acquire);
    while (item != nullptr) {
        // relaxed: the queue's exchange ordered it; read before the slab may be queued again.
        slab_remote* const following = item->queue_next.load(std::memory_order_relaxed);
        process_queued(slot, slab_of_remote(*item));
        item = following;
    }
}

void push_queue(std::atomic<slab_remote*>& queue, slab& s) noexcept {
    slab_remote& item = remote_of(s);
    slab_remote* head = queue.load(std::memory_order_relaxed); // relaxed: a guess that the exchange checks
    do
        item.queue_next.store(head, std::memory_order_relaxed); // relaxed: the exchange publishes it
    // (7) seq_cst: pairs with (6), (10), (11), free.cc(3); seq_cst because the pusher then looks whether the slot's thread is gone. Failure relaxed.
    while (!queue.compare_exchange_weak(head, &item, std::memory_order_seq_cst, std::memory_order_relaxed));
}

void release_after_grace_period(sync::work& item) noexcept {
    kmem_cache& cache = base::container_of(item, &kmem_cache::grace_work);
    slab_remote* over = cache.grace_waiting;
    // What came while this grace period was under way has to wait for one of its own.
    // (11) acquire: pairs with (7).
    cache.grace_waiting = cache.grace_new.exchange(nullptr, std::memory_order_acquire);
    if (cache.grace_waiting != nullptr)
        enqueue_grace_work(cache);
    {
        sync::thread_slot& orphan = sync::slot_at(orphan_index);
        sync::lock_guard hold(orphan.lock);
        while (over != nullptr) {
            slab_remote* const following = over->queue_next.load(std::memory_order_relaxed); // relaxed: ordered by (11)
            give_back_slab(orphan, slab_of_remote(*over));
            over = following;
        }
    }
    // The last slab may have queued the cache's release, which runs after this.
    cache.root->gate.finished();
}

} // namespace allot::slab
