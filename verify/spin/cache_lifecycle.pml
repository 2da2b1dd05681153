// SPDX-License-Identifier: MIT
//
// cache_lifecycle: a root cache is destroyed while its children are made, deactivated and given back.
//
// Idea.        One root cache, GROUPS groups with a child cache each, USERS threads that allocate and free, closers, the
//              executor, RCU callbacks, and a destroyer. A child holds a reference on the root, a slab one on its child. Three
//              forms of the protocol:
//              V_LOCK   DESIGN.md 6, enqueue_unless_dying() under an irqsave spinlock, as in the mail of 2019
//              V_RCU    DESIGN.md 6, enqueue_unless_dying() in a read-side section; destroy waits a grace period after the flag
//              V_EXEC   src/slab/cache_lifecycle.cc as it is: no gate; offline and destroy are single items of the executor,
//                       the last put of a child always queues, children pin the root
//              RESCAN   a group's wanted bits stay set, so that a later work looks at this root's once more
//              REF_SWITCH  (with V_LOCK, V_RCU) killing a child starts another grace period, as a percpu_ref's switch does or
//                       the pages of a typesafe_by_rcu cache: a stage that a flushed stage starts
//
//              here                      code (V_EXEC), DESIGN.md 6 (others)
//              allocate, free            slab/alloc.cc try_cache, kmem_cache.hpp child_of; slab_ops.cc new_slab, release_slab
//              cached                    an empty slab that the thread's heap keeps: heap.hpp, slab_ops.cc retire
//              enqueue_unless_dying      DESIGN.md 6
//              create                    group/lifecycle.cc create_children; cache_lifecycle.cc create_child, publish
//              offline                   group/lifecycle.cc offline_group (unpublish_children, reparent, kill_cache)
//              deactivate                DESIGN.md 6 "deactivated -> dying"
//              release_child, put_root   cache_lifecycle.cc release_cache, put_root, release_root
//              destroy, shut_down        cache_lifecycle.cc destroy_root_cache, shut_down, shut_down_child
//              group memory              group_free.pml; here: freed by a callback after the last put
//              in_section, awaited_*     sync/rcu.hpp, as revoke.pml and shared_readers.pml prove it
//
// Contract.    No allocation after destroy; with LIVE=0 every free has begun before it (and may still be returning).
// Properties.  D1  Nobody touches a child, the root or a group after it was freed.
//              D2  A child's count goes to 0 once and never up from 0; child and root are released once.
//              D3  After the flush nothing is queued for the root's sake but by children that destroy has left alone.
//              D4  In the end everything is freed, nr_dying and the root's pending count are 0.
//              D5  Nobody waits for ever.
// Mutants.     M_NO_DYING_DEACT     deactivation is queued without the test
//              M_NO_DYING_SHUTDOWN  a release is queued without the test
//              M_TEST_OUTSIDE       the test is before the lock (V_LOCK), before the section (V_RCU)
//              M_NO_SYNC            V_RCU: no grace period after the flag
//              M_FLAG_LATE          the flag is set after the barrier and the flush
//              M_FLUSH_FIRST        {flush; rcu_barrier}, once
//              M_SYNC_FOR_BARRIER   {synchronize_rcu; flush}, once
//              M_NO_FLUSH           {rcu_barrier}, once
//              M_ONE_PASS           {rcu_barrier; flush}, once, where a flushed work starts a grace period: as posted in 2019
//              M_NO_GP_KILL         deactivation is queued as work at once
//              M_LATE_CLEAR         the array's entry is cleared after call_rcu
//              M_KILL_FIRST         the payer is rewritten after the kill
//              M_NO_REVOKE          heaps are not revoked at deactivation and destroy
//              M_NO_FREE_GP         destroy frees a child without a grace period: a free may still be returning
//              M_NO_TRYGET          destroy looks at a child's count instead of taking a reference
//              M_PLAIN_LOCK         the lock does not block signals: a free in a handler spins on what its own thread holds
//              M_ALIAS              the flag is set although another user of the cache remains
//              M_NO_DYING_CREATE    RESCAN: creation does not test the flag
//              M_KILL_TWICE         V_EXEC: destroy kills children that are not published any more as well
//              M_NO_EXCLUSION       destroy does not keep the executor out while it shuts the children down
// Source.      Gushchin 2019; kernel-memcg.md 1.4, 1.5, races 1-4, 10; substrate.md B1.
//
//@ hold  lock                 -DV_LOCK -DGROUPS=1 -DUSERS=2
//@ hold  lock_live            -DV_LOCK -DGROUPS=1 -DUSERS=2 -DLIVE
//@ hold  lock_switch          -DV_LOCK -DGROUPS=1 -DUSERS=2 -DREF_SWITCH
//@ hold  lock_open            -DV_LOCK -DGROUPS=1 -DUSERS=2 -DLIVE -DOPEN
//@ hold  lock_aliased         -DV_LOCK -DGROUPS=1 -DUSERS=2 -DALIASED
//@ hold  lock_two_operations  -DV_LOCK -DGROUPS=1 -DUSERS=1 -DLIVE -DNOPS=3
//@ hold  section_two_groups   -DV_RCU -DGROUPS=2 -DUSERS=1
//@ hold  section_live         -DV_RCU -DGROUPS=1 -DUSERS=2 -DLIVE
//@ hold  section_switch       -DV_RCU -DGROUPS=1 -DUSERS=2 -DREF_SWITCH
//@ hold  executor_two_groups  -DV_EXEC -DGROUPS=2 -DUSERS=1
//@ hold  executor_rescan      -DV_EXEC -DGROUPS=1 -DUSERS=2 -DRESCAN
//@ hold  executor_live        -DV_EXEC -DGROUPS=1 -DUSERS=2 -DLIVE
//@ hold  executor_open        -DV_EXEC -DGROUPS=1 -DUSERS=2 -DLIVE -DOPEN -DRESCAN
//@ long  lock_two_groups      -DV_LOCK -DGROUPS=2 -DUSERS=1 -DLIVE
//@ long  section_two_groups_live -DV_RCU -DGROUPS=2 -DUSERS=1 -DLIVE
//@ long  section_two_groups_switch -DV_RCU -DGROUPS=2 -DUSERS=1 -DREF_SWITCH
//@ long  executor_two_groups_live -DV_EXEC -DGROUPS=2 -DUSERS=1 -DLIVE -DRESCAN
//@ long  lock_two_users_twice -DV_LOCK -DGROUPS=1 -DUSERS=2 -DNOPS=2
//@ long  section_two_users_twice -DV_RCU -DGROUPS=1 -DUSERS=2 -DNOPS=2
//@ long  executor_two_users_twice -DV_EXEC -DGROUPS=1 -DUSERS=2 -DNOPS=2
//@ fail  M_NO_DYING_DEACT     -DV_LOCK -DGROUPS=1 -DUSERS=1
//@ fail  M_NO_DYING_DEACT     -DV_RCU -DGROUPS=1 -DUSERS=1
//@ fail  M_NO_DYING_SHUTDOWN  -DV_LOCK -DGROUPS=1 -DUSERS=1
//@ fail  M_NO_DYING_SHUTDOWN  -DV_RCU -DGROUPS=1 -DUSERS=1 -DLIVE
//@ fail  M_TEST_OUTSIDE       -DV_LOCK -DGROUPS=1 -DUSERS=1
//@ fail  M_TEST_OUTSIDE       -DV_RCU -DGROUPS=1 -DUSERS=1
//@ fail  M_NO_SYNC            -DV_RCU -DGROUPS=1 -DUSERS=1
//@ fail  M_FLAG_LATE          -DV_LOCK -DGROUPS=1 -DUSERS=1
//@ fail  M_FLAG_LATE          -DV_RCU -DGROUPS=1 -DUSERS=1
//@ fail  M_FLUSH_FIRST        -DV_LOCK -DGROUPS=1 -DUSERS=1
//@ fail  M_FLUSH_FIRST        -DV_RCU -DGROUPS=1 -DUSERS=1
//@ fail  M_SYNC_FOR_BARRIER   -DV_LOCK -DGROUPS=1 -DUSERS=1
//@ fail  M_SYNC_FOR_BARRIER   -DV_RCU -DGROUPS=1 -DUSERS=1
//@ fail  M_NO_FLUSH           -DV_LOCK -DGROUPS=1 -DUSERS=1
//@ fail  M_ONE_PASS           -DV_LOCK -DGROUPS=1 -DUSERS=1 -DREF_SWITCH
//@ fail  M_ONE_PASS           -DV_RCU -DGROUPS=1 -DUSERS=1 -DREF_SWITCH
//@ fail  M_NO_GP_KILL         -DV_LOCK -DGROUPS=1 -DUSERS=1
//@ fail  M_LATE_CLEAR         -DV_LOCK -DGROUPS=1 -DUSERS=1
//@ fail  M_KILL_FIRST         -DV_RCU -DGROUPS=1 -DUSERS=1
//@ fail  M_NO_REVOKE          -DV_RCU -DGROUPS=1 -DUSERS=1
//@ fail  M_NO_REVOKE          -DV_EXEC -DGROUPS=1 -DUSERS=1
//@ fail  M_NO_FREE_GP         -DV_LOCK -DGROUPS=1 -DUSERS=1
//@ fail  M_NO_FREE_GP         -DV_RCU -DGROUPS=1 -DUSERS=1 -DLIVE
//@ fail  M_NO_TRYGET          -DV_LOCK -DGROUPS=1 -DUSERS=1 -DLIVE
//@ fail  M_PLAIN_LOCK         -DV_LOCK -DGROUPS=1 -DUSERS=1 -DLIVE
//@ fail  M_ALIAS              -DV_LOCK -DGROUPS=1 -DUSERS=1 -DALIASED
//@ fail  M_NO_DYING_CREATE    -DV_EXEC -DGROUPS=1 -DUSERS=1 -DLIVE -DOPEN
//@ fail  M_NO_DYING_CREATE    -DV_RCU -DGROUPS=1 -DUSERS=1 -DLIVE
//@ fail  M_KILL_TWICE         -DV_EXEC -DGROUPS=1 -DUSERS=1
//@ fail  M_NO_EXCLUSION       -DV_EXEC -DGROUPS=1 -DUSERS=1
//@ fail  M_NO_EXCLUSION       -DV_RCU -DGROUPS=1 -DUSERS=1

