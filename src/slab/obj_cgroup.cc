// SPDX-License-Identifier: MIT
//
// obj_cgroup: ids and release.
//
// Idea.        A table of pointers indexed by id, mapped once and backed lazily; free ids are a stack in a second mapping.
// Concurrency. the owners lock guards the stack; the table is read without a lock by those who hold a reference.
// Lock order.  owners.
#include "slab/obj_cgroup.hpp"

#include "platform/memory.hpp"
#include "slab/metadata.hpp"
#include "sync/spinlock.hpp"

namespace allot::slab {

void (*obj_cgroup_unlink)(obj_cgroup& owner) noexcept = nullptr;

namespace {

constexpr std::size_t id_count_max = obj_cgroup_count_max;
constinit sync::spinlock owners_lock{sync::lock_rank::owners};
std::atomic<obj_cgroup*>* table = nullptr; // constant after init
std::uint32_t* free_ids ALLOT_GUARDED_BY(owners_lock) = nullptr;
std::uint32_t free_id_count ALLOT_GUARDED_BY(owners_lock) = 0;
std::uint32_t fresh_id ALLOT_GUARDED_BY(owners_lock) = 1; // 0 means "no owner": the block is free

void release(sync::work& item) noexcept {
    obj_cgroup& dead = base::container_of(item, &obj_cgroup::release_work);
    obj_cgroup_unlink(dead);
    obj_cgroup* one = &dead;
    obj_cgroups_free(&one, 1);
}

} // namespace

bool obj_cgroup_init() noexcept {
    table = static_cast<std::atomic<obj_cgroup*>*>(platform::map(sizeof(void*) * id_count_max));
    auto* ids = static_cast<std::uint32_t*>(platform::map(sizeof(std::uint32_t) * id_count_max));
    sync::lock_guard hold(owners_lock);
    free_ids = ids;
    return table != nullptr && ids != nullptr;
}

obj_cgroup* obj_cgroup_create(cache_owner& payer) noexcept {
    auto* owner = metadata_new<obj_cgroup>(nullptr);
    if (owner == nullptr)
        return nullptr;
    owner->payer.store(&payer, std::memory_order_relaxed); // relaxed: published with the id
    owner->release_work.run = release;
    {
        sync::lock_guard hold(owners_lock);
        if (free_id_count != 0)
            owner->id = free_ids[--free_id_count];
        else if (fresh_id < id_count_max)
            owner->id = fresh_id++;
        if (owner->id != 0) {
            // (1) release: pairs with (2).
            table[owner->id].store(owner, std::memory_order_release);
            return owner;
        }
    }
    metadata_free(owner, sizeof *owner);
    return nullptr;
}

obj_cgroup& obj_cgroup_of(std::uint32_t id) noexcept {
    // (2) acquire: pairs with (1): who met the id in an object sees the obj_cgroup initialised.
    return *table[id].load(std::memory_order_acquire);
}

bool obj_cgroup_is_idle(obj_cgroup& owner) noexcept {
    // (3) acquire: pairs with obj_cgroup_core.hpp(1): what earlier puts ended has been done.
    const bool idle = owner.refs.load(std::memory_order_acquire) == obj_cgroup::own_refs;
    owner.idle.store(idle, std::memory_order_relaxed); // relaxed: for reports
    return idle;
}

void obj_cgroup_renew(obj_cgroup& owner, cache_owner& payer) noexcept {
    ALLOT_ASSERT(owner.runs == 0);
    owner.refs.store(obj_cgroup::own_refs,
                     std::memory_order_relaxed);             // relaxed, all: nobody has it, as in obj_cgroup_create()
    owner.idle.store(false, std::memory_order_relaxed);      // relaxed: as above
    owner.discarded.store(false, std::memory_order_relaxed); // relaxed: as above
    owner.had_runs.store(false, std::memory_order_relaxed);  // relaxed: as above
    owner.payer.store(&payer, std::memory_order_relaxed);    // relaxed: as above
}

void obj_cgroups_free(obj_cgroup** owners, std::size_t count) noexcept {
    if (count == 0)
        return;
    {
        sync::lock_guard hold(owners_lock);
        for (std::size_t i = 0; i < count; ++i) {
            table[owners[i]->id].store(nullptr, std::memory_order_relaxed); // relaxed: nobody holds a reference
            free_ids[free_id_count++] = owners[i]->id;
        }
    }
    metadata_free_all(reinterpret_cast<void**>(owners), count, sizeof(obj_cgroup));
}

void obj_cgroup_put(obj_cgroup& owner, std::uint64_t count) noexcept {
    if (owner.put(count))
        sync::call_rcu(owner.release_work);
}

} // namespace allot::slab
