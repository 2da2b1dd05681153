// SPDX-License-Identifier: MIT
//
// cache_lifecycle: a root cache is destroyed while its children are made, deactivated and given back.
//
// Idea.        One root cache, GROUPS groups with a child cache each, USERS threads that allocate and free, closers, the
//              executor, RCU callbacks, and a destroyer. A child holds a reference on the root, a slab one on its child. What
//              is queued for the root's sake goes through the root's gate, which has two forms:
//              V_LOCK   a spinlock with signals blocked around {test; enqueue} (locked_guard), as in the mail of 2019
//              V_RCU    a read-side section around it; who changes the state waits for a grace period (section_guard)
//              A group that goes deactivates its child in one of two forms:
//              ITEM     one item of the executor: unpublish, wait for a grace period, revoke, put; as src/ does
//              else     stages: call_rcu, then a work that revokes and kills, as Linux does it. With REF_SWITCH the kill starts
//                       one more grace period, as a percpu_ref's switch does: a stage that a flushed stage starts
//              POSTED   what a closed gate refuses is skipped, not kept; destroy frees the children and the root himself, no
//                       reference is looked at, and no free may still be returning: the kernel's protocol, and its contract
//
//              here                      code
//              enqueue_unless_dying      slab/cache_gate.hpp enqueue_unless_dying; GUARD: slab/cache_guard.hpp scope
//              life, pending, kept_*     life_, pending_ (falls in finished()), kept_
//              change, settle            close, open; settle with sync/executor.cc rcu_barrier, flush
//              allocate, free_block      slab/alloc.cc try_cache, kmem_cache.hpp child_of; slab_ops.cc new_slab, release_slab
//              cached                    an empty slab that the thread's heap keeps: heap.hpp, slab_ops.cc retire
//              create, release           cache_lifecycle.cc create_child, publish; release_cache. ROOT: the root's own release
//              put_root, is_dead         cache_lifecycle.cc put_cache
//              offline                   group/lifecycle.cc offline_group
//              destroyer, shut_down      cache_destroy.cc destroy_root_cache, shut_down
//              hand_on                   cache_destroy.cc hand_on_all(take_kept(), enqueue_kept)
//              group memory              group_free.pml; here: freed by a callback after the last put
//              in_section, awaited_*     sync/rcu.hpp, as revoke.pml and shared_readers.pml prove it
//
//              Left out: the look at the gate in create_child (all holds without it), the grace work of typesafe_by_rcu
//              (type_safe.pml), blocks that wait in free_rcu, which destroy frees before its first step here.
//
// Contract.    No allocation after destroy; with LIVE=0 every free has begun before it (and may still be returning).
// Properties.  D1  Nobody touches a child, the root or a group after it was freed.
//              D2  A child's count goes to 0 once and never up from 0; child and root are released once.
//              D3  From the flush until the gate opens nothing is queued for the root's sake, and nothing is left to run.
//              D4  In the end everything is freed, nr_dying and the root's pending count are 0.
//              D5  Nobody waits for ever.
// Source.      Gushchin 2019; kernel-memcg.md 1.4, 1.5, races 1-4, 10, 2'.
//
//@ hold  lock                -DV_LOCK -DUSERS=2
//@ hold  lock_live           -DV_LOCK -DUSERS=2 -DLIVE=1
//@ hold  lock_switch         -DV_LOCK -DUSERS=2 -DREF_SWITCH
//@ hold  lock_open           -DV_LOCK -DUSERS=2 -DLIVE=1 -DCLOSERS=0
//@ hold  lock_aliased        -DV_LOCK -DUSERS=2 -DALIASES=2
//@ hold  lock_two_operations -DV_LOCK -DLIVE=1 -DNOPS=3
//@ hold  lock_item           -DV_LOCK -DITEM -DUSERS=2 -DLIVE=1
//@ hold  lock_posted         -DV_LOCK -DPOSTED -DUSERS=2 -DREF_SWITCH
//@ hold  section_two_groups  -DV_RCU -DGROUPS=2
//@ hold  section_live        -DV_RCU -DUSERS=2 -DLIVE=1
//@ hold  section_switch      -DV_RCU -DUSERS=2 -DREF_SWITCH
//@ hold  section_item        -DV_RCU -DITEM -DGROUPS=2 -DLIVE=1
//@ hold  section_posted      -DV_RCU -DPOSTED -DREF_SWITCH
//@ long  lock_two_groups     -DV_LOCK -DGROUPS=2 -DLIVE=1
//@ long  lock_two_users_twice -DV_LOCK -DUSERS=2 -DNOPS=2
//@ long  section_two_groups_live -DV_RCU -DGROUPS=2 -DLIVE=1
//@ long  section_two_groups_switch -DV_RCU -DGROUPS=2 -DREF_SWITCH
//@ long  section_item_twice  -DV_RCU -DITEM -DUSERS=2 -DNOPS=2 -DLIVE=1
//@ long  section_posted_two_groups -DV_RCU -DPOSTED -DGROUPS=2 -DREF_SWITCH
//
// Mutants, with the rule that each leaves out.
//@ fail  M_NO_DYING_DEACT    -DV_LOCK | -DV_RCU            # deactivation is queued without the test
//@ fail  M_NO_DYING_SHUTDOWN -DV_LOCK | -DV_RCU -DITEM     # a release is queued without the test
//@ fail  M_TEST_OUTSIDE      -DV_LOCK | -DV_RCU | -DV_LOCK -DPOSTED # the test is before the lock, before the section
//@ fail  M_NO_SYNC           -DV_RCU                       # no grace period after the gate was closed
//@ fail  M_FLAG_LATE         -DV_LOCK -DPOSTED | -DV_RCU   # the gate is closed after the barrier and the flush
//@ fail  M_FLUSH_FIRST       -DV_LOCK -DPOSTED | -DV_RCU   # {flush; rcu_barrier}, once
//@ fail  M_SYNC_FOR_BARRIER  -DV_LOCK -DPOSTED | -DV_RCU   # {synchronize_rcu; flush}, once
//@ fail  M_NO_FLUSH          -DV_LOCK -DPOSTED | -DV_RCU   # {rcu_barrier}, once
// The protocol as it was posted in 2019, and ours: {rcu_barrier; flush} once, where a flushed work starts a grace period.
//@ fail  M_ONE_PASS          -DV_LOCK -DPOSTED -DREF_SWITCH | -DV_RCU -DREF_SWITCH
//@ fail  M_COUNT_LATE        -DV_LOCK -DLIVE=1 | -DV_RCU -DITEM -DLIVE=1 # an item is counted after it was queued
//@ fail  M_NO_GP_KILL        -DV_LOCK | -DV_RCU -DITEM     # no grace period between unpublishing and the kill
//@ fail  M_LATE_CLEAR        -DV_LOCK                      # the array's entry is cleared after call_rcu
//@ fail  M_KILL_FIRST        -DV_RCU                       # the payer is rewritten after the kill
//@ fail  M_NO_REVOKE         -DV_LOCK | -DV_RCU -DITEM     # heaps are not revoked at deactivation and destroy
//@ fail  M_KILL_TWICE        -DV_LOCK | -DV_RCU -DITEM     # destroy puts children that are not published any more as well
//@ fail  M_NO_EXCLUSION      -DV_LOCK | -DV_RCU -DITEM     # destroy shuts children down beside the executor
//@ fail  M_CALLBACK_APART    -DV_RCU -DREF_SWITCH          # callbacks run beside the executor
//@ fail  M_NO_OPEN           -DV_LOCK | -DV_RCU -DITEM     # the gate stays closed
//@ fail  M_NO_HAND_ON        -DV_LOCK | -DV_RCU -DITEM     # what was refused is forgotten: a child nobody comes back to
//@ fail  M_HAND_ON_FIRST     -DV_LOCK | -DV_RCU -DITEM     # it is handed on before the gate is opened
//@ fail  M_OPEN_NO_SYNC      -DV_RCU -DITEM -DLIVE=1       # no grace period between opening and handing on
// Destroy takes no reference of its own: the root may go between opening and handing on.
//@ fail  M_NO_KEEPER         -DV_LOCK -DLIVE=1 | -DV_RCU -DITEM -DLIVE=1
//@ fail  M_PLAIN_LOCK        -DV_LOCK -DLIVE=1             # a free in a handler spins on what its own thread holds
//@ fail  M_LOCK_IN_GATE      -DV_LOCK -DLIVE=1             # the lock lies in the root, which may go before it is unlocked
//@ fail  M_ALIAS             -DV_LOCK -DALIASES=2          # the gate is closed although another user remains

