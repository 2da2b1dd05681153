// SPDX-License-Identifier: MIT
//
// discard_bins: a group goes with all its blocks, while bins of some threads have blocks of others' slabs.
//
// Idea.        Two threads, each with a slot, a heap of the group and one bin; two slabs, at first one in each
//              heap, of two blocks and one. The threads allocate and free through their bins, whoever holds the slab, fill and flush them, adopt the
//              slab that nobody holds, and exit; a reclaim flushes and parks what one of them has. Then the group is discarded,
//              by a thread without a heap of it or by one of the two (OWN): slabs are given back whatever lives in them.
//              What a thread does inside a section, and what is done with a slot held and closed, is a step: revoke.pml
//              shows that they exclude each other. A slab's queued bit is remote_free.pml's.
//
//              here                       code
//              ALLOC, TO_BIN              slab/fast_path.hpp; free.cc free_in_section, bins.cc bin_for, put_into
//              fill                       slab_ops.cc next_block
//              flush, back_to_slab        bins.cc flush
//              adopt, park, retire        slab_ops.cc
//              lock_slot, cold_end        revoke.cc cold_section, open_own; close_thread
//              thread_exit, drop          revoke.cc give_up_heaps, heap.cc drop_heap, park_all
//              reclaim                    group/reclaim.cc, heap.cc park_all
//              discard, forget, wipe      group/discard.cc discard_held, forget_in_slot, discard_heaps; slab/discard.cc wipe_heap
//              wipe_node                  group/discard.cc discard_unheld, slab/discard.cc discard_unowned
//              nr_heaps                   cache_owner::nr_heaps
//
// Properties.  W1  No block of a slab that was given back is handed out of a bin, or sent back to its slab.
//              W2  In the end all slabs are given back, and no heap of the group is left.
//              W3  No block is lost before: a slab that is given back otherwise is free as a whole.
//              W4  Nobody waits for ever.
// Mutants.     M_ONE_PASS           the slabs of a slot are wiped before the bins of the next one were forgotten
//              M_OWN_FIRST          the own thread's slabs are wiped first, though others have heaps of the group
//              M_NODE_FIRST         slabs that nobody holds are wiped before the bins were forgotten
//              M_NO_FORGET          a heap is wiped and dropped with its bin as it is: the drop flushes it
//              M_COUNT_EARLY        a heap that goes is not counted any more before its bin was flushed
//              M_FLUSH_FOR_FORGET   bins are flushed, not forgotten, each before its slot is wiped
// Source.      docs/lifecycle.md "Discarding a group".
//
//@ hold  other               -DNOPS=2
//@ hold  own                 -DOWN -DNOPS=2
//@ long  other_operations    -DNOPS=3
//@ long  own_operations      -DOWN -DNOPS=4
//@ fail  M_ONE_PASS          -DNOPS=1
//@ fail  M_OWN_FIRST         -DOWN
//@ fail  M_NODE_FIRST        -DNOPS=1 | -DOWN
//@ fail  M_NO_FORGET         -DOWN
//@ fail  M_COUNT_EARLY       -DOWN
//@ fail  M_FLUSH_FOR_FORGET  -DNOPS=1

#ifndef NOPS
#define NOPS 2 /* operations of each thread */
#endif
#ifdef OWN
#define OWNS 1
#else
#define OWNS 0
#endif
#define BLOCKS 3
#define slab_of(b) ((b) / 2) /* 0, 0, 1 */

/* Where a block is. */
#define USED 0
#define BIN(t) (1 + (t)) /* 1, 2 */
#define FREE 3           /* on its slab's free list */
#define REMOTE 4         /* on its slab's remote list */
#define GONE 5           /* its slab was given back */
byte at[BLOCKS];

/* Who holds a slab: slot 0, slot 1, */
#define NODE 2
#define NOBODY 3 /* given back */
byte holder[2];

bit slot_locked[2];
bit open[2];      /* the thread may work without its slot's lock: its fast path is open */
bit heap[2];      /* it has a heap of the group */
bit has_bin[2];   /* with a bin that has the cache's tag */
byte nr_heaps;
bit online;       /* the group's */
bit discarding;   /* from here on nobody frees blocks of the group: who does has a bug */
byte nr_done;

