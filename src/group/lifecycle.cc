// SPDX-License-Identifier: MIT
//
// lifecycle: the end of a group, in stages, each in a context where all of it is legal.
//
// Idea.        close() only unlinks and queues. The offline work gives everything the group had to its parent: pointers first,
//              then a grace period for those who read them, then a sweep over the slots for those who hold one, then what is
//              left in the group's own figures. The last put, in whatever context, asks for a grace period; after it the
//              executor frees the group and puts the parent, in this order.
//
//              close                 caller     unhash, dying, nr_dying, queue
//              `- offline_group      executor   unpublish children, rewrite payers, call_rcu
//                 `- finish_siblings executor   after a sweep over the slots: put children, confirm the kill, move own
//                    |                          share, put owner, put the online reference
//                    `- put (last)   any        call_rcu
//                       `- after_gp  executor   queue free
//                          `- free   executor   unlink, uncharge, keep for the next group or free, put parent
//
//              A grace period and a sweep serve all groups that wait for them, so many that close at once cost few.
//
// Concurrency. see mem_cgroup.hpp. The works run one at a time.
// Lock order.  tree > slot; nothing is held over the grace period.
#include "group/mem_cgroup.hpp"
#include "group/records.hpp"
#include "group/runtime.hpp"
#include "slab/cache_lifecycle.hpp"
#include "slab/cold.hpp"
#include "slab/discard.hpp"
#include "slab/metadata.hpp"
#include "slab/slab_ops.hpp"
#include "sync/test_point.hpp"

#include <bit>
#include <cerrno>
#include <cstring>

namespace allot::memcg {

namespace {

using sync::lock_guard;

/// Offline groups that somebody still refers to.
std::atomic<std::uint32_t> nr_waiting{0};

mem_cgroup& from_life_work(sync::work& item) noexcept { return base::container_of(item, &mem_cgroup::life_work); }
mem_cgroup& from_create_work(sync::work& item) noexcept { return base::container_of(item, &mem_cgroup::create_work); }

/// Unpublishes the children that were published for the group, and keeps them on its list `going`. Tree lock held.
void unpublish_children(mem_cgroup& group) noexcept {
    group.own_caches.for_each([&](slab::kmem_cache& child) noexcept {
        if (slab::child_of(group, child.shape.index) != &child)
            return; // inherited, or destroyed with its root cache
        slab::unpublish_child(group, child);
        // The link of its release is free until the reference goes that end_children() puts.
        child.release_work.next.set(group.going);
        group.going = &child.release_work;
    });
}

/// Puts the references that keep the unpublished children from being released.
void end_children(mem_cgroup& group) noexcept {
    while (sync::work* const item = group.going) {
        group.going = item->next.get();
        slab::put_cache(base::container_of(*item, &slab::kmem_cache::release_work));
    }
}

void reparent(mem_cgroup& group, mem_cgroup& parent) noexcept {
    // (2) release, both: pairs with slab/kmem_cache.hpp(3): the parent is seen initialised. The owners have their own pair.
    group.own_caches.for_each(
        [&](slab::kmem_cache& child) noexcept { child.payer.store(&parent, std::memory_order_release); }); // (2)
    parent.own_caches.splice_back(group.own_caches);
    group.owners.for_each([&](slab::obj_cgroup& owner) noexcept { owner.reparent(parent); });
    parent.owners.splice_back(group.owners);
    group.places.for_each(
        [&](front_place& place) noexcept { place.owner.store(&parent, std::memory_order_release); }); // (2)
    parent.places.splice_back(group.places);
    group.place = nullptr; // a later group may be given it
}

bool is_leaving(const slab::heap& h) noexcept { return static_cast<const mem_cgroup*>(h.owner)->leaving && !h.dropped; }

bool has_leaving_heap(slab::thread_heaps& heaps, void*) noexcept {
    for (slab::heap* h = heaps.all.front(); h != nullptr; h = heaps.all.next(*h))
        if (is_leaving(*h))
            return true;
    return false;
}

void drop_leaving_heaps(sync::thread_slot& slot, void*) noexcept {
    slab::thread_heaps& heaps = slab::heaps_of(slot);
    slab::drain_queue(slot); // slabs that wait for this thread, which may sleep for long
    for (slab::heap* h = heaps.all.front(); h != nullptr;) {
        slab::heap* const following = heaps.all.next(*h);
        if (is_leaving(*h)) {
            // relaxed: what is missed was made before the mark, and goes where it would have gone then.
            if (static_cast<const mem_cgroup*>(h->owner)->discarded.load(std::memory_order_relaxed))
                slab::wipe_heap(*h);
            slab::drop_heap(*h);
        }
        h = following;
    }
    slab::sweep_late_pushes();
}

void free_cells(sync::percpu_cells& cells) noexcept {
    slab::metadata_free(&cells, sync::percpu_cells::bytes_for(cells.count()));
}

/// The nearest ancestor whose own share has not moved on: groups go children first, but a grace period that was put off may
/// turn the order of the second half round.
mem_cgroup& heir_of(const mem_cgroup& group) noexcept {
    mem_cgroup* heir = group.parent_group();
    while (heir->reparented)
        heir = heir->parent_group();
    return *heir;
}

/// What is left to do once no thread has a heap of the group, up to what takes the tree lock.
void begin_finish(mem_cgroup& group) noexcept {
    end_children(group);
    if (sync::percpu_cells* const cells = group.refs.confirm_kill())
        free_cells(*cells);
}

/// The rest of it.
void end_finish(mem_cgroup& group) noexcept {
    group.leaving = false;
    group.state.store(group_state::offline, std::memory_order_relaxed); // relaxed: for reports
    // Nobody can take a reference on the owner any more, and the heaps have told theirs. If nothing refers to it, it goes with the group, at no cost of its own.
    if (!slab::obj_cgroup_is_idle(*group.objects)) {
        slab::obj_cgroup_put(*group.objects, slab::obj_cgroup::own_refs);
        group.objects = nullptr;
    }
    nr_waiting.fetch_add(1, std::memory_order_relaxed); // relaxed: a hint; for the last put, which may be this one
    put(group);
}

constexpr std::size_t frees_at_once = 16; ///< so many that locks are taken seldom, so few that others get them soon

/// Groups that go through a step together, oldest first; executor only.
class crowd {
  public:
    /// True for the first, which has the step queued.
    [[nodiscard]] bool add(mem_cgroup& group) noexcept {
        const bool is_first = first_ == nullptr;
        group.next_of_crowd = nullptr;
        *end_ = &group;
        end_ = &group.next_of_crowd;
        return is_first;
    }
    mem_cgroup* take_all() noexcept {
        mem_cgroup* const first = first_;
        first_ = nullptr;
        end_ = &first_;
        return first;
    }

