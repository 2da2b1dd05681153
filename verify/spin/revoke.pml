// SPDX-License-Identifier: MIT
//
// revoke: a thread's fast path is closed by somebody else, without the thread's help.
//
// Idea.        One thread with a slot, a base heap and a heap H of a group; H has a table with one bin, for the blocks of the
//              group's child cache, and the cache one slab S. The thread allocates and frees on the fast path, works on its own
//              heap, changes its scope, and takes its slot's lock in the slow paths; a handler may run on top of any step of
//              it. Revokers (reclaim, the group's offline work) close the fast path and then take bin and S as if they were
//              theirs: the bin's blocks go back to S, S to its node; the offline work frees the table.
//              The fast path has two forms (revoke.inc): sections that end with one store, which the kernel has begin anew
//              when a handler comes and at every membarrier (RSEQ); and read-side sections of two plain stores.
//              The thread's stores go through a store buffer of SB entries (x86-TSO), which membarrier and every locked
//              operation drain. A revoker needs no buffer: it stores, and then begins all_barrier() with a full fence; what
//              its buffer could delay until then, a later step of the interleaving shows as well.
//
//              here                     code
//              enter, leave             sync/rcu.hpp enter_fast, leave_fast
//              alloc_fast, free_fast    slab/fast_path.hpp; fast_rseq.hpp with RSEQ, fast_section.hpp without
//              begin_section, restart   fast_rseq.hpp: the labels 104 and 103
//              own_begin, own_end       slab/revoke.cc own_section
//              alloc_in_section         slab/alloc.cc alloc_in_section, slab_ops.cc next_block, bins.cc fill
//              free_in_section          slab/free.cc free_in_section, bins.cc bin_for, put_into
//              retire_emptied           slab/free.cc retire_emptied, slab_ops.cc keep_empty, retire; with NO_BIN
//              enter_scope, leave_scope slab/scope.hpp, scope.cc: install(), enter_slow(), leave_slow()
//              slow_alloc, open_own     slab/alloc.cc try_alloc, slab/revoke.cc cold_section, open_own; slab_ops.cc adopt
//              slow_free, flush         slab/free.cc free_local, bins.cc make_room, flush
//              close_thread             slab/revoke.cc close_thread, gate.hpp shut; sync/rcu.hpp wait_for_reader, real.hpp all_barrier
//              park                     slab/heap.cc park_all, slab_ops.cc park
//              offline                  group/lifecycle.cc offline_group, slab/heap.cc drop_heap, free_tables, free_dropped_heap
//              h_mapped, mem[DEPTH]     thread_heaps::map, heap::depth
//              has_bin                  the bin's tag is that of S's pages; not with NO_BIN, a cache whose links lie behind the objects
//              NO_FAST                  thread_heaps::fast is false: nobody restarts this thread's sections
//
// Properties.  R1  The thread, its handler and a revoker never touch the bin, S, or H's lists, at once (assertions; no lost update).
//              R2  No block is lost or handed out twice: in the bin + free in S + on the remote list + on the node + in use = BLOCKS.
//              R3  After close_thread() nothing opens the fast path but the thread, under its slot's lock; two passes are enough.
//              R4  Neither a heap nor its table is used after it was freed, and the heap is freed once.
//              R5  Nothing is charged to the group after the offline work has moved its own share to the parent.
//              R6  Nobody waits for ever (no invalid end state).
// Mutants.     M_NO_MEMBARRIER      close_thread() does not drain the thread's buffer
//              M_ONE_PASS           one pass of stores: a scope change in flight puts a table back
//              M_NO_MARK            `closed` is not set: scope changes go on
//              M_MARK_LATE          `closed` is set after the passes
//              M_FLUSH_EARLY        the revoker flushes the bin and takes the slab before the grace period
//              M_NO_FLUSH           a heap is dropped with blocks in its bin: they go with the table
//              M_MAP_STAYS          the map names a dropped heap: a free from outside the scope uses its table
//              M_NO_WAIT            the section under way is not waited for
//              M_OPEN_UNLOCKED      the thread opens its fast path after it gave the slot's lock back
//              M_TEST_OUTSIDE       a scope change tests `closed` before its section
//              M_LEAVE_EARLY        the section ends before its last store (a release order weakened)
//              M_NESTED             a handler on top of a section takes the fast path (no odd test)
//              M_OWN_OPEN           work on the own heap leaves the fast path open for a handler on top
//              M_NO_CLOSED_TEST     it does not ask whether the slot is being closed
//              M_DEPTH              the offline work frees a heap that a scope is inside of
//              M_NO_ONLINE_TEST     alloc_in_section() charges a closed group (an empty heap's table is the closed table)
//              M_LATE_DROP_TEST     leave_scope() reads `dropped` after its section
//              With RSEQ:
//              M_NO_RESTART         membarrier drains the buffer and lets the section go on
//              M_NO_SIGNAL_RESTART  the section goes on after a handler
//              M_TWO_STORES         the list and its count are two stores: a restart in between takes a block twice
//              M_TAG_OUTSIDE        the table is loaded, and the bin's tag compared, before the section
//              M_TABLE_OPEN         work on the own heap puts the heap's table back, not what it found, for a thread that nobody restarts
// Source.      docs/design.md "The fast path".
//
//@ hold  one_revoker       -DNOPS=4 -DSB=2 -DBLOCKS=3
//@ hold  two_revokers      -DNOPS=4 -DSB=1 -DREV=2
//@ hold  handler           -DNOPS=2 -DSB=1 -DHANDLER
//@ hold  rseq              -DRSEQ -DNOPS=4 -DSB=2 -DBLOCKS=3
//@ hold  rseq_two_revokers -DRSEQ -DNOPS=4 -DSB=1 -DREV=2
//@ hold  rseq_handler      -DRSEQ -DNOPS=3 -DSB=1 -DHANDLER
//@ hold  rseq_buffer       -DRSEQ -DNOPS=2 -DSB=2 -DHANDLER
//@ hold  no_fast_path      -DRSEQ -DNO_FAST -DNOPS=2 -DSB=1 -DHANDLER
//@ hold  no_bin            -DRSEQ -DNO_BIN -DNOPS=3 -DSB=1
//@ long  six_operations    -DNOPS=6 -DSB=2 -DREV=2
//@ long  rseq_operations   -DRSEQ -DNOPS=5 -DSB=2 -DREV=2
//@ long  rseq_all          -DRSEQ -DNOPS=2 -DSB=2 -DREV=2 -DHANDLER
//@ fail  M_NO_MEMBARRIER | -DRSEQ
//@ fail  M_ONE_PASS | -DRSEQ
//@ fail  M_NO_MARK | -DRSEQ
//@ fail  M_MARK_LATE | -DRSEQ
//@ fail  M_FLUSH_EARLY | -DRSEQ
//@ fail  M_NO_FLUSH | -DRSEQ
//@ fail  M_MAP_STAYS | -DRSEQ
//@ fail  M_NO_WAIT | -DRSEQ
//@ fail  M_OPEN_UNLOCKED | -DRSEQ
//@ fail  M_TEST_OUTSIDE | -DRSEQ
//@ fail  M_LEAVE_EARLY
//@ fail  M_NESTED -DHANDLER
//@ fail  M_OWN_OPEN -DRSEQ -DHANDLER
//@ fail  M_NO_CLOSED_TEST | -DRSEQ
//@ fail  M_DEPTH | -DRSEQ
//@ fail  M_NO_ONLINE_TEST | -DRSEQ
//@ fail  M_LATE_DROP_TEST | -DRSEQ
//@ fail  M_NO_RESTART -DRSEQ
//@ fail  M_NO_SIGNAL_RESTART -DRSEQ -DHANDLER
//@ fail  M_TWO_STORES -DRSEQ | -DRSEQ -DHANDLER
//@ fail  M_TAG_OUTSIDE -DRSEQ
//@ fail  M_TABLE_OPEN -DRSEQ -DNO_FAST

