// SPDX-License-Identifier: MIT
//
// group_free: the end of a group, whoever drops its last reference, wherever.
//
// Idea.        The root R, a group P in it and a group C in P. T makes C and closes P, which closes C first. References to C
//              are held by a handle that a signal handler on top of T puts, by a lookup through the id table, and by the
//              library; an object charged to C is freed at any time. The last put only enqueues; then grace period, worker,
//              parent last. RCU callbacks may run on top of T as well: that is where Costa's ran, and nothing in call_rcu's
//              contract forbids it.
//
//              here                code
//              make_and_close      group/tree.cc create, link_charged; group/lifecycle.cc close, close_one
//              put                 group/lifecycle.cc put; group/tree.cc forget_id; sync/work_queue.hpp push (the pending bit)
//              offline             group/lifecycle.cc offline_group, reparent; counter/account.cc reparent_local
//              callbacks           sync/executor.cc run_after_grace_period; group/lifecycle.cc after_grace_period
//              free_group          group/lifecycle.cc free_siblings, take_off, free_memory; that the next group may get the memory is the same to it
//              lookup              group/tree.cc group_of, tryget
//              object              slab/obj_cgroup.hpp I2: payer read inside a section that lasts until the uncharge is done
//              share[]             account_record::local, here the sum over the kinds
//              refs[]              mem_cgroup::refs, here a plain count: percpu_ref.pml proves the switches of it
//              in_section, wait    sync/rcu.hpp, as revoke.pml and shared_readers.pml prove it
//
// Properties.  G1  No group is touched after it was freed; a parent is freed after its children.
//              G2  A count goes from 1 to 0 once and never from 0 to 1: one release.
//              G3  nr_dying of P and R returns to 0, every closed group is freed.
//              G4  The own shares are exact: those of a freed group are 0, R's is 0 in the end.
//              G5  Nobody waits for ever: no lock is taken in a handler or a callback whose host may hold it.
// Mutants.     M_ID_LATE          the id table's entry is cleared by the free work, not before call_rcu
//              M_NO_GP            the last put queues the free work at once
//              M_FREE_IN_CB       the RCU callback frees the group itself
//              M_PUT_FREES        the last put frees the group itself
//              M_PUT_LOCKS        the last put takes the tree lock (a plain lock where a handler takes it)
//              M_PARENT_EARLY     the parent is put with the child's last put, as posted in 2012
//              M_GET              a lookup counts up without looking for 0
//              M_PENDING_LATE     a work's pending bit is cleared after its function ran, not before
//              M_PUT_EARLY        the online reference is put before payers are rewritten, which another item does
//              M_LOCAL_EARLY      the own share moves to the parent before the grace period
//              M_NO_OFFLINE_GP    the offline work does not wait for readers of the old payer
//              M_ONLINE_OUTSIDE   creation looks whether the parent is online outside the tree lock
//              M_CHILD_LAST       parents go offline before their children
// Source.      Costa 2012; kernel-memcg.md races 19-21, 37, 38.
//
//@ hold  two_closers
//@ hold  two_lookups        -DLOOKUPS=2 -DCLOSERS=1
//@ long  two_of_each        -DLOOKUPS=2
//@ fail  M_ID_LATE          -DCLOSERS=1
//@ fail  M_NO_GP            -DCLOSERS=1
//@ fail  M_FREE_IN_CB       -DCLOSERS=1
//@ fail  M_PUT_FREES        -DCLOSERS=1
//@ fail  M_PUT_LOCKS        -DCLOSERS=1
//@ fail  M_PARENT_EARLY     -DCLOSERS=1
//@ fail  M_GET              -DCLOSERS=1
//@ fail  M_PENDING_LATE     -DCLOSERS=1
//@ fail  M_PUT_EARLY        -DCLOSERS=1
//@ fail  M_LOCAL_EARLY      -DCLOSERS=1
//@ fail  M_NO_OFFLINE_GP    -DCLOSERS=1
//@ fail  M_ONLINE_OUTSIDE
//@ fail  M_CHILD_LAST       -DCLOSERS=1

#ifndef LOOKUPS
#define LOOKUPS 1
#endif
#ifndef CLOSERS
#define CLOSERS 2
#endif

#if defined(M_FREE_IN_CB) || defined(M_PUT_FREES)
#define CONTEXT_ONLY /* without the shares, which notice that these do not run on the executor: what is left is the deadlock */
#endif

#define C 0
#define P 1
#define R 2
#define parent(g) ((g) + 1)

mtype = { unmade, alive, freed };
mtype memory[3];
byte refs[2];
bit online[2], reparented[2], by_id[2], released[2];
byte nr_dying[3]; /* [C] stays 0 */
short share[3];
byte payer = R;   /* of C's obj_cgroup */
bit object_live;

/* One work a group: offline, then the grace period, then free. */
bit pending[2], q_offline[2], q_rcu[2], q_free[2];

#ifdef M_PUT_EARLY
bit q_late[2];
#endif

bit tree_locked;
byte on_top; /* handlers and callbacks that run on top of T: until they return, T does not move */

