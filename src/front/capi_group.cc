// SPDX-License-Identifier: MIT
//
// capi_group: groups and scopes of allot.h.
//
// Idea.        Handles are pointers to mem_cgroup; the rest is argument checks. The root is immortal, so references on it are
//              not counted.
// Concurrency. as allot.h says.
#include "front/entry.hpp"

#include "platform/memory.hpp"
#include "slab/scope.hpp"

using namespace allot;
using namespace allot::front;

allot_group* allot_root(void) noexcept { return enter() ? handle_of(memcg::root_group) : nullptr; }

int allot_group_create(allot_group* parent, const char* name, const allot_limits* limits, allot_group** out) noexcept {
    if (parent == nullptr || name == nullptr || out == nullptr)
        return -EINVAL;
    if (!enter())
        return -ENOMEM;
    memcg::mem_cgroup* group = nullptr;
    const int error = memcg::create(*group_from(parent), name, limits, &group);
    if (error == 0)
        *out = handle_of(group);
    sync::ensure_worker();
    leave();
    return error;
}

int allot_group_find(const char* path, allot_group** out) noexcept {
    if (path == nullptr || path[0] != '/' || out == nullptr)
        return -EINVAL;
    if (!enter())
        return -ENOMEM;
    memcg::mem_cgroup* const group = memcg::find(path);
    if (group == nullptr)
        return -ENOENT;
    *out = handle_of(group);
    return 0;
}

allot_group* allot_group_get(allot_group* group) noexcept {
    if (group != nullptr)
        memcg::get(*group_from(group));
    return group;
}

void allot_group_put(allot_group* group) noexcept {
    if (group != nullptr)
        memcg::put(*group_from(group));
}

allot_group* allot_group_parent(allot_group* group) noexcept {
    memcg::mem_cgroup* const parent = group_from(group)->parent_group();
    if (parent != nullptr)
        memcg::get(*parent);
    return handle_of(parent);
}

const char* allot_group_name(const allot_group* group) noexcept { return group_from(group)->name(); }

size_t allot_group_path(const allot_group* group, char* buffer, size_t size) noexcept {
    return memcg::path_of(*group_from(group), buffer, size);
}

uint32_t allot_group_id(const allot_group* group) noexcept { return group_from(group)->id; }

bool allot_group_is_open(const allot_group* group) noexcept {
    return group_from(group)->online.load(std::memory_order_relaxed); // relaxed: a hint by nature
}

int allot_group_walk(allot_group* group, int (*visit)(allot_group* group, void* data), void* data) {
    if (group == nullptr || visit == nullptr)
        return -EINVAL;
    const std::size_t room = memcg::count_subtree(*group_from(group)) + 16; // some may come meanwhile
    const std::size_t bytes = room * sizeof(memcg::mem_cgroup*);
    auto** groups = static_cast<memcg::mem_cgroup**>(platform::map(bytes));
    if (groups == nullptr)
        return -ENOMEM;
    const std::size_t count = memcg::collect_subtree(*group_from(group), groups, room);
    int result = 0;
    for (std::size_t i = 0; i < count; ++i) {
        if (result == 0)
            result = visit(handle_of(groups[i]), data);
        allot_group_put(handle_of(groups[i]));
    }
    platform::unmap(groups, bytes);
    return result;
}

int allot_group_set(allot_group* group, const allot_limits* limits) noexcept {
    if (group == nullptr || limits == nullptr)
        return -EINVAL;
    return enter() ? memcg::set_limits(*group_from(group), *limits) : -ENOMEM;
}

void allot_group_limits(const allot_group* group, allot_limits* limits) noexcept {
    memcg::read_limits(group_from(group)->counter(), *limits);
}

uint64_t allot_group_reclaim(allot_group* group, uint64_t bytes) noexcept {
    return bytes != 0 && enter() ? memcg::reclaim(*group_from(group)) : 0;
}

void allot_group_stat(allot_group* group, allot_stat* stat) noexcept {
    if (enter())
        memcg::read_stat(*group_from(group), *stat);
}

int allot_group_close(allot_group* group, allot_report* report) noexcept {
    if (group == nullptr)
        return -EINVAL;
    if (!enter())
        return -ENOMEM;
    const int error = memcg::close(*group_from(group), report);
    leave();
    return error;
}

int allot_group_discard(allot_group* group, allot_report* report) noexcept {
    if (group == nullptr)
        return -EINVAL;
    if (!enter())
        return -ENOMEM;
    const int error = memcg::discard(*group_from(group), report);
    leave();
    return error;
}

/// Keeps the registers that a call needs out of allot_enter.
ALLOT_COLD static void enter_slow(allot_group* group, allot_scope* scope) noexcept {
    scope->previous = slab::enter_slow(*group_from(group));
}

void allot_enter(allot_group* group, allot_scope* scope) noexcept {
    scope->entered = group;
    slab::heap* const previous = slab::try_enter_scope(*group_from(group));
    if (previous == nullptr) [[unlikely]]
        return enter_slow(group, scope);
    scope->previous = previous;
}

void allot_leave(allot_scope* scope) noexcept {
    scope->entered = nullptr;
    slab::leave_scope(static_cast<slab::heap*>(scope->previous));
}

allot_group* allot_current(void) noexcept {
    if (!enter())
        return nullptr;
    auto& group = static_cast<memcg::mem_cgroup&>(counter::nearest_online(slab::current_owner()));
    memcg::get(group); // its descendant, which this thread's heap holds, holds it
    return handle_of(&group);
}

int allot_thread_set_group(allot_group* group) noexcept {
    if (group == nullptr)
        return -EINVAL;
    return enter() ? (slab::set_base(*group_from(group)) ? 0 : -EBUSY) : -ENOMEM;
}
