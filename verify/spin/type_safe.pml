// SPDX-License-Identifier: MIT
//
// type_safe: the empty slabs of a typesafe_by_rcu cache wait for a grace period, by way of one work for all of them.
//
// Idea.        Threads release slabs of a cache that was killed: its last slab lets it go. A release puts the slab on the cache's
//              list and asks for a grace period with the cache's one work, which may be pending already; then the slab waits for
//              the next one. Readers look at objects inside user sections, whatever has become of the objects. With GATE the root
//              is destroyed meanwhile: the work goes through its gate (cache_lifecycle.pml), which keeps it while it is closed.
//
//              here                  code
//              release_slab          slab/slab_ops.cc release_slab
//              enqueue_grace_work    slab/cache_lifecycle.cc enqueue_grace_work; cache_gate.hpp, with section_guard
//              life, kept, counted   cache_gate.hpp life_, kept_, pending_
//              kill_cache            group/lifecycle.cc offline_group; with GATE: cache_destroy.cc destroy_root_cache
//              grace_new, waiting    kmem_cache::grace_new, grace_waiting
//              after_grace_period    slab/slab_ops.cc release_after_grace_period; sync/executor.cc run_after_grace_period
//              give_back_slab        slab/slab_ops.cc give_back_slab; cache_lifecycle.cc put_cache, release_cache
//              pending               sync/work_queue.hpp I1: 1 from the push until just before the function runs
//              reader                sync::user_read_lock
//
// Properties.  T1  A slab is given back after a grace period that began after its release: no reader that was inside then still is.
//              T2  Nobody touches the cache after it was freed; it is freed once, with no work pending.
//              T3  Every slab is given back, and the cache freed; nobody waits for ever.
//              T4  Nothing is queued from the flush until the gate opens; the gate's count is exact.
// Mutants.     M_ONE_STAGE      what is on the list after a grace period is given back, also what came while it was under way
//              M_NO_SECTION     a release is not inside a section
//              M_NO_REQUEUE     the function does not ask for the next grace period
//              M_PENDING_LATE   the work's pending bit is cleared after its function ran
//              M_MERGED_COUNTS  a work that was pending already is counted once more
//              M_KEPT_PENDING   a kept work is handed on while its pending bit is set
//              M_HAND_ON_APART  a kept work is handed on beside the executor: once its pending bit is clear somebody else may queue
//                               it, it may run, and the cache may go, before the destroyer's hand is off it
//              M_KEPT_TWICE     a kept work is put on the list again, whatever its pending bit says
// Source.      kernel-memcg.md races 5, 12; Linux SLAB_TYPESAFE_BY_RCU.
//
//@ hold  base
//@ hold  three_slabs     -DSLABS=3
//@ hold  gate            -DGATE
//@ fail  M_ONE_STAGE
//@ fail  M_NO_SECTION
//@ fail  M_NO_REQUEUE
//@ fail  M_PENDING_LATE
//@ fail  M_MERGED_COUNTS -DGATE
//@ fail  M_KEPT_PENDING  -DGATE
//@ fail  M_HAND_ON_APART -DGATE
//@ fail  M_KEPT_TWICE    -DGATE

#ifndef SLABS
#define SLABS 2 /* released by a thread each */
#endif
#define READER SLABS
#define EXECUTOR (SLABS + 1)
#define bit_of(i) (1 << (i))

byte refs = SLABS + 1; /* the cache's: its slabs, and its own until it is killed */
bit cache_freed, q_release;
byte grace_new, waiting, given_back; /* sets of slabs */
bit pending, q_rcu;
byte in_section, awaited;  /* releasing threads, the reader, the executor */
bit reader_saw[SLABS];     /* ghost: the reader was inside when the slab was released */
byte nr_done;
#ifdef GATE
mtype = { live, dying, orphaned };
mtype life = live;
byte kept, counted, awaited_destroy;
bit flushed;
#endif
bit run_locked; /* the executor's */

#define CACHE assert(!cache_freed) /* T2 */

