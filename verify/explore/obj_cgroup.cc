// SPDX-License-Identifier: MIT
//
// obj_cgroup: charges, uncharges and puts against the removal of the group that pays.
//
// Idea.        The core and the counters are the sources'. What goes on inside the sections stands here in short: try_charge_pages
//              and reparent_local of account.cc, an allocation of alloc.cc, a free of slab_ops.cc, settle_cold of heap.cc, the external
//              charges of capi_cache.cc, offline_group and finish_siblings of lifecycle.cc. An id is a pointer here.
// Invariants.  A group's account is freed with an own share of 0, and nobody touches it later; in the end the heirs' usage and
//              own shares are what is still charged. The core goes after its last reference and after its last reader.
// Checked by.  the mutants
// Source.      src/slab/obj_cgroup_core.hpp, src/counter/page_counter.hpp
#include "counter/page_counter.hpp"
#include "slab/obj_cgroup_core.hpp"
#include "sync/rcu.hpp"
#include "sync/work_queue.hpp"

#include "sim.hpp"

namespace explore {

namespace {

using enum std::memory_order;
using work = allot::sync::basic_work<sim>;
using page_counter = allot::counter::basic_page_counter<sim>;
constexpr unsigned threads_max = 4; // 0 is the scenario itself
constexpr std::uint64_t bytes = 8;

struct account {
    page_counter counter;
    sim::atomic<std::int64_t> own{0};
    sim::var<int> name{0};
};

struct core : allot::slab::basic_obj_cgroup_core<sim, account> {
    struct release : work {
        release()
            : work([](work& self) noexcept {
                  *static_cast<release&>(self).freed = true;
                  retire(*static_cast<release&>(self).of);
              }) {}
        core* of = nullptr;
        bool* freed = nullptr;
    } release_work;
    core() { release_work.of = this; }
};

/// cold_tally of a thread's heap for the group.
struct tally {
    sim::var<std::int64_t> objects{0};
    sim::var<std::int64_t> own{0};
};

struct world {
    allot::sync::basic_rcu_reader<sim> readers[threads_max];
    tally tallies[threads_max];
    allot::sync::basic_work_queue<sim> callbacks;
    account* root = &make<account>();
    account* group = &make<account>();
    core* objects = &make<core>();
    sim::atomic<account*> current{group}; // what allocating threads find
    sim::atomic<core*> block{nullptr};    // the id in an object
    std::uint64_t kept = 0;               // charged at the end
    bool freed = false;                   // the core; not part of what is explored

    world() {
        group->counter.parent = &root->counter;
        objects->payer.store(group, relaxed);
        objects->release_work.freed = &freed;
    }
    void grace_period() {
        allot::sync::synchronize<sim>([this] {
            for (auto& each : readers)
                wait_for_reader(each);
        });
    }
    void run_callbacks() {
        if (work* const batch = callbacks.take_all()) {
            if (!mutant("freed_at_once"))
                grace_period();
            callbacks.run_all(batch);
        }
    }
};

class section {
  public:
    explicit section(world& w)
        : reader_(w.readers[self()]), entered_(!mutant("no_section") && reader_.enter()), tally_(w.tallies[self()]) {}
    ~section() {
        if (entered_)
            reader_.leave();
    }
    section(const section&) = delete;
    section& operator=(const section&) = delete;

    /// What the thread may add up for itself: null in a handler.
    tally* own() const { return entered_ ? &tally_ : nullptr; }