#ifndef GROUPS
#define GROUPS 2
#endif
#ifndef USERS
#define USERS 2
#endif
#ifndef NOPS
#define NOPS 1 /* allocations of each user */
#endif
#if defined(M_FLUSH_FIRST) || defined(M_SYNC_FOR_BARRIER) || defined(M_NO_FLUSH) || defined(M_ONE_PASS)
#define SINGLE_PASS
#endif
#ifdef LIVE
#define IS_LIVE 1
#else
#define IS_LIVE 0
#endif
#ifdef M_NO_DYING_CREATE
#define RESCAN
#endif

#define bit_of(g) (1 << (g))
#define ALL ((1 << GROUPS) - 1)
mtype = { unmade, alive, freed };

/* The root. */
mtype root = alive;
byte root_refs = 1;
bit dying, destroy_called, destroy_done, flushed;
byte pending; /* items of this root between enqueue and end */
bit q_root;
#ifdef ALIASED
byte aliases = 2;
#else
byte aliases = 1;
#endif

/* The children, and the groups; sets are masks by group. */
mtype child[GROUPS];
byte refs[GROUPS];
byte entry, listed, killed, left_alone, parent_pays;
mtype group[GROUPS];
byte group_refs[GROUPS];
byte online, wanted, nr_dying;

