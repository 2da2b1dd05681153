// SPDX-License-Identifier: MIT
//
// cache_lifecycle: root caches by index, children by (owner, index).
//
// Idea.        See cache_lifecycle.hpp. The kmalloc caches and the root group's children of them are static; all others come
//              from metadata.
// Concurrency. the caches lock guards the table and the lists; the executor is the only one that makes and releases children.
// Lock order.  caches.
#include "slab/cache_lifecycle.hpp"

#include "slab/metadata.hpp"
#include "slab/slab_ops.hpp"

#include <cerrno>
#include <cstring>
#include <new>

namespace allot::slab {

constinit owner_hooks hooks{};
cache_owner* root_owner = nullptr;

namespace {

using sync::lock_guard;

constinit sync::spinlock table_lock{sync::lock_rank::caches};
constinit std::atomic<kmem_cache*> table[cache_count_max]{};
/// Made at init, which may come before the constructors of this file would run.
alignas(kmem_cache) char kmalloc_memory[2 * kmalloc_class_count * sizeof(kmem_cache)];

constexpr std::uint32_t small_array_capacity = 63; // 8 + 63 * 8 bytes = 512

std::size_t array_bytes(std::uint32_t capacity) noexcept {
    return sizeof(cache_array) + capacity * sizeof(std::atomic<kmem_cache*>);
}

struct retired_array {
    sync::work work;
    std::size_t bytes;
};

/// Frees a retired array and the node, which was allocated with it.
void free_retired(sync::work& item) noexcept {
    auto& retired = reinterpret_cast<retired_array&>(item);
    void* const array = *reinterpret_cast<void**>(&retired + 1);
    const std::size_t bytes = retired.bytes;
    metadata_free(&retired, sizeof(retired_array) + sizeof(void*));
    metadata_free(array, bytes);
}

bool retire_array(cache_array* array) noexcept {
    auto* retired = static_cast<retired_array*>(metadata_alloc(sizeof(retired_array) + sizeof(void*), nullptr));
    if (retired == nullptr)
        return false;
    new (retired) retired_array{sync::work(free_retired), array_bytes(array->capacity)};
    *reinterpret_cast<void**>(retired + 1) = array;
    sync::call_rcu(retired->work);
    return true;
}

/// Gives the owner's array room for `index`. Executor, or init.
bool grow_array(cache_owner& owner, std::uint32_t index) noexcept {
    cache_array* const old = owner.caches.load(std::memory_order_relaxed); // relaxed: only the executor writes it
    if (old != nullptr && index < old->capacity)
        return true;
    const std::uint32_t capacity = index < small_array_capacity ? small_array_capacity : cache_count_max;
    auto* fresh = static_cast<cache_array*>(metadata_alloc(array_bytes(capacity), nullptr));
    if (fresh == nullptr)
        return false;
    fresh->capacity = capacity;
    for (std::uint32_t i = 0; old != nullptr && i < old->capacity; ++i) // relaxed: published as a whole below
        fresh->entry[i].store(old->entry[i].load(std::memory_order_relaxed), std::memory_order_relaxed);
    if (old != nullptr && !retire_array(old)) {
        metadata_free(fresh, array_bytes(capacity));
        return false;
    }
    // (1) release: pairs with kmem_cache.hpp(1).
    owner.caches.store(fresh, std::memory_order_release);
    return true;
}

void copy_name(kmem_cache& cache, const char* name) noexcept {
    std::size_t length = 0;
    while (length + 1 < cache_name_bytes && name[length] != '\0')
        ++length;
    std::memcpy(cache.name, name, length);
    cache.name[length] = '\0';
}

void release_root(kmem_cache& root) noexcept {
    {
        lock_guard hold(table_lock);
        root.root_link.unlink();
        // relaxed: the index is free for the next cache; nobody looks a dying cache up.
        table[root.shape.index].store(nullptr, std::memory_order_relaxed);
    }
    metadata_free(&root, sizeof root);
}

void put_root(kmem_cache& root) noexcept {
    // (3) acq_rel: pairs with slab_ops.cc(3): the last put comes after everybody's use.
    if (root.refs.fetch_sub(1, std::memory_order_acq_rel) == 1)
        release_root(root);
}

/// The last slab of a killed cache is gone. Executor.
void release_cache(sync::work& item) noexcept {
    kmem_cache& cache = base::container_of(item, &kmem_cache::release_work);
    if (cache.is_root()) {
        release_root(cache);
        return;
    }
    hooks.cache_released(cache);
    kmem_cache& root = *cache.root;
    {
        lock_guard hold(table_lock);
        cache.root_link.unlink();
    }
    metadata_free(&cache, sizeof cache);
    put_root(root);
}

void init_child(kmem_cache& child, kmem_cache& root, cache_owner& owner) noexcept {
    child.shape = root.shape;
    child.root = &root;
    child.release_work.run = release_cache;
    child.grace_work.run = release_after_grace_period;
    child.payer.store(&owner, std::memory_order_relaxed); // relaxed: published with the entry
    std::memcpy(child.name, root.name, cache_name_bytes);
    root.refs.fetch_add(1, std::memory_order_relaxed); // relaxed: the caller knows the root cache alive
}

void publish(cache_owner& owner, kmem_cache& child) noexcept {
    // relaxed: only the executor writes the array.
    cache_array* const array = owner.caches.load(std::memory_order_relaxed);
    // (2) release: pairs with kmem_cache.hpp(2). The last step of creation.
    array->entry[child.shape.index].store(&child, std::memory_order_release);
}

/// Makes the child of `owner` for the root cache with `index`. False when it cannot be had now.
bool create_child(cache_owner& owner, std::uint32_t index) noexcept {
    kmem_cache* const root = root_cache_at(index);
    // relaxed: destroying drains this executor after it set the flag.
    if (root == nullptr || root->dying.load(std::memory_order_relaxed) || child_of(owner, index) != nullptr)
        return true;
    if (!grow_array(owner, index))
        return false;
    auto* child = metadata_new<kmem_cache>(nullptr);
    if (child == nullptr)
        return false;
    init_child(*child, *root, owner);
    {
        lock_guard hold(table_lock);
        root->children.push_back(*child);
    }
    if (hooks.cache_created(*child, owner)) {
        publish(owner, *child);
        return true;
    }
    {
        lock_guard hold(table_lock);
        child->root_link.unlink();
    }
    metadata_free(child, sizeof *child);
    put_root(*root);
    return true;
}

unsigned order_min_for(std::uint32_t object_bytes) noexcept {
    constexpr std::uint32_t objects_min = 4;
    unsigned order = 0;
    while (order < slab_order_max && (page_bytes << order) / object_bytes < objects_min &&
           (page_bytes << order) < 2 * std::size_t{kmalloc_max_bytes})
        ++order;
    return order;
}

void complete_shape(cache_shape& shape, std::size_t alignment) noexcept {
    const bool keeps_content = shape.constructor != nullptr || (shape.flags & cache_typesafe_by_rcu) != 0;
    std::uint64_t bytes = shape.user_bytes;
    shape.link_offset = 0;
    if (keeps_content) {
        bytes = round_up(bytes, sizeof(void*));
        shape.link_offset = static_cast<std::uint32_t>(bytes);
        bytes += sizeof(void*);
    }
    bytes = round_up(bytes < sizeof(void*) ? sizeof(void*) : bytes, alignment);
    shape.object_bytes = static_cast<std::uint32_t>(bytes);
    shape.reciprocal = ((std::uint64_t{1} << 32) + bytes - 1) / bytes;
    shape.order_min = static_cast<std::uint8_t>(order_min_for(shape.object_bytes));
}

bool same_shape(const kmem_cache& cache, const cache_shape& shape, const char* name) noexcept {
    return cache.shape.object_bytes == shape.object_bytes && cache.shape.user_bytes == shape.user_bytes &&
           cache.shape.flags == shape.flags && cache.shape.constructor == shape.constructor &&
           std::strncmp(cache.name, name, cache_name_bytes - 1) == 0;
}

/// An equal cache that is not dying, or a free index in `*index`.
kmem_cache* find_alias(const cache_shape& shape, const char* name, std::uint32_t* index) noexcept
    ALLOT_REQUIRES(table_lock) {
    *index = cache_count_max;
    for (std::uint32_t i = kmalloc_class_count; i < cache_count_max; ++i) {
        kmem_cache* const cache = table[i].load(std::memory_order_relaxed); // relaxed: lock held
        if (cache == nullptr)
            *index = i < *index ? i : *index;
        else if (!cache->dying.load(std::memory_order_relaxed) && same_shape(*cache, shape, name)) // relaxed: lock held
            return cache;
    }
    return nullptr;
}

void init_root(kmem_cache& cache, const cache_shape& shape, const char* name) noexcept {
    cache.shape = shape;
    cache.root = &cache;
    cache.release_work.run = release_cache;
    cache.grace_work.run = release_after_grace_period;
    cache.payer.store(root_owner, std::memory_order_relaxed); // relaxed: published with the table
    copy_name(cache, name);
}

struct creation {
    const char* name;
    cache_shape shape;
    kmem_cache* result;
};

/// Puts a fresh cache into the table. Null if an equal one serves (`*alias`), or there is no room.
kmem_cache* enter_root(creation& job, kmem_cache** alias) noexcept {
    lock_guard hold(table_lock);
    *alias = find_alias(job.shape, job.name, &job.shape.index);
    if (*alias != nullptr) {
        ++(*alias)->aliases;
        return nullptr;
    }
    auto* cache = job.shape.index != cache_count_max ? metadata_new<kmem_cache>(nullptr) : nullptr;
    if (cache == nullptr)
        return nullptr;
    init_root(*cache, job.shape, job.name);
    // (7) release: pairs with (6).
    table[job.shape.index].store(cache, std::memory_order_release);
    return cache;
}

/// Runs alone on the executor, as everything that makes child caches does.
void make_root(void* data) noexcept {
    auto& job = *static_cast<creation*>(data);
    kmem_cache* alias = nullptr;
    kmem_cache* const cache = enter_root(job, &alias);
    job.result = cache != nullptr ? cache : alias;
    if (cache != nullptr && !create_child(*root_owner, job.shape.index)) {
        release_root(*cache);
        job.result = nullptr;
    }
}

bool always(thread_heaps&, void*) noexcept { return true; }

/// Parks the slabs of one root cache that a heap holds.
void park_cache(heap& h, const kmem_cache& root) noexcept {
    const std::uint32_t index = root.shape.index;
    if (h.partial == nullptr || index >= h.capacity)
        return;
    if (slab* s = h.active[index].load(std::memory_order_relaxed); s != &empty_slab) { // relaxed: slot held and closed
        h.active[index].store(&empty_slab, std::memory_order_relaxed);                 // relaxed: as above
        deactivate(*s);
        park(*s);
    }
    while (h.partial[index] != 0) {
        slab& s = slab_at(h.partial[index]);
        unlink(h.partial[index], s);
        park(s);
    }
    for (slab* s = first_in(h.full); s != nullptr;) {
        slab* const following = next_in(h.full, *s);
        if (s->cache->root == &root) {
            unlink(h.full, *s);
            park(*s);
        }
        s = following;
    }
}

void park_cache_in_slot(sync::thread_slot& slot, void* data) noexcept {
    const auto& root = *static_cast<const kmem_cache*>(data);
    thread_heaps& heaps = heaps_of(slot);
    drain_queue(slot);
    park_cache(heaps.root, root);
    park_cache(heaps.shared, root);
    for (heap* h = heaps.all.front(); h != nullptr; h = heaps.all.next(*h))
        park_cache(*h, root);
}

/// Adds the addresses of live objects of an unowned slab to the report, as far as there is room. Node held.
void take_samples(slab& s, cache_report& report) noexcept {
    std::uint64_t is_free[(page_bytes << slab_order_max) / sizeof(void*) / 64] = {};
    for (void* block = s.free_list; block != nullptr; block = link_of(s.cache->shape, block)) {
        const std::uint32_t i = object_index(s, s.cache->shape, block);
        is_free[i / 64] |= std::uint64_t{1} << (i % 64);
    }
    for (std::uint32_t i = 0; i < s.carved && report.nr_samples < std::size(report.sample); ++i)
        if ((is_free[i / 64] >> (i % 64) & 1) == 0)
            report.sample[report.nr_samples++] = start_of(s) + std::size_t{i} * s.object_bytes;
}

/// Counts live objects of unowned slabs and takes samples of them.
void count_live(kmem_cache& cache, cache_report& report) noexcept {
    lock_guard hold(cache.node.lock);
    for (const std::uint32_t head : {cache.node.partial, cache.node.full})
        for (slab* s = first_in(head); s != nullptr; s = next_in(head, *s)) {
            collect(*s);
            report.live += s->live();
            take_samples(*s, report);
        }
}

struct destruction {
    kmem_cache& cache;
    cache_report found;
};

/// Some children of the cache that are not marked yet, marked now. Returns their count.
std::size_t mark_children(kmem_cache& cache, kmem_cache** out, std::size_t room) noexcept {
    std::size_t count = 0;
    lock_guard hold(table_lock);
    for (kmem_cache* child = cache.children.front(); child != nullptr && count < room;
         child = cache.children.next(*child))
        if (!child->dying.exchange(true, std::memory_order_relaxed)) // relaxed: lock held
            out[count++] = child;
    return count;
}

void shut_down_child(kmem_cache& child, cache_report& found) noexcept {
    {
        lock_guard hold(sync::slot_at(orphan_index).lock);
        count_live(child, found);
    }
    {
        sync::rcu_guard section;
        cache_owner& payer = load_payer(child.payer);
        if (child_of(payer, child.shape.index) != &child)
            return; // deactivated before: it goes with its last slab
        unpublish_child(payer, child);
    }
    kill_cache(child);
}

/// Runs alone on the executor, so no removal of a group is half done.
void shut_down(void* data) noexcept {
    auto& job = *static_cast<destruction*>(data);
    for_each_slot_closed(always, park_cache_in_slot, &job.cache);
    kmem_cache* children[64];
    while (const std::size_t count = mark_children(job.cache, children, std::size(children)))
        for (std::size_t i = 0; i < count; ++i)
            shut_down_child(*children[i], job.found);
    {
        lock_guard hold(sync::slot_at(orphan_index).lock);
        count_live(job.cache, job.found);
    }
    kill_cache(job.cache);
}

} // namespace

kmem_cache* root_cache_at(std::uint32_t index) noexcept {
    // (6) acquire: pairs with (7).
    return table[index].load(std::memory_order_acquire);
}

void kmalloc_caches_init() noexcept {
    empty_table_init();
    auto* caches = reinterpret_cast<kmem_cache*>(kmalloc_memory);
    grow_array(*root_owner, cache_count_max - 1);
    for (std::uint32_t i = 0; i < kmalloc_class_count; ++i) {
        cache_shape shape;
        shape.index = i;
        shape.user_bytes = static_cast<std::uint32_t>(class_bytes(i));
        complete_shape(shape, 8);
        char name[cache_name_bytes] = "kmalloc-";
        char* at = name + 8;
        std::uint32_t divisor = 10000;
        while (divisor > shape.user_bytes)
            divisor /= 10;
        for (; divisor != 0; divisor /= 10)
            *at++ = static_cast<char>('0' + shape.user_bytes / divisor % 10);
        kmem_cache& root = *new (&caches[2 * i]) kmem_cache;
        kmem_cache& child = *new (&caches[2 * i + 1]) kmem_cache;
        init_root(root, shape, name);
        init_child(child, root, *root_owner);
        lock_guard hold(table_lock);
        root.children.push_back(child);
        table[i].store(&root, std::memory_order_relaxed); // relaxed: one thread
        publish(*root_owner, child);
    }
}

kmem_cache* create_root_cache(const char* name, const cache_shape& wanted, std::size_t alignment) noexcept {
    creation job{name, wanted, nullptr};
    complete_shape(job.shape, alignment);
    sync::run_exclusive(make_root, &job);
    if (job.result == nullptr)
        errno = ENOMEM;
    return job.result;
}

void destroy_root_cache(kmem_cache& cache, cache_report* report) noexcept {
    {
        sync::busy_scope busy;
        lock_guard hold(table_lock);
        if (--cache.aliases != 0)
            return;
        cache.dying.store(true, std::memory_order_relaxed); // relaxed: the drain orders it for the executor
    }
    sync::drain(); // creations queued before the flag have run; later ones leave this cache alone
    destruction job{cache, {}};
    sync::run_exclusive(shut_down, &job);
    if (report != nullptr)
        *report = job.found;
    sync::run_pending();
}

void create_wanted_children(cache_owner& owner) noexcept {
    for (std::uint32_t word = 0; word < std::size(owner.wanted); ++word) {
        // relaxed: queueing this work ordered the bits.
        std::uint64_t bits = owner.wanted[word].load(std::memory_order_relaxed);
        for (; bits != 0; bits &= bits - 1) {
            const auto index = word * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
            if (!create_child(owner, index))
                // relaxed: a heuristic. No memory: it may warm up again.
                owner.heat[index % heat_count].store(0, std::memory_order_relaxed);
            // relaxed: a heuristic. A later cache with this index may be wanted too.
            owner.wanted[word].fetch_and(~(std::uint64_t{1} << (index % 64)), std::memory_order_relaxed);
        }
    }
}

void unpublish_child(cache_owner& owner, kmem_cache& child) noexcept {
    // relaxed: only the executor replaces arrays, and the entry is cleared before the grace period that readers get.
    if (cache_array* const array = owner.caches.load(std::memory_order_relaxed))
        if (array->entry[child.shape.index].load(std::memory_order_relaxed) == &child) // relaxed: as above
            array->entry[child.shape.index].store(nullptr, std::memory_order_relaxed); // relaxed: as above
}

void kill_cache(kmem_cache& cache) noexcept {
    // (9) acq_rel: pairs with slab_ops.cc(3).
    if (cache.refs.fetch_sub(1, std::memory_order_acq_rel) == 1)
        sync::queue_work(sync::stage::release, cache.release_work);
}

void free_cache_array(cache_owner& owner) noexcept {
    cache_array* const array = owner.caches.exchange(nullptr, std::memory_order_relaxed); // relaxed: no reader is left
    if (array != nullptr)
        metadata_free(array, array_bytes(array->capacity));
}

sync::spinlock& caches_lock() noexcept { return table_lock; }

} // namespace allot::slab
