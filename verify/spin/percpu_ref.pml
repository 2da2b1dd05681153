// SPDX-License-Identifier: MIT
//
// percpu_ref: a reference count that is per slot while its object lives and is hot, and atomic before and after.
//
// Idea.        Threads get, tryget and put; a controller (the executor) switches the count to per-slot and back, then kills it.
//              While the count is per slot, `count` carries a bias, so that no put on it can see zero. A switch to atomic sets the
//              mode, waits until no section that saw the old mode is left, and takes the slots and the bias in with one addition.
//              Two ways to wait:
//              V_GP    as built: the mode is read, and the cell written, inside a read-side section; the switch waits for a
//                      grace period
//              V_RSEQ  not built: the mode is read, and the cell written, inside an rseq section, which the fence (membarrier
//                      RSEQ) makes start again: the switch would be synchronous
//
//              here                     src/sync/percpu_ref.hpp                           kernel
//              per_slot, dead           the pointer word: cells unmarked; `dying`         low bits of percpu_count_ptr
//              slot[], count, BIAS      the cells; the count word; bias                   percpu_count, count, PERCPU_COUNT_BIAS
//              change                   get, put                                          percpu_ref_get, percpu_ref_put
//              tryget(0), tryget(1)     tryget, tryget_online                             percpu_ref_tryget, _tryget_live
//              switch_to_slots          switch_to_percpu                                  __percpu_ref_switch_to_percpu
//              switch_to_atomic         begin_switch_to_atomic, finish_switch_to_atomic   __percpu_ref_switch_to_atomic
//              the end of controller    begin_kill, confirm_kill, put                     percpu_ref_kill_and_confirm
//              take_in                  take_in                                           percpu_ref_switch_to_atomic_rcu
//              nested_put               a put in a signal handler on top of a section: on `count`, whatever the mode
//              in_section, wait         rcu.hpp, as revoke.pml and shared_readers.pml prove it
//              Left out: resurrect, a kill during a switch, the heat: verify/explore/percpu_ref.cc has them.
//
// Properties.  C1  release runs once, when the true number of references is 0.
//              C2  No reference is handed out after it; no count is negative.
//              C3  No tryget_online succeeds after the confirmation.
//              C4  After kill and the last put, release has run (nothing is lost in a slot).
// Mutants.     M_NO_WAIT         the slots are summed without a grace period or fence
//              M_BIAS_EARLY      the bias is taken off before the slots are in
//              M_NO_BIAS         the count goes per slot without the bias
//              M_BLIND           tryget counts up without looking for 0
//              M_CONFIRM_EARLY   the confirmation comes before the wait
//              M_TEST_OUTSIDE    the mode is read before the section begins
//              M_NESTED_SLOT     a handler on top of a section uses the slot as well (V_GP: a load and a store)
//              M_NO_CHECK        kill drops its reference first and does not look for 0 when the slots are in
//              M_DEAD_APART      V_RSEQ: tryget_online of an atomic count tests `dead` apart from its compare-and-swap
//              M_STALE_SLOTS     a switch to atomic leaves the slots as they are
//              M_NO_SERIAL       a count goes per slot again while a switch to atomic still waits
// Source.      src/sync/percpu_ref.hpp; Linux lib/percpu-refcount.c.
//
//@ hold  grace_period      -DV_GP
//@ hold  rseq              -DV_RSEQ
//@ long  grace_period_three_operations -DV_GP -DNOPS=3
//@ long  rseq_three_operations         -DV_RSEQ -DNOPS=3
//@ fail  M_NO_WAIT         -DV_GP
//@ fail  M_NO_WAIT         -DV_RSEQ
//@ fail  M_BIAS_EARLY      -DV_GP
//@ fail  M_NO_BIAS         -DV_GP
//@ fail  M_BLIND           -DV_GP
//@ fail  M_CONFIRM_EARLY   -DV_GP
//@ fail  M_CONFIRM_EARLY   -DV_RSEQ
//@ fail  M_TEST_OUTSIDE    -DV_GP
//@ fail  M_NESTED_SLOT     -DV_GP
//@ fail  M_NO_CHECK        -DV_RSEQ
//@ fail  M_DEAD_APART      -DV_RSEQ
//@ fail  M_STALE_SLOTS     -DV_GP
//@ fail  M_NO_SERIAL       -DV_GP