/* The queues: works, callbacks that wait for the next grace period, callbacks of the one under way. */
byte q_create, q_offline, q_deact, q_release, running;
byte c_deact, c_switch, c_group;
byte b_deact, b_switch, b_group;
bit run_locked;

/* Readers: users 0 .. USERS-1, the executor USERS. */
byte in_section, awaited_executor, awaited_callbacks, awaited_destroy;
bit cached[USERS], has_heap[USERS];
byte allocating, held; /* the contract's */
byte nr_done;

#define EXECUTOR USERS
#define is(set, g) ((set & bit_of(g)) != 0)
#define ROOT_ALIVE assert(root == alive)
#define CHILD_ALIVE(g) assert(child[g] == alive)

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

inline put_group(g) {
    d_step {
        assert(group[g] == alive && group_refs[g] > 0);
        group_refs[g]--;
        if
        :: group_refs[g] == 0 -> add(c_group, g)
        :: else
        fi
    }
}

/* --- The gate ----------------------------------------------------------------------------------------------------------- */

#ifdef V_LOCK
bit gate_locked;
byte on_top;    /* a handler runs on top of the destroyer */
bit masked;     /* the destroyer has signals blocked */
#endif

/* Part of a step. A stage of its own waits for its callback or work. */
#define queue_counted(set, g) \
    assert(!flushed); /* D3 */ \
    pending++; \
    set = set | bit_of(g)