#ifndef NOPS
#define NOPS 3 /* operations of the thread */
#endif
#ifndef SB
#define SB 1 /* entries of the store buffer */
#endif
#ifndef REV
#define REV 1 /* 1: the offline work; 2: the offline work and a reclaim */
#endif
#ifndef BLOCKS
#define BLOCKS 2
#endif
#ifdef NO_BIN
#define has_bin 0
#else
#define has_bin 1
#endif
#ifdef NO_FAST
#define is_fast 0 /* thread_heaps::fast */
#else
#define is_fast 1
#endif

/* Shared memory, as others see it. */
#define SECT 0   /* reader.sections, modulo 4 */
#define BINS 1   /* tls.bins */
#define CLOSED 2 /* thread_heaps::closed */
#define BIN 3    /* blocks in H's bin */
#define SFREE 4  /* blocks on S's free list */
#define DEPTH 5  /* H.depth */
#define NVARS 6
byte mem[NVARS];

#define EMPTY 0   /* values of BINS: empty_table, */
#define TABLE_H 1 /* H's table, */
#define TABLE_B 2 /* the base heap's */

/* The thread's store buffer, oldest first. */
byte sb_var[SB], sb_val[SB], sb_n;

/* Written under the slot's lock only, so no buffer. */
bit slot_locked;
byte h_active;   /* H.bins: EMPTY while it has no tables */
bit h_mapped;    /* the map names H */
bit h_made, h_dropped, h_freed; /* dropped: the table is freed, too */
bit s_frozen;    /* S is in H */
byte node_free;  /* blocks of S while it is on its node */
byte remote;     /* blocks on S's remote list */

