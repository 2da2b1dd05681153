// SPDX-License-Identifier: MIT
//
// revoke: a thread's fast path is closed by somebody else, without the thread's help.
//
// Idea.        One thread with a slot, a base heap and a heap H of a group; one slab S of the group's child cache. The thread
//              allocates and frees in sections of two plain stores, changes its scope, and takes its slot's lock in the slow
//              paths. Revokers (reclaim, the group's offline work) close the fast path and then take S as if it were theirs.
//              The thread's stores go through a store buffer of SB entries (x86-TSO), which membarrier and every locked
//              operation drain. A revoker needs no buffer: it stores, and then begins all_barrier() with a full fence; what
//              its buffer could delay until then, a later step of the interleaving shows as well.
//
//              here                     code
//              enter, leave             sync/rcu.hpp enter_fast, leave_fast
//              alloc_fast, free_fast    slab/fast_path.hpp
//              alloc_in_section         slab/alloc.cc alloc_in_section, slab_ops.cc next_slab
//              free_in_section          slab/free.cc free_in_section (is_mine, push)
//              enter_scope, leave_scope slab/scope.cc, install(), enter_slow(), leave_slow()
//              slow_alloc, open_own     slab/alloc.cc try_alloc, slab/revoke.cc cold_section, open_own; slab_ops.cc adopt
//              close_thread             slab/revoke.cc close_thread, gate.hpp shut; sync/rcu.hpp wait_for_reader, real.hpp all_barrier
//              park                     slab/slab_ops.cc park
//              offline                  group/lifecycle.cc offline_group, slab/heap.cc drop_heap, free_dropped_heap
//              mem[HMAP], mem[DEPTH]    thread_heaps::map, heap::depth
//
// Properties.  R1  The thread and a revoker never touch S, or H's lists, at once (assertions; no lost update of FREE).
//              R2  No block is lost or handed out twice: free + on the remote list + on the node + in use = BLOCKS.
//              R3  After close_thread() nothing opens the fast path but the thread, under its slot's lock; two passes are enough.
//              R4  A heap is not used after it was freed, and is freed once.
//              R5  Nothing is charged to the group after the offline work has moved its own share to the parent.
//              R6  Nobody waits for ever (no invalid end state).
// Mutants.     M_NO_MEMBARRIER      close_thread() does not drain the thread's buffer
//              M_ONE_PASS           one pass of stores: a scope change in flight puts a table back
//              M_NO_MARK            `closed` is not set: scope changes go on
//              M_MARK_LATE          `closed` is set after the passes
//              M_OWNER_EARLY        the slab's owner field becomes the revoker's, and it uses the slab, before the grace period
//              M_NO_WAIT            the section under way is not waited for
//              M_OPEN_UNLOCKED      the thread opens its fast path after it gave the slot's lock back
//              M_TEST_OUTSIDE       a scope change tests `closed` before its section
//              M_LEAVE_EARLY        the section ends before its last store (a release order weakened)
//              M_NESTED             a handler on top of a section takes the fast path (no odd test)
//              M_DEPTH              the offline work frees a heap that a scope is inside of
//              M_NO_ONLINE_TEST     alloc_in_section() charges a closed group (an empty heap's table is the closed table)
//              M_LATE_DROP_TEST     leave_scope() reads `dropped` after its section
// Source.      docs/design.md "The fast path"; substrate.md A1.
//
//@ hold  one_revoker     -DNOPS=4 -DSB=2
//@ hold  two_revokers    -DNOPS=4 -DSB=2 -DREV=2
//@ hold  five_operations -DNOPS=5 -DSB=1 -DREV=2
//@ long  six_operations  -DNOPS=6 -DSB=2 -DREV=2
//@ fail  M_NO_MEMBARRIER
//@ fail  M_ONE_PASS
//@ fail  M_NO_MARK
//@ fail  M_MARK_LATE
//@ fail  M_OWNER_EARLY
//@ fail  M_NO_WAIT
//@ fail  M_OPEN_UNLOCKED
//@ fail  M_TEST_OUTSIDE
//@ fail  M_LEAVE_EARLY
//@ fail  M_NESTED
//@ fail  M_DEPTH
//@ fail  M_NO_ONLINE_TEST
//@ fail  M_LATE_DROP_TEST

#ifndef NOPS
#define NOPS 3 /* operations of the thread */
#endif
#ifndef SB
#define SB 1 /* entries of the store buffer */
#endif
#ifndef REV
#define REV 1 /* 1: the offline work; 2: the offline work and a reclaim */
#endif
#define BLOCKS 2