#ifdef M_NO_DYING_DEACT
#define gated_deact 0
#else
#define gated_deact 1
#endif
#ifdef M_NO_DYING_SHUTDOWN
#define gated_release 0
#else
#define gated_release 1
#endif

/* Queues g for `set` unless the root is dying. `who` is the section's owner; `inside`: it is in a section already. */
#if defined(V_LOCK) && !defined(M_TEST_OUTSIDE)
#define enqueue_unless_dying(set, g, who, inside, gated) \
    atomic { !gate_locked -> gate_locked = 1 }; \
    atomic { ROOT_ALIVE; if :: dying && gated :: else -> queue_counted(set, g) fi }; \
    gate_locked = 0
#elif defined(V_LOCK)
#define enqueue_unless_dying(set, g, who, inside, gated) \
    atomic { ROOT_ALIVE; refused = dying && gated }; \
    atomic { !gate_locked -> gate_locked = 1 }; \
    atomic { ROOT_ALIVE; if :: refused :: else -> queue_counted(set, g) fi; refused = 0 }; \
    gate_locked = 0
#elif defined(V_RCU) && !defined(M_TEST_OUTSIDE)
#define enqueue_unless_dying(set, g, who, inside, gated) \
    enter(who); /* who is inside stays so */ \
    atomic { ROOT_ALIVE; refused = dying && gated }; \
    atomic { ROOT_ALIVE; if :: refused :: else -> queue_counted(set, g) fi; refused = 0 }; \
    if :: !inside -> leave(who) :: else fi
#elif defined(V_RCU)
#define enqueue_unless_dying(set, g, who, inside, gated) \
    atomic { ROOT_ALIVE; refused = dying && gated }; \
    if :: !inside -> enter(who) :: else -> leave(who); enter(who) fi; \
    atomic { ROOT_ALIVE; if :: refused :: else -> queue_counted(set, g) fi; refused = 0 }; \
    if :: !inside -> leave(who) :: else fi
#endif

/* The child's last reference is gone. */
inline child_is_dead(g, who, inside) {
#ifdef V_EXEC
    d_step { CHILD_ALIVE(g); add(q_release, g) }
#else
    if
    :: d_step { is(left_alone, g) -> CHILD_ALIVE(g); add(q_release, g) } /* destroyed with objects: releases itself */
    :: else ->
        enqueue_unless_dying(q_release, g, who, inside, gated_release)
    fi
#endif
}

/* Part of a step. */
inline put_slab(g) {
    CHILD_ALIVE(g);
    assert(refs[g] > 0); /* D2 */
    refs[g]--
}

/* --- Users -------------------------------------------------------------------------------------------------------------- */