inline leave(i) {
    d_step {
#ifdef GATE
        awaited_destroy = awaited_destroy & ~bit_of(i);
#endif
        in_section = in_section & ~bit_of(i);
        awaited = awaited & ~bit_of(i)
    }
}
/* Inside a section. */
inline enqueue_grace_work() {
#ifdef GATE
    atomic { CACHE; refused = (life == dying) };
    if
    ::  d_step {
            refused ->
            CACHE;
            if
            :: !pending -> pending = 1; kept++
#ifdef M_KEPT_TWICE
            :: pending -> kept++
#else
            :: pending /* merged with the run that it waits for */
#endif
            fi
        }
    :: !refused ->
        counted++;
        d_step {
            CACHE;
            assert(!flushed); /* T4 */
            if
            :: !pending -> pending = 1; q_rcu = 1; merged = 0
            :: else -> merged = 1
            fi
        };
#ifndef M_MERGED_COUNTS
        counted = counted - merged;
#endif
        merged = 0
    fi;
    refused = 0
#else
    d_step {
        CACHE;
        if
        :: !pending -> pending = 1; q_rcu = 1
        :: else /* merged */
        fi
    }
#endif
}
inline put_cache() {
    d_step {
        CACHE;
        assert(refs > 0);
        refs--;
        if
        :: refs == 0 -> q_release = 1
        :: else
        fi
    }
}

proctype release_slab(byte i) {
    bit refused, merged;
#ifndef M_NO_SECTION
    in_section = in_section | bit_of(i);
#endif
    d_step {
        CACHE;
        reader_saw[i] = (in_section & bit_of(READER)) != 0;
        grace_new = grace_new | bit_of(i)
    };
    enqueue_grace_work();
#ifndef M_NO_SECTION
    leave(i);
#endif
    nr_done++
}

proctype reader() {
    byte sections, i;
    do
    :: sections < 2 ->
        sections++;
        in_section = in_section | bit_of(READER);
        d_step {
            in_section = in_section & ~bit_of(READER);
            awaited = awaited & ~bit_of(READER);
#ifdef GATE
            awaited_destroy = awaited_destroy & ~bit_of(READER);
#endif
            i = 0;
            do
            :: i < SLABS -> reader_saw[i] = 0; i++
            :: else -> break
            od;
            i = 0
        }
    :: sections == 2 -> break
    od;
    nr_done++
}

inline give_back(set) {
    i = 0;
    do
    :: i < SLABS ->
        if
        :: (set & bit_of(i)) != 0 ->
            d_step {
                assert((given_back & bit_of(i)) == 0);
                assert(!reader_saw[i]); /* T1 */
                given_back = given_back | bit_of(i)
            };
            put_cache()
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

inline after_grace_period() {
#ifdef M_ONE_STAGE
    d_step { CACHE; over = grace_new; grace_new = 0 };
#else
    d_step { CACHE; over = waiting; waiting = grace_new; grace_new = 0 };
#ifndef M_NO_REQUEUE
    if
    :: waiting != 0 ->
        in_section = in_section | bit_of(EXECUTOR);
        enqueue_grace_work();
        leave(EXECUTOR)
    :: else
    fi;
#endif
#endif
    give_back(over);
    over = 0
}

proctype executor() {
    byte over, i;
    bit refused, merged;
end:
    do
    :: atomic { q_rcu && !run_locked -> run_locked = 1; q_rcu = 0; awaited = in_section };
        awaited == 0;
#ifndef M_PENDING_LATE
        d_step { CACHE; pending = 0 };
        after_grace_period()
#else
        after_grace_period();
        pending = 0
#endif
#ifdef GATE
        ;
        atomic { assert(counted > 0); counted-- } /* T4: finished() */
#endif
        ;
        run_locked = 0
    :: atomic {
            q_release && !run_locked ->
            q_release = 0;
            CACHE;
            assert(!pending && !q_rcu && grace_new == 0 && waiting == 0); /* T2 */
            cache_freed = 1
        }
    od
}

#ifdef GATE
inline change(to) {
    life = to;
    awaited_destroy = in_section;
    awaited_destroy == 0
}
#endif

proctype kill_cache() {
#ifdef GATE
    bit refused, merged;
    change(dying);
    atomic { counted == 0 -> flushed = 1 }; /* settle() */
    put_cache();
    flushed = 0;
    change(orphaned);
#ifndef M_HAND_ON_APART
    atomic { !run_locked -> run_locked = 1 };
#endif
    do
    ::  atomic {
            kept > 0 ->
            kept--;
#ifndef M_KEPT_PENDING
            pending = 0
#endif
        };
        enqueue_grace_work()
    :: kept == 0 -> break
    od;
#ifndef M_HAND_ON_APART
    run_locked = 0;
#endif
#else
    put_cache();
#endif
    nr_done++
}

proctype final() {
    timeout ->
#ifdef GATE
    assert(counted == 0 && kept == 0); /* T4 */
#endif
    assert(nr_done == SLABS + 2 && cache_freed && given_back == bit_of(SLABS) - 1) /* T3 */
}

init {
    atomic {
        run executor();
        run release_slab(0);
        run release_slab(1);
#if SLABS > 2
        run release_slab(2);
#endif
        run reader();
        run kill_cache();
        run final()
    }
}