#ifndef GROUPS
#define GROUPS 1
#endif
#ifndef USERS
#define USERS 1
#endif
#ifndef NOPS
#define NOPS 1 /* allocations of each user */
#endif
#ifndef LIVE
#define LIVE 0 /* 1: objects may outlive the cache */
#endif
#ifndef CLOSERS
#define CLOSERS GROUPS /* 0: the groups stay */
#endif
#ifndef ALIASES
#define ALIASES 1
#endif

#define ROOT GROUPS /* the root, among the children that wait for their release */
#define bit_of(g) (1 << (g))
#define is(set, g) ((set & bit_of(g)) != 0)
mtype = { unmade, alive, freed };
mtype = { live, dying, orphaned };

/* The root, and its gate. */
mtype root = alive, life = live;
byte root_refs = 1, aliases = ALIASES;
byte pending;  /* items between enqueue and end */
byte kept_deactivate, kept_release;
bit flushed, destroy_called, destroy_done;
#ifdef V_LOCK
bit gate_locked;
byte on_top;   /* a handler runs on top of the destroyer */
bit masked;    /* the destroyer has signals blocked */
#endif

/* The children, and the groups; sets are masks by group. */
mtype child[GROUPS], group[GROUPS];
byte refs[GROUPS], group_refs[GROUPS];
byte entry, listed, killed, parent_pays;
byte online = bit_of(GROUPS) - 1, wanted, nr_dying;