inline allocate() {
    if
    :: d_step { cached[me] -> cached[me] = 0; CHILD_ALIVE(g); mine = 1 }
    :: else ->
        found = is(entry, g);
        atomic {
            if
            :: found ->
                CHILD_ALIVE(g);
                assert(refs[g] > 0); /* D2 */
                refs[g]++;
                mine = 1;
                has_heap[me] = 1
            :: else ->
                ROOT_ALIVE;
                root_refs++;
                mine = 2;
                if
                :: is(online, g) && !is(wanted, g) ->
                    add(wanted, g);
                    group_refs[g]++;
                    add(q_create, g)
                :: else
                fi
            fi
        }
    fi
}

inline free_block() {
    if
    :: mine == 2 ->
        d_step {
            ROOT_ALIVE;
            root_refs--;
            if
            :: root_refs == 0 -> q_root = 1
            :: else
            fi
        }
    :: mine == 1 ->
        if
        :: d_step { has_heap[me] -> CHILD_ALIVE(g); cached[me] = 1 } /* the heap keeps the slab */
        ::  d_step { CHILD_ALIVE(g); who_pays = is(parent_pays, g) };
            d_step {
                assert(who_pays || group[g] == alive); /* D1: uncharge_slab */
                put_slab(g);
                found = (refs[g] == 0)
            };
            if
            :: found -> child_is_dead(g, me, 1)
            :: else
            fi
        fi
    fi
}

proctype user(byte me) {
    byte ops, mine, g;
    bit found, refused, who_pays, here;
    g = me % GROUPS;
    do
    :: atomic { ops < NOPS && !destroy_called -> ops++; allocating++; enter(me) };
        allocate();
        atomic { found = 0; held++; allocating--; leave(me) };
#ifdef V_LOCK
        /* user 0 frees in a signal handler, on the destroyer's thread or elsewhere */
        atomic {
            held > 0 -> held--;
            if
            :: me == 0 && !masked && destroy_called && !destroy_done -> on_top = 1; here = 1
            :: true
            fi;
            enter(me)
        };
#else
        atomic { held > 0 -> held--; enter(me) };
#endif
        free_block();
        atomic {
            mine = 0;
            found = 0;
            who_pays = 0;
#ifdef V_LOCK
            on_top = on_top - here;
            here = 0;
#endif
            leave(me)
        }
    :: ops == NOPS || destroy_called -> break
    od;
    nr_done++
}

/* --- Groups ------------------------------------------------------------------------------------------------------------- */

proctype closer(byte g) {
    d_step { del(online, g); nr_dying++; add(q_offline, g) };
    nr_done++
}

#ifdef RESCAN
/* Another cache of the group warms up: the work looks at all wanted bits again. */
proctype other_cache(byte g) {
    if
    :: d_step { is(online, g) && is(wanted, g) && !is(q_create, g) -> group_refs[g]++; add(q_create, g) }
    :: true
    fi;
    nr_done++
}
#endif

/* --- The executor ------------------------------------------------------------------------------------------------------- */

inline wait_for_readers(awaited) {
    awaited = in_section;
    awaited == 0
}

/* What heaps keep of the child goes back. Who revokes is alone with the slabs: revoke.pml. Part of a step. */
inline revoke(g) {
#ifndef M_NO_REVOKE
    r = 0;
    do
    :: r < USERS ->
        if
        :: r % GROUPS == g && cached[r] -> cached[r] = 0; put_slab(g)
        :: else
        fi;
        if
        :: r % GROUPS == g -> has_heap[r] = 0
        :: else
        fi;
        r++
    :: else -> break
    od;
    r = 0
#else
    skip
#endif
}

/* Drops the reference that the cache has on itself. Part of a step. */
inline kill(g) {
    CHILD_ALIVE(g);
    assert(!is(killed, g)); /* D2 */
    add(killed, g);
    put_slab(g)
}

inline free_root() {
    assert(root == alive && root_refs == 0);
    root = freed
}
inline put_root() {
    ROOT_ALIVE;
    assert(root_refs > 0);
    root_refs--;
    if
    :: root_refs == 0 -> free_root()
    :: else
    fi
}