#ifndef NOPS
#define NOPS 2 /* operations of each thread */
#endif
#ifndef SWITCHES
#define SWITCHES 3 /* mode switches before the kill */
#endif
#define THREADS 2
#define BIAS 32
#define check_online(online_only) assert(!(online_only) || !confirmed) /* C3 */

bit per_slot, dead; /* one word: read and written together */
short count = 1;
short slot[THREADS];
byte in_section, awaited; /* V_GP: a bit a thread */
bit restart[THREADS];     /* V_RSEQ: the fence found the thread inside */
bit in_rseq[THREADS];

byte truth = 1;  /* ghost: references that exist; the owner's own to begin with */
byte held;       /* references that threads have */
bit released, confirmed, killed;
byte nr_done;

inline release() {
    assert(truth == 0 && !released); /* C1 */
    released = 1
}

/* The atomic count after a change. */
inline check_zero() {
    assert(count >= 0); /* C2 */
    if
    :: count == 0 -> release()
    :: else
    fi
}

inline enter() { in_section = in_section | (1 << me) }
inline leave() {
    d_step {
        in_section = in_section & ~(1 << me);
        awaited = awaited & ~(1 << me)
    }
}

/* A handler on top: a put on the atomic count, in any mode. */
inline nested_put() {
    if
    :: d_step {
            held > 0 && per_slot && !nested_done ->
            nested_done = 1;
            held--;
            truth--;
#ifdef M_NESTED_SLOT
            slot[me]--;
#else
            count--;
            check_zero()
#endif
        }
    :: skip
    fi
}

/* Gets (delta 1) or puts (delta -1) unconditionally; for a get the caller holds a reference, for a put it gave one up. */
#ifdef V_GP
inline change(delta) {
#ifdef M_TEST_OUTSIDE
    slots = per_slot;
    enter();
#else
    enter();
    slots = per_slot;
#endif
    if
    :: slots ->
        seen = slot[me];
        nested_put();
        d_step { slot[me] = seen + (delta); truth = truth + (delta); got = 1 }
    :: else ->
        d_step { count = count + (delta); truth = truth + (delta); got = 1; check_zero() }
    fi;
    leave();
    d_step { slots = 0; seen = 0 }
}

inline tryget(online_only) {
    enter();
    d_step { slots = per_slot; was_dead = dead };
    if
    :: online_only && was_dead
    :: !(online_only && was_dead) && slots ->
        seen = slot[me];
        nested_put();
        d_step { slot[me] = seen + 1; truth++; got = 1; check_online(online_only) }
    :: !(online_only && was_dead) && !slots ->
        d_step {
            if
#ifdef M_BLIND
            :: true ->
#else
            :: count > 0 ->
#endif
                assert(!released); /* C2 */
                count++;
                truth++;
                got = 1;
                check_online(online_only)
            :: else
            fi
        }
    fi;
    leave();
    d_step { slots = 0; seen = 0; was_dead = 0 }
}
inline wait() {
    awaited = in_section;
    awaited == 0
}
#else
inline change(delta) {
    do
    ::  d_step { in_rseq[me] = 1; restart[me] = 0; slots = per_slot };
        if
        :: slots ->
            d_step {
                in_rseq[me] = 0;
                if
                :: !restart[me] -> slot[me] = slot[me] + (delta); truth = truth + (delta); got = 1
                :: else
                fi
            }
        :: else ->
            in_rseq[me] = 0;
            d_step { count = count + (delta); truth = truth + (delta); got = 1; check_zero() }
        fi;
        if
        :: got -> break
        :: else
        fi
    od;
    slots = 0
}
#endif