/* Shared memory, as others see it. */
#define SECT 0   /* reader.sections, modulo 4 */
#define ACTIVE 1 /* tls.active */
#define FASTID 2 /* tls.fast_id: 1 the thread's, 0 closed_id */
#define CLOSED 3 /* thread_heaps::closed */
#define FREE 4   /* blocks on S's free list */
#define DEPTH 5  /* H.depth */
#define NVARS 6
byte mem[NVARS];

#define EMPTY 0  /* values of ACTIVE: empty_table, */
#define TABLE_H 1 /* H's table, */
#define TABLE_B 2 /* the base heap's */

/* The thread's store buffer, oldest first. */
byte sb_var[SB], sb_val[SB], sb_n;

/* Written under the slot's lock only, so no buffer. */
bit slot_locked;
byte h_active;   /* H.active: EMPTY while it has no tables */
bit h_entry;     /* H's table names S */
bit h_mapped;    /* the map names H */
bit h_made, h_dropped, h_freed;
bit s_owner;     /* S.owner: 1 the thread's id; 0 nobody */
bit s_frozen;    /* S is in this slot */
byte node_free;  /* blocks of S while it is on its node */
byte remote;     /* blocks on S's remote list */

bit online;          /* the group's */
bit account_closed;  /* ghost: its own share was moved, its obj_cgroup put */
byte held;           /* blocks in use by the thread */
bit in_h;            /* tls.heap: 1 H, 0 the base heap */
bit owner_touches, revoker_touches; /* ghosts */
bit owner_done;
byte revokers_done;

/* --- The thread's memory ------------------------------------------------------------------------------------------------ */

inline store(var, val) {
    d_step { sb_n < SB -> sb_var[sb_n] = var; sb_val[sb_n] = val; sb_n++ }
}
/* Loads see the own buffer first, newest first. */
#if SB == 1
#define load(var) (sb_n == 1 && sb_var[0] == var -> sb_val[0] : mem[var])
#else
#define load(var) (sb_n == 2 && sb_var[1] == var -> sb_val[1] : (sb_n >= 1 && sb_var[0] == var -> sb_val[0] : mem[var]))
#endif
inline drain_one() {
    mem[sb_var[0]] = sb_val[0];
    sb_n--;
#if SB == 2
    sb_var[0] = sb_var[1];
    sb_val[0] = sb_val[1];
    sb_var[1] = 0;
    sb_val[1] = 0;
#else
    sb_var[0] = 0;
    sb_val[0] = 0;
#endif
}
proctype store_buffer() {
end:
    do
    :: d_step { sb_n > 0 -> drain_one() }
    od
}
inline locked_operation() { sb_n == 0 } /* waits until the buffer has drained, as a locked instruction does */

/* --- The thread --------------------------------------------------------------------------------------------------------- */

inline touch_s() {
    owner_touches = 1;
    assert(!revoker_touches) /* R1 */
}

inline enter() { store(SECT, (count + 1) % 4) }
inline leave() {
    d_step { sb_n < SB -> sb_var[sb_n] = SECT; sb_val[sb_n] = (count + 2) % 4; sb_n++; owner_touches = 0; count = (count + 2) % 4 }
}

/* A signal handler on top of a section: alloc_fast() sees the odd count and takes the reserve. */
inline maybe_nested_alloc() {
#ifdef M_NESTED
    if
    :: d_step { free_seen > 0 && load(FREE) > 0 && sb_n < SB -> sb_var[sb_n] = FREE; sb_val[sb_n] = load(FREE) - 1; sb_n++; held++ }
    :: skip
    fi
#else
    skip
#endif
}

inline alloc_fast() {
    enter();
    d_step {
        table = load(ACTIVE);
        if
        :: table == TABLE_H && h_entry -> touch_s(); found = 1
        :: else -> found = 0
        fi
    };
    if
    :: found ->
        free_seen = load(FREE);
        maybe_nested_alloc();
        if
        :: free_seen > 0 ->
#ifdef M_LEAVE_EARLY
            leave();
            store(FREE, free_seen - 1);
            held++
#else
            store(FREE, free_seen - 1);
            held++;
            leave()
#endif
        :: else -> leave()
        fi
    :: else -> leave()
    fi;
    d_step { table = 0; found = 0; free_seen = 0 }
}

/* What the thread does with a block of a slab that is not its own any more: one compare-and-swap. */
inline free_remote() {
    d_step { sb_n == 0 -> remote++; held-- }
}

inline free_fast() {
    enter();
    d_step {
        if
        :: s_owner == 1 && load(FASTID) == 1 -> touch_s(); found = 1
        :: else -> found = 0
        fi
    };
    if
    :: found ->
        free_seen = load(FREE);
        store(FREE, free_seen + 1);
        held--;
        leave()
    :: else ->
        leave();
        free_remote()
    fi;
    d_step { found = 0; free_seen = 0 }
}