  private:
    mem_cgroup* first_ = nullptr;
    mem_cgroup** end_ = &first_;
};
constinit crowd leaving;

/// Finishes some siblings that are next to each other in a crowd, for which the tree lock is taken once; returns what follows them. A
/// parent's turn comes after its children's shares are in its own.
mem_cgroup* finish_siblings(mem_cgroup* group) noexcept {
    mem_cgroup* siblings[frees_at_once];
    std::size_t count = 0;
    const auto* const parent = group->parent;
    for (; group != nullptr && group->parent == parent && count < frees_at_once; group = group->next_of_crowd) {
        begin_finish(*group);
        siblings[count++] = group;
    }
    {
        lock_guard hold(tree_lock()); // a discard adds up the shares of a subtree
        for (std::size_t i = 0; i < count; ++i) {
            if (siblings[i]->discarded.load(std::memory_order_relaxed)) // relaxed: the lock
                discard_rest(*siblings[i]);
            counter::reparent_local(*siblings[i], heir_of(*siblings[i]));
            siblings[i]->reparented = true;
        }
    }
    for (std::size_t i = 0; i < count; ++i)
        end_finish(*siblings[i]); // which joins another crowd
    return group;
}

/// The second half of going offline, for all groups that a grace period has served: nobody has the old pointers any more, but for
/// the heaps. One sweep over the slots takes them all.
void sweep_and_finish(sync::work&) noexcept {
    ALLOT_TEST_POINT("offline:grace_period_over");
    // Takes every slot's lock, so that whoever looked a child or the account up under one is done with it.
    slab::for_each_slot_closed(has_leaving_heap, drop_leaving_heaps, nullptr);
    ALLOT_TEST_POINT("offline:swept");
    for (mem_cgroup* group = leaving.take_all(); group != nullptr;)
        group = finish_siblings(group);
}
constinit sync::work sweep_work{sweep_and_finish};

void offline_after_grace_period(sync::work& item) noexcept {
    mem_cgroup& group = from_life_work(item);
    group.leaving = true;
    if (leaving.add(group))
        sync::queue_work(sync::stage::offline, sweep_work);
}

/// The first half: whoever looks from now on finds the parent.
void offline_group(sync::work& item) noexcept {
    mem_cgroup& group = from_life_work(item);
    {
        lock_guard hold(tree_lock());
        unpublish_children(group);
        reparent(group, *group.parent_group());
        group.deactivated = true;
    }
    ALLOT_TEST_POINT("offline:reparented");
    item.run = offline_after_grace_period;
    sync::call_rcu(item);
}

constinit crowd released;

/// Counts closed groups of the parent, more or fewer, in it and above. Tree lock held.
void add_dying(mem_cgroup& parent, std::uint32_t count) noexcept ALLOT_REQUIRES(tree_lock()) {
    for (mem_cgroup* at = &parent; at != nullptr; at = at->parent_group())
        // relaxed, both: statistics, and the lock
        at->nr_dying.store(at->nr_dying.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
}

/// Takes up to frees_at_once siblings from `*next` on off tree and lists under one hold of the lock. Returns the count of those that are to
/// be freed.
std::size_t take_off(mem_cgroup** next, const mem_cgroup* end, mem_cgroup** out) noexcept {
    std::size_t count = 0;
    std::uint32_t taken = 0;
    mem_cgroup& parent = *(*next)->parent_group();
    lock_guard hold(tree_lock());
    for (; taken < frees_at_once && *next != end; ++taken) {
        mem_cgroup& group = **next;
        *next = group.next_of_crowd;
        if (group.objects != nullptr)
            group.objects->link.unlink();
        take_off_tree(group);
        if (!keep_spare(group))
            out[count++] = &group;
    }
    add_dying(parent, 0 - taken);
    return count;
}

/// Frees groups that are on nothing any more.
void free_memory(mem_cgroup** groups, std::size_t count) noexcept {
    slab::obj_cgroup* owners[frees_at_once];
    std::size_t owner_count = 0;
    for (std::size_t i = 0; i < count; ++i) {
        slab::free_cache_array(*groups[i]);
        if (groups[i]->objects != nullptr)
            owners[owner_count++] = groups[i]->objects;
    }
    slab::obj_cgroups_free(owners, owner_count);
    slab::metadata_free_all(reinterpret_cast<void**>(groups), count, sizeof(mem_cgroup));
}

} // namespace

void free_spares() noexcept {
    mem_cgroup* taken[frees_at_once];
    sync::busy_scope busy;
    for (std::size_t count = frees_at_once; count == frees_at_once;) {
        lock_guard hold(tree_lock()); // until they are free: fork finds all of it done or nothing
        count = take_spares(taken, frees_at_once);
        free_memory(taken, count);
    }
}

namespace {

/// Frees a run of groups with one parent, which begins with `first`; returns what follows it. What changes in the parent and above
/// changes once for all of them.
mem_cgroup* free_siblings(mem_cgroup* const first) noexcept {
    mem_cgroup& parent = *first->parent_group();
    std::uint32_t count = 0;
    mem_cgroup* end = first;
    for (; end != nullptr && end->parent == &parent; end = end->next_of_crowd, ++count) {
        ALLOT_ASSERT(end->own_caches.empty() && end->owners.empty() && end->children.empty());
        soft_limit_forget(*end);
        end->refs.exit();
    }
    const std::size_t bytes = slab::metadata_bytes(sizeof(mem_cgroup)) * count;
    counter::uncharge_object(heir_of(*first), bytes, counter::charge_kind::metadata);
    for (mem_cgroup* at = first; at != end;) {
        mem_cgroup* taken[frees_at_once];
        free_memory(taken, take_off(&at, end, taken));
    }
    ALLOT_TEST_POINT("free_group:freed");
    put(parent, count); // last of all: what came before may have used it
    return end;
}

void free_groups(sync::work&) noexcept {
    for (mem_cgroup* group = released.take_all(); group != nullptr;)
        group = free_siblings(group);
    note_idle_memory();
}
constinit sync::work free_work{free_groups};

void after_grace_period(sync::work& item) noexcept {
    if (released.add(from_life_work(item)))
        sync::queue_work(sync::stage::free, free_work);
}

/// Gives a hot group cells for the threads there are, and some more. Without memory it stays atomic. Executor.
void make_cells(mem_cgroup& group) noexcept {
    constexpr std::uint32_t count_max = slab::metadata_max_bytes / cache_line_bytes - 1;
    const std::uint32_t wanted = std::bit_ceil(sync::slots_used() + 1) - 1; // fills its size of metadata
    const std::uint32_t count = wanted < count_max ? wanted : count_max;
    void* const memory = slab::metadata_alloc(sync::percpu_cells::bytes_for(count), nullptr);
    if (memory == nullptr)
        return;
    sync::percpu_cells& cells = sync::percpu_cells::create(memory, count);
    if (!group.refs.switch_to_percpu(cells))
        free_cells(cells);
}

void create_children(sync::work& item) noexcept {
    mem_cgroup& group = from_create_work(item);
    if (group.online.load(std::memory_order_relaxed)) // relaxed: decided under the tree lock, in adopt_cache
        slab::create_wanted_children(group);
    if (group.refs.is_hot() && !group.refs.is_percpu() && !group.refs.is_dying())
        make_cells(group);
    put(group);
}

void update_soft_limit(sync::work& item) noexcept {
    mem_cgroup& group = base::container_of(item, &mem_cgroup::soft_limit_work);
    soft_limit_update(group);
    put(group);
}

void add_line(allot_report& report, const char* cache, std::uint64_t objects, std::uint64_t bytes) noexcept {
    if (bytes == 0)
        return;
    for (std::uint32_t i = 0; i < report.nr_lines; ++i)
        if (std::strcmp(report.line[i].cache, cache) == 0) {
            report.line[i].objects += objects;
            report.line[i].bytes += bytes;
            return;
        }
    const bool is_full = report.nr_lines >= ALLOT_REPORT_LINES - 1;
    allot_report_line& line = report.line[is_full ? ALLOT_REPORT_LINES - 1 : report.nr_lines];
    report.nr_lines = is_full ? ALLOT_REPORT_LINES : report.nr_lines + 1;
    const char* const name = is_full ? "other" : cache;
    std::memcpy(line.cache, name, std::strlen(name) + 1);
    line.objects += objects;
    line.bytes += bytes;
}

std::uint64_t own_bytes(const mem_cgroup& group, counter::charge_kind kind, std::int64_t unsettled = 0) noexcept {
    // relaxed: statistics.
    const std::int64_t bytes =
        unsettled + group.record->local[static_cast<std::size_t>(kind)].load(std::memory_order_relaxed);
    return bytes > 0 ? static_cast<std::uint64_t>(bytes) : 0;
}

void report_group(mem_cgroup& group, allot_report& report) noexcept {
    group.own_caches.for_each([&](slab::kmem_cache& child) noexcept {
        // relaxed: statistics.
        const std::uint64_t bytes = child.nr_pages.load(std::memory_order_relaxed) * page_bytes;
        add_line(report, child.name, bytes / child.shape.object_bytes, bytes);
    });
    using counter::charge_kind;
    const slab::cold_figures unsettled = slab::unsettled(group);
    auto shared_objects = static_cast<std::uint64_t>(unsettled.objects);
    group.owners.for_each([&](slab::obj_cgroup& owner) noexcept {
        // relaxed: statistics. A group's own owner has references without objects.
        const bool has_own = &owner == group.objects || owner.idle.load(std::memory_order_relaxed); // relaxed: too
        shared_objects += owner.refs.load(std::memory_order_relaxed) - (has_own ? slab::obj_cgroup::own_refs : 0);
    });
    add_line(report, "shared", shared_objects, own_bytes(group, charge_kind::shared, unsettled.bytes));
    add_line(report, "large", 0, own_bytes(group, charge_kind::large));
    add_line(report, "external", 0, own_bytes(group, charge_kind::external));
}

} // namespace

void sort_lines(allot_report& report) noexcept {
    for (std::uint32_t i = 1; i < report.nr_lines; ++i)
        for (std::uint32_t j = i; j != 0 && report.line[j - 1].bytes < report.line[j].bytes; --j) {
            const allot_report_line swapped = report.line[j];
            report.line[j] = report.line[j - 1];
            report.line[j - 1] = swapped;
        }
}

namespace {

/// Takes one group, whose children are closed, out of the tree and queues the rest. Tree lock held.
void close_one(mem_cgroup& group) noexcept ALLOT_REQUIRES(tree_lock()) {
    mem_cgroup& parent = *group.parent_group();
    unhash(group);
    group.sibling.unlink();
    parent.dying.push_back(group);
    --parent.nr_children;
    group.state.store(group_state::dying, std::memory_order_relaxed); // relaxed: for reports
    // relaxed: readers outside take what they see.
    group.record->state.store(ALLOT_RECORD_DYING, std::memory_order_relaxed);
    // (1) release: pairs with counter/account.hpp(1): who sees it closed charges an ancestor.
    group.online.store(false, std::memory_order_release);
    group.refs.begin_kill(); // the offline work confirms it after its grace period
    add_dying(parent, 1);
    group.life_work.run = offline_group;
    sync::queue_work_under_lock(sync::stage::offline, group.life_work);
}

/// The place of an open group, made or taken over from one that is long gone. Null when out of memory. Tree lock held.
front_place* place_in(mem_cgroup& group) noexcept {
    constexpr std::size_t reuse_after = 4096;
    static constinit std::size_t made = 0; // guarded by the tree lock
    if (group.place != nullptr)
        return group.place;
    front_place* place = made > reuse_after ? root_group->places.pop_front() : nullptr;
    if (place == nullptr) {
        place = slab::metadata_new<front_place>(nullptr);
        if (place == nullptr)
            return nullptr;
        ++made;
    }
    // (4) release: pairs with slab/kmem_cache.hpp(3), as (2).
    place->owner.store(&group, std::memory_order_release);
    if (&group != root_group)
        group.places.push_back(*place);
    group.place = place;
    return place;
}

/// Deepest first online descendant without online children, or the group itself.
mem_cgroup& deepest(mem_cgroup& group) noexcept {
    mem_cgroup* at = &group;
    while (mem_cgroup* child = at->children.front())
        at = child;
    return *at;
}

} // namespace

std::uint32_t count_of_crowd() noexcept {
    const std::uint32_t dying = root_group->nr_dying.load(std::memory_order_relaxed); // relaxed: a hint
    const std::uint32_t waiting = nr_waiting.load(std::memory_order_relaxed);         // relaxed: as above
    return dying > waiting ? dying - waiting : 0;
}

void reset_crowd_works() noexcept {
    sweep_work.reset_after_fork();
    free_work.reset_after_fork();
}

void init_works(mem_cgroup& group) noexcept {
    group.soft_limit_work.run = update_soft_limit;
    group.create_work.run = create_children;
    group.life_work.run = offline_group;
}

void put(mem_cgroup& group, std::uint64_t count) noexcept {
    if (&group == root_group || !group.refs.put(count))
        return;
    ALLOT_TEST_POINT("put:last");
    nr_waiting.fetch_sub(1, std::memory_order_relaxed);                  // relaxed: a hint
    group.state.store(group_state::released, std::memory_order_relaxed); // relaxed: for reports
    forget_id(group); // before the grace period: who finds it by id later must not find freed memory
    group.life_work.run = after_grace_period;
    sync::call_rcu(group.life_work);
}

int close_locked(mem_cgroup& group, allot_report* report) noexcept {
    if (!group.online.load(std::memory_order_relaxed)) // relaxed: changes under the tree lock
        return -ENOENT;
    if (report != nullptr) {
        *report = {};
        // relaxed: statistics.
        report->bytes = group.counter().usage.load(std::memory_order_relaxed);
    }
    for (bool done = false; !done;) {
        mem_cgroup& next = deepest(group);
        done = &next == &group;
        if (report != nullptr) {
            ++report->groups;
            report_group(next, *report);
        }
        close_one(next);
    }
    return 0;
}

int close(mem_cgroup& group, allot_report* report) noexcept {
    if (&group == root_group)
        return -EBUSY;
    if (report != nullptr)
        slab::settle_current(); // nobody else is waited for
    {
        sync::busy_scope busy;
        lock_guard hold(tree_lock());
        if (const int error = close_locked(group, report); error != 0)
            return error;
    }
    ALLOT_TEST_POINT("close:closed");
    if (report != nullptr)
        sort_lines(*report);
    return 0;
}

void want_child(slab::cache_owner& owner) noexcept {
    auto& group = static_cast<mem_cgroup&>(owner);
    if (&group != root_group && !group.refs.tryget_online())
        return; // it is going
    if (!sync::queue_work(sync::stage::create, group.create_work))
        put(group);
}

void heat_up(mem_cgroup& group) noexcept { want_child(group); }

bool adopt_cache(slab::kmem_cache& child, slab::cache_owner& payer) noexcept {
    auto& group = static_cast<mem_cgroup&>(payer);
    sync::busy_scope busy;
    lock_guard hold(tree_lock());
    if (!group.online.load(std::memory_order_relaxed)) // relaxed: changes under the tree lock
        return false;
    group.own_caches.push_back(child);
    return true;
}

void forget_cache(slab::kmem_cache& child) noexcept {
    sync::busy_scope busy;
    lock_guard hold(tree_lock());
    child.payer_link.unlink();
}

void forget_owner(slab::obj_cgroup& owner) noexcept {
    sync::busy_scope busy;
    lock_guard hold(tree_lock());
    owner.link.unlink();
}

front_place* place_of(mem_cgroup& group) noexcept {
    sync::busy_scope busy;
    lock_guard hold(tree_lock());
    if (group.place != nullptr)
        return group.place;
    mem_cgroup* open = &group;
    while (!open->online.load(std::memory_order_relaxed)) // relaxed: changes under the tree lock
        open = open->parent_group();
    return place_in(*open);
}

} // namespace allot::memcg