/* The queues: works, callbacks that wait for the next grace period, callbacks of the one under way. */
byte q_create, q_offline, q_deactivate, q_release;
byte c_deactivate, c_switch, c_group;
byte b_deactivate, b_switch, b_group;
bit run_locked;

/* Readers: users 0 .. USERS-1, the executor, callbacks, the destroyer. */
#define EXECUTOR USERS
#define CALLBACKS (USERS + 1)
#define DESTROYER (USERS + 2)
byte in_section, awaited_executor, awaited_callbacks, awaited_destroy;
bit cached[USERS], has_heap[USERS];
byte allocating, held; /* the contract's */
byte nr_done;

#define ROOT_ALIVE assert(root == alive) /* D1 */
#define CHILD_ALIVE(g) assert(child[g] == alive) /* D1 */

inline add(set, g) { set = set | bit_of(g) }
inline del(set, g) { set = set & ~bit_of(g) }

#define enter(who) in_section = in_section | bit_of(who)
inline leave(who) {
    d_step {
        in_section = in_section & ~bit_of(who);
        awaited_executor = awaited_executor & ~bit_of(who);
        awaited_callbacks = awaited_callbacks & ~bit_of(who);
        awaited_destroy = awaited_destroy & ~bit_of(who)
    }
}
inline wait_for_readers(awaited) {
    awaited = in_section;
    awaited == 0
}

inline put_group(g) {
    d_step {
        assert(group[g] == alive && group_refs[g] > 0);
        group_refs[g]--;
        if :: group_refs[g] == 0 -> add(c_group, g) :: else fi
    }
}

/* --- The gate ----------------------------------------------------------------------------------------------------------- */

#ifdef V_LOCK
#ifdef M_LOCK_IN_GATE
#define LOCK_ALIVE ROOT_ALIVE
#else
#define LOCK_ALIVE skip /* one lock for all gates */
#endif
#define GUARD(who) atomic { !gate_locked -> gate_locked = 1 }
#define UNGUARD(who, inside) atomic { LOCK_ALIVE; gate_locked = 0 }
#else
#define GUARD(who) enter(who) /* who is inside stays so */
#define UNGUARD(who, inside) if :: !inside -> leave(who) :: else fi
#endif

#ifdef M_NO_DYING_DEACT
#define test_deactivate 0
#else
#define test_deactivate 1
#endif
#ifdef M_NO_DYING_SHUTDOWN
#define test_release 0
#else
#define test_release 1
#endif

