// SPDX-License-Identifier: MIT
//
// tree: creating, finding and walking groups.
//
// Idea.        One lock guards the tree. Children are found by a hash over (parent, name), so ten thousand siblings cost no
//              more than ten. A group is linked last, when nothing can fail any more.
// Concurrency. tree lock; references are taken under it.
// Lock order.  tree > owners, metadata.
#include "base/bytes.hpp"
#include "group/mem_cgroup.hpp"
#include "group/records.hpp"
#include "platform/memory.hpp"
#include "slab/cache_lifecycle.hpp"
#include "slab/metadata.hpp"
#include "sync/test_point.hpp"

#include <cerrno>
#include <cstring>

namespace allot::memcg {

mem_cgroup* root_group = nullptr;

namespace {

using sync::lock_guard;

constinit sync::spinlock the_tree_lock{sync::lock_rank::tree};
constexpr std::size_t bucket_count = std::size_t{1} << 16;
mem_cgroup** buckets ALLOT_GUARDED_BY(the_tree_lock) = nullptr;
std::atomic<mem_cgroup*>* by_id = nullptr; // constant after init; entries under RCU

std::size_t bucket_of(const mem_cgroup* parent, const char* name, std::size_t length) noexcept {
    std::uint64_t hash = 0xcbf29ce484222325u ^ reinterpret_cast<std::uintptr_t>(parent); // FNV-1a
    for (std::size_t i = 0; i < length; ++i)
        hash = (hash ^ static_cast<unsigned char>(name[i])) * 0x100000001b3u;
    return (hash ^ (hash >> 32)) % bucket_count;
}

mem_cgroup* lookup(const mem_cgroup* parent, const char* name, std::size_t length) noexcept
    ALLOT_REQUIRES(the_tree_lock) {
    for (mem_cgroup* at = buckets[bucket_of(parent, name, length)]; at != nullptr; at = at->hash_next)
        if (at->parent == parent && std::strncmp(at->name(), name, length) == 0 && at->name()[length] == '\0')
            return at;
    return nullptr;
}

/// Groups that are over and the next ones are made of, each with its owner, which has its id: a group takes three locks less so, in a
/// program where many come and go. The first in use is the last that came, whose memory is in a cache.
constexpr std::size_t spares_max = 256; // as many as come together (help_with_removals)
mem_cgroup* spares[spares_max] ALLOT_GUARDED_BY(the_tree_lock);
std::atomic<std::size_t> nr_spares{0}; // relaxed accesses: written under the tree lock; without it a hint

mem_cgroup* pop_spare() noexcept ALLOT_REQUIRES(the_tree_lock) {
    const std::size_t left = nr_spares.load(std::memory_order_relaxed) - 1; // relaxed: see there
    nr_spares.store(left, std::memory_order_relaxed);                       // relaxed: as above
    return spares[left];
}

/// False if there is no room, or the group is not one that can be used anew as it is.
bool push_spare(mem_cgroup& group) noexcept ALLOT_REQUIRES(the_tree_lock) {
    // relaxed, both: see there; no reader of the array is left
    const std::size_t count = nr_spares.load(std::memory_order_relaxed);
    if (count == spares_max || group.objects == nullptr || group.caches.load(std::memory_order_relaxed) != nullptr)
        return false;
    spares[count] = &group;
    nr_spares.store(count + 1, std::memory_order_relaxed); // relaxed: see there
    return true;
}

/// A fresh group, with an owner if it is made of a spare one. Errors: null, `*over` as of metadata_alloc.
mem_cgroup* fresh_group(counter::page_counter** over) noexcept ALLOT_REQUIRES(the_tree_lock) {
    if (!spares_are_kept())
        return slab::metadata_new<mem_cgroup>(over);
    mem_cgroup* const spare = pop_spare();
    if (const std::size_t left = nr_spares.load(std::memory_order_relaxed); left != 0) // relaxed: see there
        slab::fetch_object(spares[left - 1], sizeof(mem_cgroup));
    slab::obj_cgroup* const owner = spare->objects;
    auto* const group = new (spare) mem_cgroup;
    slab::obj_cgroup_renew(*owner, *group);
    group->objects = owner;
    return group;
}

bool is_valid_name(const char* name) noexcept {
    const std::size_t length = std::strlen(name);
    if (length == 0 || length > ALLOT_NAME_MAX || std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0)
        return false;
    for (std::size_t i = 0; i < length; ++i)
        if (name[i] == '/' || static_cast<unsigned char>(name[i]) < 0x20 || name[i] == 0x7f)
            return false;
    return true;
}

std::uint64_t chosen(std::uint64_t wanted, std::uint64_t otherwise) noexcept {
    return wanted == ALLOT_KEEP ? otherwise : wanted;
}

/// The limits that result from applying `wanted` to `now`. False if they contradict each other.
bool merge_limits(const allot_limits& wanted, allot_limits& now) noexcept {
    now.min = chosen(wanted.min, now.min);
    now.low = chosen(wanted.low, now.low);
    now.high = chosen(wanted.high, now.high);
    now.max = chosen(wanted.max, now.max);
    return now.min <= now.max && now.low <= now.max;
}

/// All but `max`, which charges that are under way may have to see.
void store_soft_limits(counter::page_counter& counter, const allot_limits& limits) noexcept {
    counter.min.store(limits.min, std::memory_order_relaxed);   // relaxed: each limit stands for itself
    counter.low.store(limits.low, std::memory_order_relaxed);   // relaxed: as above
    counter.high.store(limits.high, std::memory_order_relaxed); // relaxed: as above
}

void name_record(counter::account_record& record, const char* name) noexcept {
    std::memset(record.name, 0, sizeof record.name);
    std::memcpy(record.name, name, std::strlen(name));
}

/// Gives a fresh group its record, owner and works; the parts that can fail. Tree lock held. Errors: -ENOMEM, parts undone.
int equip(mem_cgroup& group, mem_cgroup& parent, const char* name) noexcept ALLOT_REQUIRES(the_tree_lock) {
    new (&group.refs) sync::percpu_ref(2); // the tree's and the caller's
    group.record = record_take();
    if (group.record == nullptr)
        return -ENOMEM;
    group.id = group.record->id;
    group.parent = &parent;
    group.depth = parent.depth + 1;
    group.record->parent = parent.record->id;
    group.counter().parent = &parent.counter();
    name_record(*group.record, name);
    if (group.objects == nullptr)
        group.objects = slab::obj_cgroup_create(group);
    if (group.objects == nullptr) {
        record_give(*group.record);
        return -ENOMEM;
    }
    group.owners.push_back(*group.objects);
    init_works(group);
    return 0;
}

/// Nothing fails from here on.
void link(mem_cgroup& group, mem_cgroup& parent) noexcept ALLOT_REQUIRES(the_tree_lock) {
    get(parent);
    parent.children.push_back(group);
    ++parent.nr_children;
    mem_cgroup*& bucket = buckets[bucket_of(&parent, group.name(), std::strlen(group.name()))];
    group.hash_next = bucket;
    bucket = &group;
    group.online.store(true, std::memory_order_relaxed); // relaxed: published by the two stores below and the lock
    // (1) release: pairs with (2): who finds the group by id sees it whole.
    by_id[group.id].store(&group, std::memory_order_release);
    group.record->state.store(ALLOT_RECORD_OPEN,
                              std::memory_order_release); // (3) pairs with the kernel's other mappings of the file
}

/// Makes, charges and links a group under one hold of the lock, so that the parent stays online, every failure is undone here, and
/// fork finds nothing half made.
int create_locked(mem_cgroup& parent, const char* name, const allot_limits& limits, mem_cgroup** out,
                  counter::page_counter** over) noexcept {
    const std::size_t bytes = slab::metadata_bytes(sizeof(mem_cgroup));
    lock_guard hold(the_tree_lock);
    if (!parent.online.load(std::memory_order_relaxed)) // relaxed: changes under the tree lock
        return -ENOENT;
    if (parent.depth == ALLOT_DEPTH_MAX)
        return -EINVAL;
    if (lookup(&parent, name, std::strlen(name)) != nullptr)
        return -EEXIST;
    if (!counter::try_charge_object(parent, bytes, counter::charge_kind::metadata, over))
        return -ENOMEM;
    mem_cgroup* const group = fresh_group(over);
    const int error = group != nullptr ? equip(*group, parent, name) : -ENOMEM;
    if (error != 0) {
        if (group != nullptr && !push_spare(*group))
            slab::metadata_free(group, sizeof *group);
        counter::uncharge_object(parent, bytes, counter::charge_kind::metadata);
        return error;
    }
    store_soft_limits(group->counter(), limits);
    counter::init_max(group->counter(), limits.max);
    ALLOT_TEST_POINT("create:equipped");
    link(*group, parent);
    *out = group;
    return 0;
}

} // namespace

sync::spinlock& tree_lock() noexcept { return the_tree_lock; }

void read_limits(const counter::page_counter& counter, allot_limits& out) noexcept {
    // All four relaxed: each limit stands for itself.
    out.min = counter.min.load(std::memory_order_relaxed);
    out.low = counter.low.load(std::memory_order_relaxed);
    out.high = counter.high.load(std::memory_order_relaxed);
    out.max = counter.max.load(std::memory_order_relaxed); // relaxed: as above
}

/// Who creates faster than the worker removes does some of the removing.
static void help_with_removals() noexcept {
    // So few that what is freed is still in this thread's cache when it is used again.
    constexpr std::uint32_t crowd = 256;
    constexpr std::uint32_t dying_max = 4096;
    const std::uint32_t dying = count_of_crowd();
    if (dying > dying_max)
        sync::run_ready();
    else if (dying > crowd)
        sync::try_run_ready();
}

int create(mem_cgroup& parent, const char* name, const allot_limits* limits, mem_cgroup** out) noexcept {
    allot_limits merged{0, 0, ALLOT_UNLIMITED, ALLOT_UNLIMITED};
    if (!is_valid_name(name) || (limits != nullptr && !merge_limits(*limits, merged)))
        return -EINVAL;
    counter::page_counter* over = nullptr;
    help_with_removals();
    for (unsigned attempt = 0;; ++attempt) {
        over = nullptr;
        int error = 0;
        {
            sync::busy_scope busy;
            error = create_locked(parent, name, merged, out, &over);
        }
        if (error != -ENOMEM)
            return error;
        // Closed groups that wait for their removal hold records and memory. The executor itself neither waits nor reclaims.
        const bool on_executor = (sync::tls.flags & sync::in_executor) != 0;
        if (attempt == 0 && !on_executor && (sync::run_ready() != 0 || over != nullptr)) {
            if (over != nullptr)
                reclaim_at_limit(*over, sizeof(mem_cgroup), attempt);
            continue;
        }
        if (!on_executor)
            note_failure(over, sizeof(mem_cgroup));
        return -ENOMEM;
    }
}

mem_cgroup* find(const char* path) noexcept {
    sync::busy_scope busy;
    lock_guard hold(the_tree_lock);
    mem_cgroup* at = root_group;
    while (at != nullptr) {
        while (*path == '/')
            ++path;
        if (*path == '\0')
            break;
        const std::size_t length = std::strcspn(path, "/");
        at = lookup(at, path, length);
        path += length;
    }
    if (at != nullptr)
        get(*at);
    return at;
}

mem_cgroup* group_of(const counter::page_counter& counter) noexcept {
    const auto& record = reinterpret_cast<const counter::account_record&>(counter);
    sync::rcu_guard section;
    // (2) acquire: pairs with (1).
    mem_cgroup* const group = by_id[record.id].load(std::memory_order_acquire);
    return group != nullptr && tryget(*group) ? group : nullptr;
}

std::size_t path_of(const mem_cgroup& group, char* buffer, std::size_t size) noexcept {
    std::size_t length = 0;
    for (const mem_cgroup* at = &group; at != root_group; at = at->parent_group())
        length += 1 + std::strlen(at->name());
    const std::size_t total = length != 0 ? length : 1;
    if (size == 0)
        return total;
    buffer[0] = '/';
    buffer[size > 1 ? 1 : 0] = '\0';
    auto put_at = [&](std::size_t at, char c) noexcept {
        if (at + 1 < size)
            buffer[at] = c;
    };
    std::size_t end = length;
    for (const mem_cgroup* at = &group; at != root_group; at = at->parent_group()) {
        const std::size_t each = std::strlen(at->name());
        for (std::size_t i = 0; i < each; ++i)
            put_at(end - each + i, at->name()[i]);
        end -= each + 1;
        put_at(end, '/');
    }
    buffer[total < size ? total : size - 1] = '\0';
    return total;
}

namespace {

/// The group after `at` in the subtree of `top`, parents first. Tree lock held.
mem_cgroup* next_in_subtree(mem_cgroup& top, mem_cgroup* at) noexcept {
    if (mem_cgroup* child = at->children.front())
        return child;
    while (at != &top) {
        if (mem_cgroup* sibling = at->parent_group()->children.next(*at))
            return sibling;
        at = at->parent_group();
    }
    return nullptr;
}

} // namespace

std::size_t collect_subtree(mem_cgroup& group, mem_cgroup** out, std::size_t room) noexcept {
    sync::busy_scope busy;
    lock_guard hold(the_tree_lock);
    std::size_t count = 0;
    if (!group.online.load(std::memory_order_relaxed)) // relaxed: changes under the tree lock
        return 0;
    for (mem_cgroup* at = &group; at != nullptr && count < room; at = next_in_subtree(group, at)) {
        get(*at);
        out[count++] = at;
    }
    return count;
}

std::size_t count_subtree(mem_cgroup& group) noexcept {
    sync::busy_scope busy;
    lock_guard hold(the_tree_lock);
    std::size_t count = 0;
    if (group.online.load(std::memory_order_relaxed)) // relaxed: changes under the tree lock
        for (mem_cgroup* at = &group; at != nullptr; at = next_in_subtree(group, at))
            ++count;
    return count;
}

int set_limits(mem_cgroup& group, const allot_limits& limits) noexcept {
    {
        sync::busy_scope busy;
        lock_guard hold(the_tree_lock);
        if (!group.online.load(std::memory_order_relaxed)) // relaxed: changes under the tree lock
            return -ENOENT;
        allot_limits merged;
        read_limits(group.counter(), merged);
        if (!merge_limits(limits, merged))
            return -EINVAL;
        store_soft_limits(group.counter(), merged);
        counter::set_max(group.counter(), merged.max);
    }
    // relaxed: if a newer write has raised it meanwhile, there is nothing to do.
    if (group.counter().usage.load(std::memory_order_relaxed) > group.counter().max.load(std::memory_order_relaxed))
        reclaim(group);
    return 0;
}

bool is_below(const counter::account& group, const counter::account& ancestor) noexcept {
    for (const counter::account* at = &group; at != nullptr; at = at->parent)
        if (at == &ancestor)
            return true;
    return false;
}

void unhash(mem_cgroup& group) noexcept ALLOT_NO_TSA { // the caller holds tree_lock(), which is the same lock
    mem_cgroup** at = &buckets[bucket_of(group.parent_group(), group.name(), std::strlen(group.name()))];
    while (*at != &group)
        at = &(*at)->hash_next;
    *at = group.hash_next;
}

void forget_id(const mem_cgroup& group) noexcept {
    by_id[group.id].store(nullptr, std::memory_order_relaxed); // relaxed: call_rcu, which follows, orders it
}

void take_off_tree(mem_cgroup& group) noexcept ALLOT_NO_TSA { // the caller holds tree_lock(), which is the same lock
    group.sibling.unlink();
    record_give(*group.record);
}

bool keep_spare(mem_cgroup& group) noexcept ALLOT_NO_TSA { return push_spare(group); } // as take_off_tree()

std::size_t take_spares(mem_cgroup** out, std::size_t room) noexcept ALLOT_NO_TSA { // as take_off_tree()
    std::size_t count = 0;
    for (; count < room && spares_are_kept(); ++count)
        out[count] = pop_spare();
    return count;
}

bool spares_are_kept() noexcept { return nr_spares.load(std::memory_order_relaxed) != 0; } // relaxed: see there

bool tree_init() noexcept {
    auto* const map = static_cast<mem_cgroup**>(platform::map(sizeof(mem_cgroup*) * bucket_count));
    by_id = static_cast<std::atomic<mem_cgroup*>*>(platform::map(sizeof(void*) * ALLOT_STAT_CAPACITY));
    alignas(mem_cgroup) static char root_memory[sizeof(mem_cgroup)];
    if (map == nullptr || by_id == nullptr || !records_init())
        return false;
    lock_guard hold(the_tree_lock);
    buckets = map;
    root_group = new (root_memory) mem_cgroup;
    root_group->record = record_take();
    name_record(*root_group->record, "/");
    counter::root_account = root_group;
    slab::root_owner = root_group;
    root_group->online.store(true, std::memory_order_relaxed);                     // relaxed: one thread
    by_id[0].store(root_group, std::memory_order_relaxed);                         // relaxed: one thread
    root_group->record->state.store(ALLOT_RECORD_OPEN, std::memory_order_relaxed); // relaxed: one thread
    init_works(*root_group);
    return true;
}

} // namespace allot::memcg