#define IN_BIN(x) (at[x] == BIN(0) || at[x] == BIN(1))
#define is_empty(s) (at[2 * (s)] == FREE && (s == 1 || at[1] == FREE))

/* Whoever has a block in a bin does not know. */
inline give_back(s) {
    holder[s] = NOBODY;
    at[2 * s] = (IN_BIN(2 * s) -> at[2 * s] : GONE);
    at[1] = (s == 1 || IN_BIN(1) -> at[1] : GONE)
}

/* Block `b` leaves thread `t` for its slab. */
inline back_to_slab(t) {
    assert(holder[slab_of(b)] != NOBODY); /* W1 */
    at[b] = (holder[slab_of(b)] == t || holder[slab_of(b)] == NODE -> FREE : REMOTE)
}
inline release_if_empty(s) {
    if
    :: holder[s] == NODE && is_empty(s) -> give_back(s)
    :: else
    fi
}
inline flush(t) {
    b = 0;
    do
    :: b < BLOCKS ->
        if
        :: at[b] == BIN(t) -> back_to_slab(t)
        :: else
        fi;
        b++
    :: else -> break
    od;
    b = 0;
    release_if_empty(0);
    release_if_empty(1)
}
inline collect(s) {
    at[2 * s] = (at[2 * s] == REMOTE -> FREE : at[2 * s]);
    at[1] = (s == 0 && at[1] == REMOTE -> FREE : at[1])
}
inline park(t, s) {
    if
    :: holder[s] == t -> collect(s); holder[s] = NODE; release_if_empty(s)
    :: else
    fi
}
inline park_all(t) {
    flush(t);
    park(t, 0);
    park(t, 1)
}

/* The bin is empty: it gets all that the slabs of the heap have. */
inline fill(t) {
    b = 0;
    do
    :: b < BLOCKS ->
        if
        :: holder[slab_of(b)] == t && (at[b] == FREE || at[b] == REMOTE) -> at[b] = BIN(t)
        :: else
        fi;
        b++
    :: else -> break
    od;
    b = 0
}

inline lock_slot(t) {
    atomic { !slot_locked[t] -> slot_locked[t] = 1; open[t] = 0 }
}
inline cold_end(t) {
    d_step { open[t] = online && heap[t]; slot_locked[t] = 0 }
}

/* Slot held and closed. */
inline drop(t) {
#ifdef M_COUNT_EARLY
    d_step { nr_heaps-- };
    d_step { park_all(t); heap[t] = 0; has_bin[t] = 0 }
#else
    d_step { park_all(t) };
    d_step { heap[t] = 0; has_bin[t] = 0; nr_heaps-- }
#endif
}

/* --- The discard. The tree lock is held: there is one. ------------------------------------------------------------------ */

/* What is in the bin counts as in use, until its slab is wiped. */
inline forget(t) {
    b = 0;
    do
    :: b < BLOCKS ->
        if
        :: at[b] == BIN(t) -> at[b] = (holder[slab_of(b)] == NOBODY -> GONE : USED)
        :: else
        fi;
        b++
    :: else -> break
    od;
    b = 0;
    has_bin[t] = 0
}
inline wipe_slab(s) {
    if
    :: holder[s] == i -> give_back(s)
    :: else
    fi
}
inline wipe_and_drop() {
    d_step {
#ifdef M_FLUSH_FOR_FORGET
        flush(i);
#endif
#ifndef M_NO_FORGET
        forget(i);
#endif
        wipe_slab(0);
        wipe_slab(1)
    };
    drop(i)
}
inline wipe_node() {
    d_step {
        i = NODE;
        wipe_slab(0);
        wipe_slab(1);
        i = 0
    }
}