/* Queues g, or keeps it for the destroyer. `who` is the section's owner; `inside`: it is in a section already. */
inline enqueue_unless_dying(set, kept, g, who, inside, test) {
#ifdef M_TEST_OUTSIDE
    atomic { ROOT_ALIVE; refused = life == dying && test };
    if :: inside -> leave(who) :: else fi;
    GUARD(who);
#else
    GUARD(who);
    atomic { ROOT_ALIVE; refused = life == dying && test };
#endif
    if
    :: atomic { refused -> ROOT_ALIVE; add(kept, g) }
#ifdef M_COUNT_LATE
    :: atomic { !refused -> assert(!flushed); add(set, g) }; /* D3 */
        atomic { ROOT_ALIVE; pending++ }
#else
    :: atomic { !refused -> ROOT_ALIVE; pending++ };
        atomic { assert(!flushed); add(set, g) } /* D3 */
#endif
    fi;
    atomic { refused = 0; UNGUARD(who, inside) }
}

/* The last reference of a child, or of the root, is gone. */
#define is_dead(g, who, inside) enqueue_unless_dying(q_release, kept_release, g, who, inside, test_release)
#define queue_deactivation(set, g, who) enqueue_unless_dying(set, kept_deactivate, g, who, 0, test_deactivate)

/* Part of a step. */
inline put_slab(g) {
    CHILD_ALIVE(g);
    assert(refs[g] > 0); /* D2 */
    refs[g]--
}
inline put_root(who, inside) {
    d_step {
        ROOT_ALIVE;
        assert(root_refs > 0); /* D2 */
        root_refs--;
        found = (root_refs == 0)
    };
    if :: found -> is_dead(ROOT, who, inside) :: else fi;
    found = 0
}

#include "cache_lifecycle.inc"

/* --- Destroy ------------------------------------------------------------------------------------------------------------ */

inline change(to) {
#ifdef V_LOCK
#ifndef M_PLAIN_LOCK
    atomic { on_top == 0 -> masked = 1 };
#endif
    atomic { !gate_locked && on_top == 0 -> gate_locked = 1 };
    atomic { on_top == 0 -> ROOT_ALIVE; life = to; flushed = 0; gate_locked = 0; masked = 0 }
#else
    atomic { ROOT_ALIVE; life = to; flushed = 0 }
#endif
}
inline close_gate() {
    change(dying);
#if defined(V_RCU) && !defined(M_NO_SYNC)
    wait_for_readers(awaited_destroy)
#endif
}

inline rcu_barrier() {
    atomic { seen = c_deactivate | b_deactivate; seen_switch = c_switch | b_switch };
    (seen & (c_deactivate | b_deactivate)) == 0 && (seen_switch & (c_switch | b_switch)) == 0;
    atomic { seen = 0; seen_switch = 0 }
}
/* Works of a stage that are queued now, and the one that runs. */
inline flush_stage(queue) {
    seen = queue;
    atomic { (seen & queue) == 0 && !run_locked -> seen = 0 }
}
inline flush() {
    flush_stage(q_create);
    flush_stage(q_offline);
    flush_stage(q_deactivate);
    flush_stage(q_release)
}
inline settle() {
#if defined(M_FLUSH_FIRST)
    flush();
    rcu_barrier()
#elif defined(M_SYNC_FOR_BARRIER)
    wait_for_readers(awaited_destroy);
    flush()
#elif defined(M_NO_FLUSH)
    rcu_barrier()
#elif defined(M_ONE_PASS)
    rcu_barrier();
    flush()
#else
    do
    ::  rcu_barrier();
        flush();
        if :: pending == 0 -> break :: else fi
    od
#endif
}

inline shut_down() {
    do
    :: g < GROUPS && is(listed, g) ->
        d_step { revoke(g); found = is(entry, g) }; /* else it was deactivated: it goes with its last slab */
        d_step {
#ifdef M_KILL_TWICE
            found = 1;
#endif
            del(entry, g);
            if :: found -> kill(g) :: else fi
        };
        if :: found -> is_dead(g, DESTROYER, 0) :: else fi;
        g++
    :: g < GROUPS && !is(listed, g) -> g++
    :: else -> break
    od;
    atomic { g = 0; found = 0 };
    put_root(DESTROYER, 0)
}