/* Of a child with no references, by the executor or the destroyer. */
inline release_child(g, awaited) {
    d_step {
        CHILD_ALIVE(g);
        assert(refs[g] == 0 && is(listed, g)); /* D2 */
        del(listed, g)
    };
#if !defined(V_EXEC) && !defined(M_NO_FREE_GP)
    wait_for_readers(awaited);
#endif
    d_step {
        CHILD_ALIVE(g);
        child[g] = freed;
        put_root()
    }
}

/* create_children(), and the put of the group that the item holds. */
inline create(g) {
    atomic {
        if
        :: !is(online, g) || is(entry, g) || child[g] == alive || root != alive
#if defined(V_EXEC) && !defined(M_NO_DYING_CREATE)
        :: dying
#endif
        :: else ->
            ROOT_ALIVE;
            child[g] = alive;
            refs[g] = 1;
            root_refs++;
            add(listed, g);
            del(killed, g);
            del(left_alone, g);
            del(parent_pays, g);
            found = 1
        fi
    };
    atomic {
        if
        :: found && is(online, g) -> add(entry, g) /* adopt_cache() under the tree lock; the offline work comes after this */
        :: found && !is(online, g) -> del(listed, g); refs[g] = 0; child[g] = freed; put_root()
        :: else
        fi;
        found = 0;
        put_group(g)
    }
}

inline reparent(g) {
    if
    :: child[g] == alive -> add(parent_pays, g)
    :: else
    fi
}

inline offline(g) {
    found = 0;
#if defined(V_EXEC)
    d_step { found = is(entry, g); del(entry, g); reparent(g) };
    wait_for_readers(awaited_executor);
    if
    :: found ->
        d_step { revoke(g); kill(g); found = (refs[g] == 0) };
        if
        :: found -> child_is_dead(g, EXECUTOR, 0)
        :: else
        fi
    :: else
    fi;
#elif defined(M_LATE_CLEAR)
    d_step { found = is(entry, g); reparent(g) };
    if
    :: found -> enqueue_unless_dying(c_deact, g, EXECUTOR, 0, gated_deact)
    :: else
    fi;
    del(entry, g);
#elif defined(M_KILL_FIRST)
    d_step { found = is(entry, g); del(entry, g) };
    if
    :: found -> enqueue_unless_dying(c_deact, g, EXECUTOR, 0, gated_deact)
    :: else
    fi;
#elif defined(M_NO_GP_KILL)
    d_step { found = is(entry, g); del(entry, g); reparent(g) };
    if
    :: found -> enqueue_unless_dying(q_deact, g, EXECUTOR, 0, gated_deact)
    :: else
    fi;
#else
    d_step { found = is(entry, g); del(entry, g); reparent(g) };
    if
    :: found -> enqueue_unless_dying(c_deact, g, EXECUTOR, 0, gated_deact)
    :: else
    fi;
#endif
    found = 0;
    put_group(g)
}

#ifndef V_EXEC
/* After the grace period. */
inline deactivate(g) {
#ifdef REF_SWITCH
    d_step { revoke(g); add(c_switch, g) } /* still pending */
#else
    d_step { revoke(g); kill(g); found = (refs[g] == 0) };
#ifdef M_KILL_FIRST
    d_step { CHILD_ALIVE(g); reparent(g) };
#endif
    if
    :: found -> child_is_dead(g, EXECUTOR, 0)
    :: else
    fi;
    d_step { pending--; found = 0 }
#endif
}
#endif

#define RUN(queue, g) atomic { queue != 0 && !run_locked -> run_locked = 1; if :: is(queue, 0) -> g = 0 :: GROUPS > 1 && is(queue, 1) -> g = 1 fi; del(queue, g); running = bit_of(g) }
#define DONE(g) atomic { run_locked = 0; running = 0; g = 0 }

proctype executor() {
    byte g, r;
    bit found, refused;
end:
    do
    :: RUN(q_create, g);
        create(g);
        DONE(g)
    :: RUN(q_offline, g);
        offline(g);
        DONE(g)
#ifndef V_EXEC
    :: RUN(q_deact, g);
        deactivate(g);
        DONE(g)
#endif
    :: RUN(q_release, g);
        release_child(g, awaited_executor);
#ifndef V_EXEC
        if
        :: !is(left_alone, g) -> pending--
        :: else
        fi;
#endif
        DONE(g)
    :: atomic { q_root && !run_locked -> q_root = 0; free_root() }
    od
}