/* Readers, a bit each: the lookups and the object's freer. */
byte in_section, awaited_by_offline, awaited_by_callbacks;
byte nr_done;
bit never_made;   /* P was closed before C was made */

#define ALIVE(g) assert(memory[g] == alive) /* G1 */

inline enter(me) { in_section = in_section | (1 << me) }
inline leave(me) {
    d_step {
        in_section = in_section & ~(1 << me);
        awaited_by_offline = awaited_by_offline & ~(1 << me);
        awaited_by_callbacks = awaited_by_callbacks & ~(1 << me)
    }
}

inline lock_tree() { d_step { !tree_locked -> tree_locked = 1 } }
inline unlock_tree() { tree_locked = 0 }

/* Merged if the work is pending already. */
#define push(queue, g) d_step { if :: !pending[g] -> pending[g] = 1; queue[g] = 1 :: else fi }

inline free_group_memory(g) {
    lock_tree();
    d_step {
        ALIVE(g);
        assert(refs[g] == 0 && !online[g]); /* G2 */
#ifndef CONTEXT_ONLY
        assert(share[g] == 0); /* G4 */
#endif
#ifdef M_ID_LATE
        by_id[g] = 0;
#endif
        memory[g] = freed
    };
    unlock_tree()
}

/* All of the free work but the put of the parent, which the caller does next. */
inline free_group(g) {
    d_step {
        ALIVE(g);
        ALIVE(parent(g)); /* nr_dying, the payer of the group's own memory: race 37 */
        if
        :: g == P || reparented[P] -> share[R]--
        :: else -> share[P]--
        fi;
        nr_dying[R]--;
        if
        :: g == C -> nr_dying[P]--
        :: else
        fi
    };
    free_group_memory(g)
}

/* What the last put does. */
inline release(g) {
#ifndef M_ID_LATE
    d_step { ALIVE(g); by_id[g] = 0 };
#endif
#ifdef M_PUT_LOCKS
    lock_tree();
    unlock_tree();
#endif
#if defined(M_PUT_FREES)
    free_group(g)
#elif defined(M_NO_GP)
    push(q_free, g)
#else
    push(q_rcu, g)
#endif
}

/* Not the last put of a chain: see put_chain. */
inline put_one(g, last) {
    d_step {
        ALIVE(g);
        assert(refs[g] > 0); /* G2 */
        refs[g]--;
        last = (refs[g] == 0);
        if
        :: last -> assert(!released[g]); released[g] = 1
        :: else
        fi
    };
    if
    :: last -> release(g)
    :: else
    fi
}

/* A put; where a mutant puts the parent early, or frees at once, the parent's turn comes with it. */
inline put(g, last) {
    put_one(g, last);
#if defined(M_PARENT_EARLY) || defined(M_PUT_FREES)
    if
    :: last && g == C -> last = 0; put_one(P, last)
    :: else
    fi;
#endif
    last = 0
}

/* T: makes C, charges an object to it, closes P. The handle is the handler's from then on. */
inline close_one(g) {
    d_step {
        ALIVE(g);
        online[g] = 0;
        nr_dying[R]++;
        if
        :: g == C -> nr_dying[P]++
        :: else
        fi
    };
    push(q_offline, g)
}

proctype make_and_close() {
    bit may_make;
    if
    :: /* C: create */
#ifdef M_ONLINE_OUTSIDE
        may_make = online[P];
        lock_tree();
        if
        :: may_make ->
#else
        lock_tree();
        if
        :: online[P] ->
#endif
            d_step {
                ALIVE(P);
                assert(refs[P] > 0 && online[P]); /* no child of a closed group */
                refs[P]++;
                share[P]++; /* C's own memory */
                memory[C] = alive;
                refs[C] = 2; /* the tree's and the handle */
                payer = C;
                object_live = 1;
                share[C]++;
                online[C] = 1
            };
            by_id[C] = 1
        :: else -> never_made = 1
        fi;
        on_top == 0;
        unlock_tree()
    :: never_made = 1
    fi;
    /* close(P), deepest first, unless somebody was faster */
    lock_tree();
    if
    :: online[P] ->
        if
        :: online[C] ->
            close_one(C);
            on_top == 0
        :: else
        fi;
        close_one(P)
    :: else
    fi;
    on_top == 0;
    unlock_tree();
    lock_tree(); /* T looks for some other group */
    on_top == 0;
    unlock_tree();
    nr_done++
}

/* Another thread closes P too, and so may find C just made. */
proctype close_again() {
    lock_tree();
    if
    :: online[P] ->
        if
        :: online[C] -> close_one(C)
        :: else
        fi;
        close_one(P)
    :: else
    fi;
    unlock_tree();
    nr_done++
}

/* A signal handler, on T or anywhere else, drops the handle; and a handle to P that somebody had. */
proctype handler() {
    bit last, here;
    if
    :: d_step { memory[C] == alive -> on_top++; here = 1 }
    :: memory[C] == alive
    :: never_made -> goto no_group
    fi;
    put(C, last);
    d_step { on_top = on_top - here; here = 0 };
no_group:
    put(P, last);
    nr_done++
}