/* A slab whose objects have their link behind them: the id in S.owner is 0, so the slow half asks the word. */
inline free_in_section() {
    enter();
    d_step {
        if
        :: load(FASTID) == 1 && s_frozen -> touch_s(); found = 1
        :: else -> found = 0
        fi
    };
    if
    :: found ->
        free_seen = load(FREE);
        store(FREE, free_seen + 1);
        held--;
        leave()
    :: else ->
        leave();
        free_remote()
    fi;
    d_step { found = 0; free_seen = 0 }
}

/* Collects the remote list into S (next_slab), or charges an object of a shared slab to the group. */
inline alloc_in_section() {
    enter();
    d_step {
        if
        :: load(FASTID) == 1 && in_h && load(ACTIVE) == h_active -> found = 1
        :: else -> found = 0
        fi
    };
    if
    :: found && h_entry ->
        d_step { touch_s(); free_seen = load(FREE) };
        d_step { sb_n == 0 -> table = remote; remote = 0 }; /* take_remote() is a locked operation */
        store(FREE, free_seen + table);
        leave()
    :: found && !h_entry ->
#ifndef M_NO_ONLINE_TEST
        if
        :: online ->
#endif
            assert(!account_closed); /* R5: try_charge_object(), obj_cgroup_get() */
#ifndef M_NO_ONLINE_TEST
        :: else
        fi;
#endif
        leave()
    :: else -> leave()
    fi;
    d_step { table = 0; found = 0; free_seen = 0 }
}

inline lock_slot() {
    d_step {
        sb_n == 0 && !slot_locked ->
        slot_locked = 1;
        mem[FASTID] = 0; /* store_closed(tls) */
        mem[ACTIVE] = EMPTY
    }
}
inline open_own() {
    d_step {
        mem[ACTIVE] = (in_h -> (online -> h_active : EMPTY) : TABLE_B);
        mem[FASTID] = 1;
        mem[CLOSED] = 0
    }
}
inline unlock_slot() {
#ifdef M_OPEN_UNLOCKED
    slot_locked = 0;
    open_own()
#else
    open_own();
    slot_locked = 0
#endif
}
inline free_heap() {
    assert(!h_freed && mem[DEPTH] == 0); /* R4 */
    h_freed = 1
}

/* Slot held, scope H, group online: S joins H. */
inline slow_alloc() {
    lock_slot();
    d_step {
        touch_s();
        if
        :: in_h && online ->
            assert(!account_closed && !h_freed && !h_dropped);
            h_active = TABLE_H;
            if
            :: !s_frozen ->
                s_frozen = 1;
                s_owner = 1;
                h_entry = 1;
                mem[FREE] = node_free + remote;
                node_free = 0;
                remote = 0
            :: else
            fi
        :: else
        fi;
        owner_touches = 0
    };
    unlock_slot()
}

inline enter_slow() {
    lock_slot();
    d_step {
        if
        :: online && h_made -> /* nearest_online() is the group itself */
            assert(!h_freed && !h_dropped);
            h_mapped = 1;
            mem[DEPTH] = mem[DEPTH] + 1;
            in_h = 1
        :: else /* the ancestor's heap */
        fi
    };
    unlock_slot()
}

inline enter_scope() {
#ifdef M_TEST_OUTSIDE
    found = load(CLOSED);
    enter();
#else
    enter();
    found = load(CLOSED);
#endif
    if
    :: !found && h_mapped ->
        d_step { assert(!h_freed && !h_dropped); free_seen = load(DEPTH) };
        store(DEPTH, free_seen + 1);
        in_h = 1;
        store(ACTIVE, h_active);
        leave()
    :: else ->
        leave();
        enter_slow()
    fi;
    d_step { found = 0; free_seen = 0 }
}

inline leave_slow() {
    lock_slot();
    d_step {
        in_h = 0;
        assert(!h_freed);
        mem[DEPTH] = mem[DEPTH] - 1;
        if
        :: mem[DEPTH] == 0 && h_dropped -> free_heap()
        :: else
        fi
    };
    unlock_slot()
}

inline leave_scope() {
    enter();
    found = load(CLOSED);
    if
    :: !found ->
        d_step { assert(!h_freed); free_seen = load(DEPTH) };
        store(DEPTH, free_seen - 1);
#ifdef M_LATE_DROP_TEST
        in_h = 0;
        store(ACTIVE, TABLE_B);
        leave();
        d_step { assert(!h_freed); table = h_dropped && load(DEPTH) == 0 };
#else
        table = h_dropped && load(DEPTH) == 0; /* read inside */
        in_h = 0;
        store(ACTIVE, TABLE_B);
        leave();
#endif
        if
        :: table ->
            lock_slot();
            d_step { free_heap() };
            unlock_slot()
        :: else
        fi
    :: else ->
        leave();
        leave_slow()
    fi;
    d_step { found = 0; free_seen = 0; table = 0 }
}