/* A grace period, then what was queued before it, in any order; on any thread, in any context. */
proctype callbacks() {
    byte g;
    bit found, refused;
end:
    do
    :: atomic {
            (c_deact | c_switch | c_group) != 0 ->
            b_deact = c_deact;
            b_switch = c_switch;
            b_group = c_group;
            c_deact = 0;
            c_switch = 0;
            c_group = 0;
            awaited_callbacks = in_section
        };
        awaited_callbacks == 0;
        do
        :: atomic {
                b_group != 0 ->
                g = (is(b_group, 0) -> 0 : 1);
                assert(group[g] == alive && (is(parent_pays, g) || child[g] != alive)); /* D1 */
                del(b_group, g);
                group[g] = freed;
                nr_dying--;
                g = 0
            }
        :: atomic {
                b_deact != 0 ->
                g = (is(b_deact, 0) -> 0 : 1);
                del(b_deact, g);
                add(q_deact, g); /* still pending */
                g = 0
            }
#ifdef REF_SWITCH
        :: b_switch != 0 ->
            atomic {
                g = (is(b_switch, 0) -> 0 : 1);
                kill(g);
                found = (refs[g] == 0)
            };
            if
            :: found -> child_is_dead(g, EXECUTOR + 1, 0)
            :: else
            fi;
            atomic { pending--; del(b_switch, g); found = 0; g = 0 }
#endif
        :: (b_deact | b_switch | b_group) == 0 -> break
        od
    od
}

/* --- Destroy ------------------------------------------------------------------------------------------------------------ */

inline set_dying() {
#ifdef V_LOCK
#ifndef M_PLAIN_LOCK
    atomic { on_top == 0 -> masked = 1 };
#endif
    atomic { !gate_locked && on_top == 0 -> gate_locked = 1 };
    atomic { on_top == 0 -> dying = 1; gate_locked = 0 };
#ifndef M_PLAIN_LOCK
    masked = 0
#else
    skip
#endif
#else
    dying = 1;
#if defined(V_RCU) && !defined(M_NO_SYNC)
    wait_for_readers(awaited_destroy)
#else
    skip
#endif
#endif
}

inline rcu_barrier() {
    atomic { seen = c_deact | b_deact; seen_switch = c_switch | b_switch };
    (seen & (c_deact | b_deact)) == 0 && (seen_switch & (c_switch | b_switch)) == 0;
    atomic { seen = 0; seen_switch = 0 }
}
/* Works that are queued now, and the one that runs. */
inline flush() {
    atomic { seen = q_create | q_deact | q_release | running };
    (seen & (q_create | q_deact | q_release | running)) == 0;
    seen = 0
}

inline flush_to_a_fixed_point() {
#if defined(M_FLUSH_FIRST)
    flush();
    rcu_barrier()
#elif defined(M_SYNC_FOR_BARRIER)
    wait_for_readers(awaited_destroy);
    flush()
#elif defined(M_NO_FLUSH)
    rcu_barrier()
#elif defined(SINGLE_PASS)
    rcu_barrier();
    flush()
#else
    do
    ::  rcu_barrier();
        flush();
        if
        :: pending == 0 -> break
        :: else
        fi
    od
#endif
}

/* Takes the child over, or leaves it to its last object. */
inline shut_down_child(g) {
    found = 0;
    d_step {
        revoke(g);
        if
        :: !is(killed, g) -> /* the cache's own reference is mine now */
            assert(refs[g] > 0);
            add(killed, g);
            del(entry, g);
            found = 1
#ifdef M_NO_TRYGET
        :: is(killed, g) && refs[g] > 0 -> found = 2
#else
        :: is(killed, g) && refs[g] > 0 -> refs[g]++; found = 1
#endif
        :: else
        fi
    };
#ifdef M_NO_TRYGET
    if
    :: found == 2 -> add(left_alone, g)
    :: else
    fi;
#endif
    if
    :: found == 1 ->
        add(left_alone, g);
        d_step { put_slab(g); found = (refs[g] == 0) };
        if
        :: found -> release_child(g, awaited_destroy)
        :: else
        fi
    :: found == 0 -> release_child(g, awaited_destroy) /* its release was refused */
    :: else
    fi;
    found = 0
}