proctype lookup(byte me) {
    bit last, found;
    enter(me);
    found = by_id[C];
    if
    :: found ->
        d_step {
            ALIVE(C); /* the entry was there: the memory has to be */
#ifdef M_GET
            assert(refs[C] > 0); /* G2 */
            refs[C]++
#else
            if
            :: refs[C] > 0 -> refs[C]++
            :: else -> found = 0
            fi
#endif
        };
        leave(me);
        if
        :: found -> put(C, last)
        :: else
        fi
    :: else -> leave(me)
    fi;
    nr_done++
}

/* The object's free. */
proctype object() {
    byte who;
    if
    :: object_live ->
        enter(0);
        who = payer;
        d_step { ALIVE(who); share[who]-- };
        leave(0)
    :: never_made
    fi;
    nr_done++
}

inline reparent_local(g) {
    d_step {
        ALIVE(parent(g));
        share[parent(g)] = share[parent(g)] + share[g];
        share[g] = 0
    }
}
inline rewrite_payers(g) {
    lock_tree();
    d_step {
        ALIVE(g);
        ALIVE(parent(g));
        if
        :: payer == g -> payer = parent(g)
        :: else
        fi
    };
    unlock_tree()
}

/* Items run one at a time; stages, and free works, in any order, which is more than executor.cc does. */
proctype executor() {
    bit last;
    byte g, batch;
end:
    do
    /* offline_group(), children first */
    :: atomic {
            q_offline[C] || q_offline[P] ->
#ifdef M_CHILD_LAST
            g = (q_offline[P] -> P : C);
#else
            g = (q_offline[C] -> C : P);
#endif
            q_offline[g] = 0;
#ifndef M_PENDING_LATE
            pending[g] = 0
#endif
        };
#ifdef M_PUT_EARLY
        put(g, last);
        q_late[g] = 1;
        g = 0
    :: atomic {
            q_late[C] || q_late[P] ->
            g = (q_late[C] -> C : P);
            q_late[g] = 0
        };
#endif
        rewrite_payers(g);
#ifdef M_LOCAL_EARLY
        reparent_local(g);
#endif
#ifndef M_NO_OFFLINE_GP
        awaited_by_offline = in_section;
        awaited_by_offline == 0;
#endif
#ifndef M_LOCAL_EARLY
        reparent_local(g);
#endif
        reparented[g] = 1;
#ifndef M_PUT_EARLY
        put(g, last);
#endif
#ifdef M_PENDING_LATE
        pending[g] = 0;
#endif
        g = 0
    /* free_group() */
    :: atomic {
            q_free[C] || q_free[P] ->
            if
            :: q_free[C] -> g = C
            :: q_free[P] -> g = P
            fi;
            q_free[g] = 0;
            pending[g] = 0
        };
        free_group(g);
#ifndef M_PARENT_EARLY
        if
        :: g == C -> put(P, last)
        :: else
        fi;
#endif
        g = 0
    od
}

/* The batch of callbacks: whatever was queued when the grace period began. */
proctype callbacks() {
    byte g, batch;
    bit last, here;
end:
    do
    :: atomic {
            q_rcu[C] || q_rcu[P] ->
            batch = q_rcu[C] + 2 * q_rcu[P];
            q_rcu[C] = 0;
            q_rcu[P] = 0;
            awaited_by_callbacks = in_section
        };
        awaited_by_callbacks == 0;
        do
        :: batch != 0 ->
            atomic {
                if /* in any order */
                :: batch & 1 -> g = C
                :: batch & 2 -> g = P
                fi;
                batch = batch & ~(1 << g);
                pending[g] = 0;
                if
                :: on_top++; here = 1
                :: skip
                fi
            };
#ifdef M_FREE_IN_CB
            free_group(g);
            if
            :: g == C -> put(P, last)
            :: else
            fi;
#else
            push(q_free, g);
#endif
            d_step { on_top = on_top - here; here = 0; g = 0 }
        :: else -> break
        od
    od
}

proctype final() {
    timeout ->
    assert(nr_done == 2 + CLOSERS + LOOKUPS && !tree_locked);                 /* G5 */
    assert(memory[P] == freed && memory[C] != alive);               /* G3 */
    assert(nr_dying[P] == 0 && nr_dying[R] == 0);                   /* G3 */
#ifndef CONTEXT_ONLY
    assert(share[C] == 0 && share[P] == 0 && share[R] == 0)         /* G4 */
#endif
}

init {
    atomic {
        memory[C] = unmade;
        memory[P] = alive;
        memory[R] = alive;
        refs[P] = 2; /* the tree's and a handle */
        online[P] = 1;
        by_id[P] = 1;
        share[R] = 1; /* P's own memory */
        run executor();
        run callbacks();
        run make_and_close();
#if CLOSERS > 1
        run close_again();
#endif
        run handler();
        run object();
        run lookup(1);
#if LOOKUPS > 1
        run lookup(2);
#endif
#if LOOKUPS > 2
        run lookup(3);
#endif
        run final()
    }
}
