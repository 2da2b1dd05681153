// SPDX-License-Identifier: MIT
//
// cache_array: the array of children that is read without a lock, and grown by copying.
//
// Idea.        One owner (a group) with an array that has room for one child, then for two. The executor makes the children, the
//              second of which needs the larger array; a thread that makes a root cache makes the root group's child itself. A
//              reader looks a child up. The old array goes after a grace period, which waits for sections and for nothing else:
//              a reader that only holds its slot's lock is not waited for.
//
//              here              code
//              lookup            slab/kmem_cache.hpp child_of; slab/alloc.cc try_cache (slot held), alloc_in_section (section)
//              grow              slab/cache_lifecycle.cc grow_array, retire_array, free_retired
//              create_child      slab/cache_lifecycle.cc create_child, publish; create_root_cache, make_root
//
// Properties.  A1  A reader does not touch an array that was freed.
//              A2  An owner has one child for a root cache: none is made twice, none is lost by a copy.
//              A3  Nobody waits for ever; the old array is freed.
// Mutants.     M_SLOT_ONLY       a reader holds its slot's lock but is in no section
//              M_NO_GP           the old array is freed at once
//              M_RETIRE_FIRST    call_rcu before the new array is in place
//              M_CREATE_APART    the thread that makes a root cache makes the child without keeping the executor out
//              M_COPY_LATE       the new array is published before it is filled
// Source.      kernel-memcg.md 1.3, races 6, 8; Linux memcg_cache_array.
//
//@ hold  base
//@ fail  M_SLOT_ONLY
//@ fail  M_NO_GP
//@ fail  M_RETIRE_FIRST
//@ fail  M_CREATE_APART
//@ fail  M_COPY_LATE

#define NO_ARRAY 2
byte array;          /* owner.caches: 0 the small one, 1 the large one */
bit freed[2];
bit entry[4];        /* array * 2 + index: the child is there */
byte nr_made[2];
bit run_locked;      /* the executor's */
bit slot_locked;
bit in_section, awaited; /* of the reader */
byte retired = NO_ARRAY;
byte nr_done;

#define ENTRY(a, i) entry[(a) * 2 + (i)]

inline grow() {
    if
    :: array == 0 ->
#ifdef M_RETIRE_FIRST
        retired = 0;
#endif
#ifdef M_COPY_LATE
        array = 1;
        ENTRY(1, 0) = ENTRY(0, 0);
#else
        ENTRY(1, 0) = ENTRY(0, 0);
        array = 1;
#endif
#ifndef M_RETIRE_FIRST
        retired = 0
#endif
    :: else
    fi
}

inline create_child(index) {
    if
    :: !ENTRY(array, index) ->
        if
        :: index == 1 -> grow()
        :: else
        fi;
        nr_made[index]++;
        ENTRY(array, index) = 1
    :: else
    fi
}

proctype executor() {
    atomic { !run_locked -> run_locked = 1 };
    create_child(0);
    create_child(1);
    run_locked = 0;
    nr_done++
}

/* create_root_cache() on its caller's thread: run_exclusive(), or it meets the executor. */
proctype maker() {
#ifndef M_CREATE_APART
    atomic { !run_locked -> run_locked = 1 };
#endif
    create_child(0);
#ifndef M_CREATE_APART
    run_locked = 0;
#endif
    nr_done++
}

proctype callbacks() {
    retired != NO_ARRAY;
#ifndef M_NO_GP
    awaited = in_section;
    !awaited;
#endif
    d_step { freed[retired] = 1; nr_done++ }
}

proctype reader() {
    byte seen, lookups;
    bit had;
    do
    :: lookups < 2 ->
        lookups++;
        atomic { !slot_locked -> slot_locked = 1 };
#ifndef M_SLOT_ONLY
        in_section = 1;
#endif
        seen = array;
        d_step {
            assert(!freed[seen]); /* A1: capacity, entry */
            assert(!had || ENTRY(seen, 0)); /* A2: what was found is found again */
            had = ENTRY(seen, 0)
        };
#ifndef M_SLOT_ONLY
        d_step { in_section = 0; awaited = 0 };
#endif
        slot_locked = 0
    :: else -> break
    od;
    nr_done++
}

proctype final() {
    timeout ->
    assert(nr_done == 4 && freed[0] && !freed[1]);                             /* A3 */
    assert(nr_made[0] == 1 && nr_made[1] == 1 && ENTRY(1, 0) && ENTRY(1, 1))   /* A2 */
}

init {
    atomic {
        run executor();
        run maker();
        run callbacks();
        run reader();
        run final()
    }
}