/* V_EXEC: as cache_lifecycle.cc shut_down_child. */
inline kill_published_child(g) {
    d_step { revoke(g); found = is(entry, g) };
    d_step {
#ifdef M_KILL_TWICE
        found = 1;
#endif
        del(entry, g);
        if
        :: found -> kill(g); found = (refs[g] == 0)
        :: else
        fi
    };
    if
    :: found -> child_is_dead(g, EXECUTOR, 0)
    :: else
    fi;
    found = 0
}

proctype destroyer() {
    byte g, r, seen, seen_switch, found;
    bit refused;
    atomic { allocating == 0 && (IS_LIVE || held == 0) -> destroy_called = 1 };
#ifdef M_ALIAS
    set_dying();
#endif
    aliases--;
    if
    :: aliases != 0 -> goto done
    :: else
    fi;
#ifndef M_FLAG_LATE
    set_dying();
#endif
#ifdef V_EXEC
    (q_create | q_offline | q_release) == 0 && !q_root && !run_locked; /* drain() */
#else
    flush_to_a_fixed_point();
#endif
#ifdef M_FLAG_LATE
    set_dying();
#endif
#ifndef V_EXEC
    flushed = 1;
#endif
#ifndef M_NO_EXCLUSION
    atomic { !run_locked -> run_locked = 1 };
#endif
    do
    :: g < GROUPS && is(listed, g) ->
#ifdef V_EXEC
        kill_published_child(g);
#else
        shut_down_child(g);
#endif
        g++
    :: g < GROUPS && !is(listed, g) -> g++
    :: else -> break
    od;
    atomic { put_root(); g = 0 };
#ifndef M_NO_EXCLUSION
    run_locked = 0;
#endif
done:
    atomic { destroy_done = 1; nr_done++ }
}

#ifdef RESCAN
#define RESCANS 1
#else
#define RESCANS 0
#endif
#ifdef OPEN
#define CLOSERS 0
#else
#define CLOSERS GROUPS
#endif

proctype final() {
    timeout ->
    assert(nr_done == USERS + CLOSERS + RESCANS + 1 && !run_locked); /* D5 */
    assert((q_create | q_offline | q_deact | q_release | c_deact | c_switch | c_group) == 0 && !q_root);
    assert(nr_dying == 0 && pending == 0); /* D4 */
#ifndef OPEN
    assert(group[0] == freed && group[GROUPS - 1] == freed); /* D4 */
#endif
    assert(child[0] != alive && child[GROUPS - 1] != alive); /* D4 */
#ifdef ALIASED
    assert(root == alive && root_refs == 1)
#else
    assert(root == freed) /* D4 */
#endif
}

inline child_at_start(g) {
    child[g] = alive;
    refs[g] = 1;
    root_refs++;
    add(entry, g);
    add(listed, g);
    add(wanted, g)
}

init {
    atomic {
        group[0] = alive;
        group[GROUPS - 1] = alive;
        group_refs[0] = 1;
        group_refs[GROUPS - 1] = 1;
        child[0] = unmade;
        child[GROUPS - 1] = unmade;
        online = ALL;
        if /* a child may be there already */
        :: skip
        :: child_at_start(0)
        fi;
#if GROUPS > 1
        if
#if USERS > 1
        :: skip
#endif
        :: child_at_start(1)
        fi;
#endif
        run executor();
        run callbacks();
        run user(0);
#if USERS > 1
        run user(1);
#endif
#ifndef OPEN
        run closer(0);
#if GROUPS > 1
        run closer(1);
#endif
#endif
#ifdef RESCAN
        run other_cache(0);
#endif
        run destroyer();
        run final()
    }
}