bit online;          /* the group's */
bit account_closed;  /* ghost: its own share was moved, its obj_cgroup put */
byte held;           /* blocks in use by the thread */
bit in_h;            /* tls.heap: 1 H, 0 the base heap */
bit owner_touches, revoker_touches; /* ghosts */

/* The thread's own words, which its handler shares. */
byte count;          /* reader.sections as the thread knows it, modulo 4 */
bit busy;            /* tls.busy */
bit handler_runs;
bit in_section[2];   /* RSEQ: inside the labels 101 and 102; of the thread and of its handler */
bit restart[2];      /* the kernel has put it back to 103 */
#define THREAD 0
#define HANDLER_ 1
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

/* bin_for() */
#define h_has_bin (has_bin && h_active == TABLE_H && (s_frozen || h_mapped))
#ifdef M_NO_ONLINE_TEST
#define may_charge in_h
#else
#define may_charge (in_h && online)
#endif

#include "revoke.inc"

/* --- The thread with its slot's lock ------------------------------------------------------------------------------------- */

inline lock_slot() {
    busy = 1;
    d_step { sb_n == 0 && !slot_locked -> slot_locked = 1 };
    mem[BINS] = EMPTY; /* close_own() */
    sb_n == 0 /* what a handler stored meanwhile: from here on the thread reads and writes past its buffer */
}
inline open_own() {
    mem[BINS] = (in_h -> (online -> h_active : EMPTY) : TABLE_B) * is_fast;
    mem[CLOSED] = 0
}
inline unlock_slot() {
#ifdef M_OPEN_UNLOCKED
    slot_locked = 0;
    open_own();
    busy = 0
#else
    open_own();
    slot_locked = 0;
    busy = 0
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
                mem[SFREE] = node_free + remote;
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

/* Into the bin, which makes room if it is full; else back to S, or to whoever has that. */
inline slow_free() {
    lock_slot();
    if
    :: d_step { h_has_bin -> touch_bin(); flush(); mem[BIN] = mem[BIN] + 1; owner_touches = 0 }
    :: d_step { h_has_bin -> touch_bin(); mem[BIN] = mem[BIN] + 1; owner_touches = 0 }
#ifdef NO_BIN
    :: d_step { s_frozen -> touch_s(); mem[SFREE] = mem[SFREE] + 1; owner_touches = 0 }
    :: d_step { !s_frozen -> remote++ }
#else
    :: d_step { !h_has_bin -> remote++ }
#endif
    fi;
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
        store(BINS, h_active * is_fast);
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
        store(BINS, TABLE_B * is_fast);
        leave();
        d_step { assert(!h_freed); table = h_dropped && load(DEPTH) == 0 };
#else
        table = h_dropped && load(DEPTH) == 0; /* read inside */
        in_h = 0;
        store(BINS, TABLE_B * is_fast);
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

proctype thread() provided (!handler_runs) {
    byte table, free_seen, ops;
    bit found, opened, nested, done;
    do
    :: ops < NOPS ->
        ops++;
        if
        :: alloc_fast(THREAD)
        :: d_step { held > 0 -> held-- }; free_fast(THREAD)
        :: d_step { held > 0 -> held-- }; free_in_section()
        :: in_h -> alloc_in_section()
        :: d_step { held > 0 -> held-- }; slow_free()
        :: slow_alloc()
        :: !in_h -> enter_scope()
        :: in_h -> leave_scope()
        fi
    :: ops == NOPS -> break
    :: true -> break
    od;
    atomic { sb_n == 0 -> owner_done = 1 }
}

#ifdef HANDLER
/* One signal, at any step of the thread. It never changes the scope. */
proctype handler() {
    byte table, free_seen;
    bit found, opened, nested, done;
    if
    :: d_step {
            !owner_done ->
            handler_runs = 1;
#ifndef M_NO_SIGNAL_RESTART
            interrupt(THREAD)
#endif
        };
        if
        :: alloc_fast(HANDLER_)
        :: d_step { held > 0 -> held-- }; free_fast(HANDLER_)
        :: d_step { held > 0 -> held-- }; free_in_section()
        :: in_h -> alloc_in_section()
        :: !busy && count % 2 == 0 -> slow_alloc() /* not nested() */
        fi;
        handler_runs = 0
    :: owner_done
    fi
}
#endif

/* --- Revokers ----------------------------------------------------------------------------------------------------------- */

inline all_barrier() {
    d_step {
#ifndef M_NO_MEMBARRIER
        if
        :: sb_n > 0 -> drain_one()
        :: else
        fi;
        if
        :: sb_n > 0 -> drain_one()
        :: else
        fi;
#ifndef M_NO_RESTART
        interrupt(THREAD);
        interrupt(HANDLER_);
#endif
#endif
        skip
    }
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
        mem[BINS] = EMPTY;
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
        :: mem[BINS] != EMPTY && passes < 3
        :: else -> break
        fi
#endif
    od;
#ifdef M_MARK_LATE
    mem[CLOSED] = 1;
#endif
    atomic { passes = 0; seen = 0 }
}

/* park_all(). Two steps, so that who touches bin or S meanwhile is seen. */
inline park() {
    d_step {
        assert(!owner_touches); /* R1 */
        revoker_touches = 1;
        seen = mem[BIN];
        seen_free = mem[SFREE]
    };
    d_step {
        assert(!owner_touches);
        revoker_touches = 0;
        mem[BIN] = seen;
        mem[SFREE] = seen_free;
#ifndef M_NO_FLUSH
        flush();
#endif
        if
        :: s_frozen -> move_to_node()
        :: else
        fi;
        seen = 0;
        seen_free = 0
    }
}

/* The revoker makes the slab its own at once, and waits afterwards. */
inline take_over_early() {
#ifdef M_FLUSH_EARLY
    park();
#else
    skip
#endif
}

inline check_closed() {
    /* R3: nothing that the thread has stored, or will, opens it; it is out of the slot's data. */
    assert(mem[BINS] == EMPTY)
}

inline lock_other() {
    d_step { !slot_locked -> slot_locked = 1 }
}

proctype reclaim() {
    byte passes, seen, seen_free;
    lock_other();
    take_over_early();
    close_thread();
    d_step { check_closed() };
    park();
    slot_locked = 0;
    revokers_done++
}

proctype offline() {
    byte passes, seen, seen_free;
    online = 0; /* close_one() */
    lock_other();
    take_over_early();
    close_thread();
    d_step { check_closed() };
    park();
    d_step { /* drop_heap() */
        assert(!owner_touches);
        h_active = EMPTY;
        mem[BIN] = 0; /* the table's memory is somebody else's */
#ifndef M_MAP_STAYS
        h_mapped = 0;
#endif
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
    assert(mem[BIN] + mem[SFREE] + node_free + remote + held == BLOCKS);                  /* R2 */
    assert(h_freed == (mem[DEPTH] == 0))                                      /* R4 */
}

init {
    d_step {
        online = 1;
        h_made = 1;
        h_mapped = 1;
        h_active = TABLE_H;
        s_frozen = 1;
        mem[SFREE] = BLOCKS - has_bin;
        mem[BIN] = has_bin;
        mem[BINS] = TABLE_B * is_fast
    };
    atomic {
        if /* the thread begins inside a scope of the group or outside, with a block or without */
        :: skip
        :: mem[DEPTH] = 1; in_h = 1; mem[BINS] = TABLE_H * is_fast
        fi;
        if
        :: skip
        :: mem[SFREE] = mem[SFREE] - !has_bin; mem[BIN] = mem[BIN] - has_bin; held = 1
        fi;
        run store_buffer();
        run thread();
#ifdef HANDLER
        run handler();
#endif
        run offline();
#if REV == 2
        run reclaim();
#endif
        run final()
    }
}