#ifdef POSTED
/* As posted in 2019: what was refused is skipped, and whoever destroys frees the children and the root himself. */
inline free_everything() {
    do
    :: d_step {
            g < GROUPS && is(listed, g) ->
            revoke(g);
            if :: !is(killed, g) -> kill(g) :: else fi;
            CHILD_ALIVE(g);
            assert(refs[g] == 0); /* D2 */
            child[g] = freed;
            del(listed, g);
            del(entry, g);
            g++
        }
    :: g < GROUPS && !is(listed, g) -> g++
    :: else -> break
    od;
    atomic { ROOT_ALIVE; g = 0; found = 0; flushed = 0; root = freed }
}
#endif

inline hand_on() {
    atomic { ROOT_ALIVE; todo = kept_release; kept_release = 0; todo_deactivate = kept_deactivate; kept_deactivate = 0 };
    do
    :: todo != 0 ->
        atomic { g = FIRST(todo); del(todo, g) };
        is_dead(g, DESTROYER, 0)
    :: todo_deactivate != 0 ->
        atomic { g = FIRST(todo_deactivate); del(todo_deactivate, g) };
        queue_deactivation(c_deactivate, g, DESTROYER)
    :: todo == 0 && todo_deactivate == 0 -> break
    od;
    g = 0
}

proctype destroyer() {
    byte g, r, seen, seen_switch, todo, todo_deactivate;
    bit found, refused;
#ifdef POSTED
    atomic { allocating == 0 && held == 0 && (in_section & (bit_of(USERS) - 1)) == 0 -> destroy_called = 1 };
#else
    atomic { allocating == 0 && (LIVE || held == 0) -> destroy_called = 1 };
#endif
#ifdef M_ALIAS
    close_gate();
#endif
    aliases--;
    if :: aliases != 0 -> goto done :: else fi;
#ifndef M_NO_KEEPER
    root_refs++;
#endif
#ifndef M_FLAG_LATE
    close_gate();
#endif
    settle();
#ifdef M_FLAG_LATE
    close_gate();
#endif
#ifdef POSTED
    flushed = 1;
#else
    atomic { flushed = 1; assert(pending == 0) }; /* D3 */
#endif
#ifndef M_NO_EXCLUSION
    atomic { !run_locked -> run_locked = 1 };
#endif
#ifdef POSTED
    free_everything();
#else
    shut_down();
#endif
#ifndef M_NO_EXCLUSION
    run_locked = 0;
#endif
#ifndef POSTED
#ifdef M_HAND_ON_FIRST
    hand_on();
#endif
#ifndef M_NO_OPEN
    change(orphaned);
#endif
#if defined(V_RCU) && !defined(M_OPEN_NO_SYNC)
    wait_for_readers(awaited_destroy);
#endif
#if !defined(M_NO_HAND_ON) && !defined(M_HAND_ON_FIRST)
    hand_on();
#endif
#ifndef M_NO_KEEPER
    put_root(DESTROYER, 0);
#endif
#endif
done:
    atomic { destroy_done = 1; nr_done++ }
}

proctype final() {
    timeout ->
    assert(nr_done == USERS + CLOSERS + 1 && !run_locked); /* D5 */
    assert((q_create | q_offline | q_deactivate | q_release | c_deactivate | c_switch | c_group) == 0);
    assert(nr_dying == 0 && pending == 0); /* D4 */
    assert(child[0] != alive && child[GROUPS - 1] != alive); /* D4 */
    assert(CLOSERS == 0 || (group[0] == freed && group[GROUPS - 1] == freed)); /* D4 */
    assert(ALIASES == 1 -> root == freed : root == alive && root_refs == 1) /* D4 */
}

inline start(g, or_not) {
    child[g] = unmade;
    group[g] = alive;
    group_refs[g] = 1;
    if /* a child may be there already */
    :: or_not
    :: child[g] = alive; refs[g] = 1; root_refs++; add(entry, g); add(listed, g); add(wanted, g)
    fi;
    if :: CLOSERS > 0 -> run closer(g) :: else fi
}

init {
    atomic {
        start(0, true);
#if GROUPS > 1
        start(1, USERS > 1);
#endif
        run user(0);
#if USERS > 1
        run user(1);
#endif
        run executor();
        run callbacks();
        run destroyer();
        run final()
    }
}
