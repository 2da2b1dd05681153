// SPDX-License-Identifier: MIT
//
// shared_readers: read-side sections of threads without a slot, and two grace periods at once.
//
// Idea.        A reader counts itself in on the side that `side` names and out when it is done. A grace period looks at each
//              side once, after it has turned new readers to the other one. Two callers may overlap (no lock), so what a side's
//              number is may not be derived from how often this caller has flipped.
//
//              here        code: sync/rcu.hpp basic_shared_readers
//              reader      enter(), leave(): the load of side_ and the count in are two steps
//              wait        wait(): ends are read before beginnings
//              writer      any caller of synchronize_rcu(), stop_world()
//
// Properties.  S1  What a section found is not freed before the section ends.
//              S2  Nobody waits for ever.
// Mutants.     M_RELATIVE_SIDE   each of the two looks is at the side that this caller has just flipped away from: with a flip
//                                by another caller in between both are at the same side
//              M_ONE_LOOK        one side only
//              M_BEGIN_FIRST     beginnings are read before ends
//              M_COUNT_LATE      a reader counts itself in after it has looked
// Source.      Linux srcu; McKenney 9.5.
//
//@ hold  base
//@ long  three_sections -DSECTIONS=3
//@ fail  M_RELATIVE_SIDE
//@ fail  M_ONE_LOOK
//@ fail  M_BEGIN_FIRST
//@ fail  M_COUNT_LATE

#ifndef SECTIONS
#define SECTIONS 2 /* of each reader */
#endif
#define READERS 2
#define WRITERS 2
#define VERSIONS (WRITERS + 1)

byte side; /* modulo 2 */
byte entered[2], left[2];
byte current;          /* the version that a section finds */
bit freed[VERSIONS];
byte nr_done;

proctype reader() {
    byte sections, mine, version;
    do
    :: sections < SECTIONS ->
        sections++;
        mine = side;
#ifdef M_COUNT_LATE
        version = current;
        entered[mine]++;
#else
        entered[mine]++;
        version = current;
#endif
        assert(!freed[version]); /* S1 */
        d_step { assert(!freed[version]); left[mine]++; mine = 0; version = 0 }
    :: else -> break
    od;
    nr_done++
}

inline wait() {
    looks = 0;
    do
    :: looks < 2 ->
#ifdef M_RELATIVE_SIDE
        d_step { looked_at = side; side = 1 - side };
#else
        d_step { looked_at = looks; side = 1 - side };
#endif
#ifdef M_BEGIN_FIRST
        do
        ::  seen = entered[looked_at];
            if
            :: left[looked_at] == seen -> break
            :: else
            fi
        od;
#else
        do
        ::  seen = left[looked_at];
            if
            :: entered[looked_at] == seen -> break
            :: else
            fi
        od;
#endif
#ifdef M_ONE_LOOK
        looks++;
#endif
        looks++
    :: else -> break
    od;
    looked_at = 0;
    seen = 0
}

proctype writer() {
    byte looks, looked_at, seen, old;
    d_step { old = current; current = current + 1 };
    wait();
    freed[old] = 1;
    nr_done++
}

proctype final() {
    timeout -> assert(nr_done == READERS + WRITERS) /* S2 */
}

init {
    atomic {
        run reader();
        run reader();
        run writer();
        run writer();
        run final()
    }
}