/* `me`: the slot of who calls, with OWN. */
inline discard(me) {
    discarding = 1; /* the caller knows that the group's blocks are not used any more */
    online = 0;
#ifdef M_NODE_FIRST
    wipe_node();
#endif
    heaps = nr_heaps;
    if
    :: heaps != 0 ->
#ifdef OWN
        lock_slot(me);
        own = heap[me];
        i = me;
        if
#ifdef M_OWN_FIRST
        :: own > 0 -> wipe_and_drop()
#else
        :: own == heaps -> wipe_and_drop()
#endif
        :: else
        fi;
        cold_end(me);
#endif
#if !defined(M_ONE_PASS) && !defined(M_FLUSH_FOR_FORGET)
        i = 0;
        do
        :: own != heaps && i < 2 ->
            d_step { !slot_locked[i] -> open[i] = 0; forget(i); i++ }
        :: else -> break
        od
#endif
    :: else
    fi;
    i = 0;
    do
    :: i < 2 ->
        lock_slot(i);
        if
        :: heap[i] -> wipe_and_drop()
        :: else
        fi;
        d_step { slot_locked[i] = 0; i++ }
    :: else -> break
    od;
    wipe_node();
    d_step { heaps = 0; own = 0 }
}

/* --- The threads --------------------------------------------------------------------------------------------------------- */

#define ALLOC(x) d_step { open[t] && at[x] == BIN(t) -> assert(holder[slab_of(x)] != NOBODY); at[x] = USED } /* W1 */
#define TO_BIN(x) d_step { at[x] == USED && !discarding && has_bin[t] && !slot_locked[t] -> at[x] = BIN(t) }

inline adopt(t, s) {
    if
    :: was_online && heap[t] && holder[s] == NODE -> holder[s] = t; collect(s); has_bin[t] = 1
    :: else
    fi
}
inline retire(t, s) {
    if
    :: holder[s] == t && is_empty(s) -> give_back(s)
    :: else
    fi
}

inline operation(t) {
    if
    :: ALLOC(0)
    :: ALLOC(1)
    :: ALLOC(2)
    :: TO_BIN(0)
    :: TO_BIN(1)
    :: TO_BIN(2)
    :: d_step { open[t] && online && has_bin[t] && at[0] != BIN(t) && at[1] != BIN(t) && at[2] != BIN(t) -> fill(t) }
    :: d_step { heap[t] && !slot_locked[t] -> flush(t); open[t] = online } /* a full bin */
    :: d_step { heap[t] && !slot_locked[t] -> flush(t); retire(t, 0); retire(t, 1); open[t] = online }
    :: heap[t] -> /* an empty bin, and no slab */
        lock_slot(t);
        was_online = online;
        d_step { adopt(t, 0); adopt(t, 1); was_online = 0 };
        cold_end(t)
    :: true
    fi
}

proctype thread(byte t) {
    byte b, ops, i, heaps, own;
    bit was_online;
    do
    :: ops < NOPS -> ops++; operation(t)
    :: ops == NOPS -> break
    :: true -> break
    od;
#ifdef OWN
    if
    :: t == 0 -> discard(0)
    :: else
    fi;
#endif
    if
    :: heap[t] -> /* thread_exit */
        lock_slot(t);
        if
        :: heap[t] -> drop(t)
        :: else
        fi;
        cold_end(t)
    :: true
    fi;
    nr_done++
}

proctype reclaim() {
    byte b;
    if
    :: d_step { !slot_locked[0] -> open[0] = 0; park_all(0) }
    :: d_step { !slot_locked[1] -> open[1] = 0; park_all(1) }
    :: true
    fi;
    nr_done++
}

#ifndef OWN
proctype other() {
    byte b, i, heaps, own;
    discard(2);
    nr_done++
}
#endif

proctype final() {
    timeout ->
    assert(nr_done == 4 - OWNS);                                        /* W4 */
    assert(holder[0] == NOBODY && holder[1] == NOBODY && nr_heaps == 0) /* W2 */
}

init {
    atomic {
        holder[1] = 1;
        at[1] = BIN(0);
        at[2] = BIN(1);
        heap[0] = 1;
        heap[1] = 1;
        has_bin[0] = 1;
        has_bin[1] = 1;
        open[0] = 1;
        open[1] = 1;
        nr_heaps = 2;
        online = 1;
        run thread(0);
        run thread(1);
        run reclaim();
#ifndef OWN
        run other();
#endif
        run final()
    }
}