#ifdef V_RSEQ
inline tryget_slots(online_only) {
    d_step { in_rseq[me] = 1; restart[me] = 0; slots = per_slot; was_dead = dead };
    if
    :: slots && !(online_only && was_dead) ->
        d_step {
            in_rseq[me] = 0;
            if
            :: !restart[me] -> slot[me]++; truth++; got = 1; check_online(online_only)
            :: else -> aborted = 1
            fi
        }
    :: else -> in_rseq[me] = 0
    fi
}
inline tryget(online_only) {
    do
    ::  d_step { aborted = 0 };
        tryget_slots(online_only);
        if
        :: aborted
        :: else -> break
        fi
    od;
    if
#ifdef M_DEAD_APART
    :: !got && !slots && !(online_only && was_dead) ->
        d_step {
            if
            :: count > 0 ->
#else
    :: !got && !slots ->
        d_step {
            if
            :: count > 0 && !(online_only && dead) -> /* `dead` is a bit of the count's word */
#endif
                assert(!released);
                count++;
                truth++;
                got = 1;
                check_online(online_only)
            :: else
            fi
        }
    :: else
    fi;
    d_step { slots = 0; was_dead = 0; aborted = 0 }
}
inline wait() { /* the fence: who is inside begins again */
    d_step {
        restart[0] = in_rseq[0];
        restart[1] = in_rseq[1]
    }
}
#endif

proctype thread(byte me) {
    byte ops;
    short seen;
    bit slots, was_dead, got, nested_done, aborted;
    do
    :: ops < NOPS ->
        ops++;
        if
        :: tryget(0); d_step { held = held + got; got = 0 }
        :: tryget(1); d_step { held = held + got; got = 0 }
        :: d_step { held > 0 -> held-- }; change(1); d_step { held = held + 2 * got; got = 0 }
        :: d_step { held > 0 -> held-- }; change(-1); got = 0
        fi
    :: ops == NOPS -> break
    od;
    do /* whoever is left puts what is left */
    :: d_step { held > 0 -> held-- }; change(-1); got = 0
    :: held == 0 -> break
    od;
    nr_done++
}

inline sum_slots() {
    total = slot[0];
#ifndef M_STALE_SLOTS
    slot[0] = 0;
#endif
    total = total + slot[1];
#ifndef M_STALE_SLOTS
    slot[1] = 0;
#endif
}

inline take_in() {
#ifdef M_BIAS_EARLY
    count = count - BIAS;
    sum_slots();
    d_step { count = count + total };
#else
    sum_slots();
    d_step { count = count + total - BIAS };
#endif
    total = 0
}

inline switch_to_slots() {
    d_step {
#ifndef M_NO_BIAS
        count = count + BIAS;
#endif
        per_slot = 1
    }
}

inline switch_to_atomic() {
    per_slot = 0;
#ifdef M_NO_SERIAL
    if
    :: switch_to_slots()
    :: skip
    fi;
#endif
#ifndef M_NO_WAIT
    wait();
#endif
    take_in()
}

proctype controller() {
    byte switches;
    short total;
    bit was_per_slot;
    do
    :: switches < SWITCHES && !per_slot -> switches++; switch_to_slots()
    :: switches < SWITCHES && per_slot -> switches++; switch_to_atomic()
    :: true -> break
    od;
    /* kill */
    atomic { was_per_slot = per_slot; dead = 1; per_slot = 0 };
#ifdef M_CONFIRM_EARLY
    confirmed = 1;
#endif
#ifdef M_NO_CHECK
    d_step { count--; truth--; if :: !was_per_slot -> check_zero() :: else fi };
#endif
#ifndef M_NO_WAIT
    wait();
#endif
    if
    :: was_per_slot -> take_in()
    :: else
    fi;
    confirmed = 1;
#ifndef M_NO_CHECK
    d_step { count--; truth--; check_zero() };
#endif
    killed = 1;
    nr_done++
}

proctype final() {
    timeout ->
    assert(nr_done == THREADS + 1 && held == 0 && truth == 0); /* everything was put */
    assert(released && count == 0)                             /* C4 */
}

init {
    atomic {
        run thread(0);
        run thread(1);
        run controller();
        run final()
    }
}