  private:
    allot::sync::basic_rcu_reader<sim>& reader_;
    const bool entered_;
    tally& tally_;
};

void charge(account& payer) {
    page_counter* over = nullptr;
    CHECK(try_charge(payer.counter, bytes, &over));
    payer.own.fetch_add(bytes, relaxed);
}
void uncharge(account& payer) {
    payer.own.fetch_sub(bytes, relaxed);
    uncharge(payer.counter, bytes);
}
void put(world& w, core& c, std::uint64_t count = 1) {
    if (c.put(count))
        w.callbacks.push(c.release_work);
}
void add(tally& to, std::int64_t objects) {
    to.objects.set(to.objects.get() + objects);
    to.own.set(to.own.get() + objects * static_cast<std::int64_t>(bytes));
}

/// A shared object of the group that the thread is in, if it is open.
void allocate(world& w) {
    const section inside(w);
    account* const payer = w.current.load(acquire);
    tally* const own = inside.own();
    if (payer == nullptr || own == nullptr)
        return;
    page_counter* over = nullptr;
    CHECK(try_charge(payer->counter, bytes, &over));
    add(*own, 1);
    w.block.store(w.objects, release);
}
void free_block(world& w) {
    const section inside(w);
    core* const owner = w.block.exchange(nullptr, acq_rel);
    if (owner == nullptr)
        return;
    account& payer = owner->load_payer();
    tally* const own = inside.own();
    if (own != nullptr && &payer == w.group) {
        uncharge(payer.counter, bytes);
        add(*own, -1);
        return;
    }
    uncharge(payer);
    put(w, *owner);
}
/// Who pays for an object that somebody may free meanwhile.
void look(world& w) {
    const section inside(w);
    if (core* const owner = w.block.load(acquire))
        static_cast<void>(owner->load_payer().name.get());
}
/// An external charge; the caller has a reference.
void charge_external(world& w, core& owner) {
    const section inside(w);
    charge(owner.load_payer());
}
void uncharge_external(world& w, core& owner) {
    {
        const section inside(w);
        uncharge(owner.load_payer());
    }
    put(w, owner);
}

void move_own_share(account& from, account& to) { to.own.fetch_add(from.own.exchange(0, relaxed), relaxed); }

void settle(world& w, core& objects, account& group) {
    for (tally& each : w.tallies) {
        objects.add(each.objects.get());
        group.own.fetch_add(each.own.get(), relaxed);
    }
}

/// offline_group(), the sweep that drops the heaps and, since nobody else has a reference, free_group().
void remove(world& w, core& objects, account& group, account& heir) {
    constexpr std::uint64_t own = core::own_refs;
    w.current.store(nullptr, relaxed);
    objects.reparent(heir);
    if (mutant("moved_early"))
        move_own_share(group, heir);
    if (mutant("put_early"))
        put(w, objects, own);
    if (!mutant("no_grace_period"))
        w.grace_period();
    if (mutant("settled_late"))
        put(w, objects, own);
    settle(w, objects, group);
    if (!mutant("moved_early"))
        move_own_share(group, heir);
    if (!mutant("put_early") && !mutant("settled_late"))
        put(w, objects, own);
    CHECK(group.own.load(relaxed) == 0);
    retire(group);
}

world& new_world() {
    auto& w = make<world>();
    finally([&w] {
        free_block(w);
        for (int i = 0; i < 3; ++i)
            w.run_callbacks();
        CHECK(w.root->counter.usage.load(relaxed) == w.kept);
        CHECK(w.root->own.load(relaxed) == static_cast<std::int64_t>(w.kept));
        CHECK(w.freed == (w.kept == 0));
    });
    return w;
}
void add_removal(world& w) {
    thread([&w] {
        remove(w, *w.objects, *w.group, *w.root);
        w.run_callbacks();
    });
}

void allocate_and_free() {
    auto& w = new_world();
    thread([&w] {
        allocate(w);
        free_block(w);
    });
    add_removal(w);
}
void freed_by_another() {
    auto& w = new_world();
    thread([&w] { allocate(w); });
    thread([&w] { free_block(w); });
    add_removal(w);
}
void looked_at() {
    auto& w = new_world();
    thread([&w] {
        allocate(w);
        free_block(w);
    });
    thread([&w] { look(w); });
    add_removal(w);
}
void external() {
    auto& w = new_world();
    w.objects->get();
    thread([&w] {
        core& owner = *w.objects;
        charge_external(w, owner);
        uncharge_external(w, owner);
    });
    add_removal(w);
}
// The callbacks run in a thread of their own.
void released_by_another() {
    auto& w = new_world();
    w.objects->get();
    thread([&w] { uncharge_external(w, *w.objects); });
    charge(*w.group);
    thread([&w] { remove(w, *w.objects, *w.group, *w.root); });
    thread([&w] { w.run_callbacks(); });
}
void external_is_kept() {
    auto& w = new_world();
    w.objects->get();
    w.kept = bytes;
    thread([&w] { charge_external(w, *w.objects); });
    thread([&w] { remove(w, *w.objects, *w.group, *w.root); });
}
// The heir is removed in turn.
void two_generations() {
    auto& w = new_world();
    auto& middle = make<account>();
    middle.counter.parent = &w.root->counter;
    w.group->counter.parent = &middle.counter;
    w.objects->get();
    w.objects->get();
    thread([&w] {
        charge_external(w, *w.objects);
        uncharge_external(w, *w.objects);
    });
    thread([&w, &middle] {
        core& owner = *w.objects;
        remove(w, owner, *w.group, middle);
        owner.reparent(*w.root);
        w.grace_period();
        move_own_share(middle, *w.root);
        CHECK(middle.own.load(relaxed) == 0);
        retire(middle);
        put(w, owner);
    });
}
// A handler frees on top of whatever its thread is at.
void freed_in_handler() {
    auto& w = new_world();
    thread([&w] {
        allocate(w);
        look(w);
    });
    handler(1, [&w] { free_block(w); });
    add_removal(w);
    handler(2, [&w] { free_block(w); });
}

constexpr scenario scenarios[] = {
    {"obj_cgroup_allocate_and_free", allocate_and_free, {2, 2}},
    {"obj_cgroup_freed_by_another", freed_by_another, {2, 1}},
    {"obj_cgroup_looked_at", looked_at, {2, 1}},
    {"obj_cgroup_external", external, {2, 2}},
    {"obj_cgroup_released_by_another", released_by_another, {2, 2}},
    {"obj_cgroup_external_is_kept", external_is_kept, {2, 2}},
    {"obj_cgroup_two_generations", two_generations, {2, 1}},
    {"obj_cgroup_freed_in_handler", freed_in_handler, {2, 1}},
};

constexpr survivor survivors[] = {
    {"obj_cgroup_core.hpp(2)", "relaxed", "a parent is older than its child, so who knows the core knows the heir"},
    {"obj_cgroup_core.hpp(3)", "relaxed", "as above"},
};
constexpr step steps[] = {{"no_section"}, {"no_grace_period"}, {"moved_early"},
                          {"put_early"},  {"freed_at_once"},   {"settled_late"}};

} // namespace

extern const suite obj_cgroup_suite;
const suite obj_cgroup_suite{"obj_cgroup", "obj_cgroup_core.hpp ", scenarios, survivors, steps};

} // namespace explore