proctype thread() {
    byte count, table, free_seen, found, ops;
    do
    :: ops < NOPS ->
        ops++;
        if
        :: alloc_fast()
        :: held > 0 -> free_fast()
        :: held > 0 -> free_in_section()
        :: in_h -> alloc_in_section()
        :: slow_alloc()
        :: !in_h -> enter_scope()
        :: in_h -> leave_scope()
        fi
    :: ops == NOPS -> break
    :: true -> break
    od;
    atomic { sb_n == 0 -> owner_done = 1 }
}

/* --- Revokers ----------------------------------------------------------------------------------------------------------- */

inline all_barrier() {
#ifndef M_NO_MEMBARRIER
    d_step {
        if
        :: sb_n > 0 -> drain_one()
        :: else
        fi;
        if
        :: sb_n > 0 -> drain_one()
        :: else
        fi
    }
#else
    skip
#endif
}

inline close_thread() {
#if !defined(M_NO_MARK) && !defined(M_MARK_LATE)
    mem[CLOSED] = 1;
#endif
    do
    ::  passes++;
#ifndef M_NO_MARK
        assert(passes <= 2); /* R3 */
#endif
        mem[FASTID] = 0;
        mem[ACTIVE] = EMPTY;
        all_barrier();
#ifndef M_NO_WAIT
        seen = mem[SECT];
        if
        :: seen % 2 == 1 -> mem[SECT] != seen
        :: else
        fi;
#endif
#ifdef M_ONE_PASS
        break
#else
        if
        :: mem[ACTIVE] != EMPTY && passes < 3
        :: else -> break
        fi
#endif
    od;
#ifdef M_MARK_LATE
    mem[CLOSED] = 1;
#endif
    atomic { passes = 0; seen = 0 }
}

/* Two steps, so that who touches S meanwhile is seen. */
inline park() {
    d_step {
        assert(!owner_touches); /* R1 */
        revoker_touches = 1;
        seen = mem[FREE]
    };
    d_step {
        assert(!owner_touches);
        revoker_touches = 0;
        if
        :: s_frozen ->
            s_owner = 0;
            h_entry = 0;
            s_frozen = 0;
            node_free = seen + remote;
            remote = 0;
            mem[FREE] = 0
        :: else
        fi;
        seen = 0
    }
}

/* The revoker makes the slab its own at once, and waits afterwards. */
inline take_over_early() {
#ifdef M_OWNER_EARLY
    park();
#else
    skip
#endif
}

inline check_closed() {
    /* R3: nothing that the thread has stored, or will, opens it; it is out of the slot's data. */
    assert(mem[ACTIVE] == EMPTY && mem[FASTID] == 0)
}

inline lock_other() {
    d_step { !slot_locked -> slot_locked = 1 }
}

proctype reclaim() {
    byte passes, seen;
    lock_other();
    take_over_early();
    close_thread();
    d_step { check_closed() };
    park();
    slot_locked = 0;
    revokers_done++
}

proctype offline() {
    byte passes, seen;
    online = 0; /* close_one() */
    lock_other();
    take_over_early();
    close_thread();
    d_step { check_closed() };
    park();
    d_step { /* drop_heap() */
        assert(!owner_touches);
        h_active = EMPTY;
        h_mapped = 0;
        h_dropped = 1;
        if
#ifdef M_DEPTH
        :: true ->
            mem[DEPTH] = 0;
            free_heap()
#else
        :: mem[DEPTH] == 0 -> free_heap()
#endif
        :: else
        fi
    };
    d_step { check_closed(); slot_locked = 0 };
    account_closed = 1; /* reparent_local(), obj_cgroup_put() */
    revokers_done++
}

proctype final() {
    timeout ->
    assert(owner_done && revokers_done == REV && !slot_locked);               /* R6 */
    assert(mem[FREE] + node_free + remote + held == BLOCKS);                  /* R2 */
    assert(h_freed == (mem[DEPTH] == 0))                                      /* R4 */
}

init {
    d_step {
        online = 1;
        h_made = 1;
        h_mapped = 1;
        h_active = TABLE_H;
        h_entry = 1;
        s_frozen = 1;
        s_owner = 1;
        mem[FREE] = BLOCKS;
        mem[ACTIVE] = TABLE_B;
        mem[FASTID] = 1
    };
    atomic {
        if /* the thread begins inside a scope of the group or outside, with a block or without */
        :: skip
        :: mem[DEPTH] = 1; in_h = 1; mem[ACTIVE] = TABLE_H
        fi;
        if
        :: skip
        :: mem[FREE] = BLOCKS - 1; held = 1
        fi;
        run store_buffer();
        run thread();
        run offline();
#if REV == 2
        run reclaim();
#endif
        run final()
    }
}
