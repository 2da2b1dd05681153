// SPDX-License-Identifier: MIT
//
// remote_free: the word of a slab, and who gives the slab back.
//
// Idea.        One slab of BLOCKS blocks. X, the thread that holds it at first, and Y, another thread with a slot, use, adopt,
//              exhaust and park it; Z is a thread without a slot (it uses the orphan slot, and its frees may be nested). Each
//              frees blocks: locally if it holds the slab, else with a push on the word. A block in a bin is one in use: a flush
//              frees it, and a free into a bin is seen by nobody here. Closing the group parks the slab
//              wherever it is, and a thread that has done its part looks at its own queue now and then, as every slow path does.
//              What the holder does inside a section of its open fast path is written as under its slot's lock: revoke.pml
//              shows that they exclude each other.
//              EAGER    a stronger form, for threads that may be idle for ever: who parks drains afterwards, a freer looks again
//                       after its push, and the sweep visits all slots. The sources do not do this: a slab that was pushed on
//                       an idle thread's queue while it was parked elsewhere stays until that thread's next slow path
//
//              here                       code (slab_ops.cc where nothing else is said)
//              w_list, w_frozen, ...      the bits of slab_remote::word, remote.hpp
//              push_remote                remote.hpp push_remote; free.cc push_in_section, free_remote, queue_for_slot, defer_free;
//                                         bins.cc chain::send
//              collect                    collect, take_remote: one compare-and-swap
//              next_block                 next_block, first_with_block, make_full
//              free_own                   bins.cc flush; free.cc free_in_section, free_local; make_partial, after_local_free
//              retire, park_in, adopt     retire, park, adopt
//              process_queued, drain      process_queued, process_own, drain_queue
//              sweep                      free.cc sweep_deferred
//              thread_exit                revoke.cc end_thread, sync/thread_slot.cc slot_detach
//              close_group                group/lifecycle.cc drop_leaving_heaps under for_each_slot_closed
//              q[], deferred              thread_heaps::queue; free.cc deferred
//
// Properties.  F1  The slab is given back once, with all its blocks on its free list, and never while `queued` is set.
//              F2  Nobody touches the slab after that.
//              F3  The slab is on one queue at most (it has one link).
//              F4  Whoever changes `frozen` holds the node lock; an unfrozen slab is linked to its node when that is free.
//              F5  When everybody is idle and all blocks are free, a slab that no heap holds has been given back. EAGER: without
//                  any thread's help but the executor's.
//              F6  When everybody is idle, blocks on a full or unowned slab's list are somebody's duty who is there to do it.
//              F7  Nobody waits for ever.
// Mutants.     M_RELEASE_QUEUED     retire() and park() do not look at `queued`
//              M_NO_NOTIFY_FULL     make_full() does not set `notify`
//              M_NOTIFY_LATE        make_full() looks at the list first and sets `notify` with another exchange
//              M_NO_NOTIFY_PARK     park() does not set `notify`
//              M_FROZEN_UNLOCKED    park() changes `frozen` without the node lock
//              M_ADOPT_UNLOCKED     adopt() sets `frozen` after it gave the node lock back
//              M_QUEUED_LATE        process_queued() clears `queued` with an exchange of its own, after the list was taken
//              M_NO_OWNER_CHECK     queue_for_slot() does not look whether the slot's thread is gone
//              M_NO_FINAL_DRAIN     a thread's exit does not drain its queue after it detached
//              M_FORWARD_UNLOCKED   EAGER: process_queued() hands the slab on after it gave the node lock back
//              M_FORWARD_NO_SWEEP   process_queued() hands the slab to a slot without a thread and asks for no sweep
//              M_PARK_NO_DRAIN      EAGER: closing a group does not drain the slot's queue: its thread may be idle for ever
//              M_DRAIN_FIRST        EAGER: it drains the queue and then parks: a freer may push in between
//              M_SWEEP_OWNERLESS    EAGER: the sweep leaves queues of slots with threads alone
//              M_NO_RECHECK         EAGER: a freer does not look, after its push on a slot's queue, whether the slot still holds the slab
// Source.      snmalloc's and mimalloc's remote lists; SLUB's frozen bit.
//
//@ hold  closed            -DNOPS=2
//@ hold  open              -DBLOCKS=3 -DNOPS=2 -DCLOSE=0
//@ hold  eager             -DEAGER -DNOPS=1
//@ long  closed_three_blocks -DBLOCKS=3 -DNOPS=2
//@ long  open_three_operations -DBLOCKS=3 -DNOPS=3 -DCLOSE=0
//@ long  eager_three_blocks -DEAGER -DBLOCKS=3 -DNOPS=2
//@ fail  M_RELEASE_QUEUED   -DCLOSE=0
//@ fail  M_NO_NOTIFY_FULL   -DCLOSE=0
//@ fail  M_NOTIFY_LATE      -DCLOSE=0
//@ fail  M_NO_NOTIFY_PARK   -DCLOSE=0
//@ fail  M_FROZEN_UNLOCKED  -DCLOSE=0
//@ fail  M_ADOPT_UNLOCKED   -DCLOSE=0
//@ fail  M_QUEUED_LATE      -DCLOSE=0
//@ fail  M_NO_OWNER_CHECK   -DCLOSE=0
//@ fail  M_NO_FINAL_DRAIN   -DCLOSE=0
//@ fail  M_FORWARD_UNLOCKED -DEAGER -DNOPS=1
//@ fail  M_FORWARD_NO_SWEEP -DCLOSE=0
//@ fail  M_PARK_NO_DRAIN    -DEAGER -DNOPS=1
//@ fail  M_DRAIN_FIRST      -DEAGER -DNOPS=1
//@ fail  M_SWEEP_OWNERLESS  -DEAGER -DNOPS=1
//@ fail  M_NO_RECHECK       -DEAGER -DNOPS=1

#ifndef BLOCKS
#define BLOCKS 2
#endif
#ifndef NOPS
#define NOPS 2 /* slow operations of each thread, besides its frees */
#endif
#ifndef CLOSE
#define CLOSE 1 /* 0: the group stays open */
#endif
#ifndef ORPHAN_NOPS
#define ORPHAN_NOPS (1 - CLOSE) /* Z's slow operations */
#endif

#define X 0
#define Y 1
#define O 2 /* the orphan slot */
#define SLOTS 3
#define NOBODY 3

/* The word. */
byte w_list, w_slot;
bit w_frozen, w_notify, w_queued;

/* The holder's part of the descriptor. */
mtype = { none, heap_partial, heap_full, on_node, gone };
mtype place;
byte home = NOBODY;
byte free_blocks; /* on the free list */

bit owner[SLOTS]; /* the slot has a thread */
bit q[SLOTS], deferred, sweep_pending;
bit closing; /* the group is closed: no heap of it is found or made any more */
byte in_use = BLOCKS; /* blocks that somebody has */
bit released;
byte nr_idle;

#define EMPTY_SLAB (free_blocks == BLOCKS)
#define PRESENT assert(place != gone) /* F2 */

/* What is done under a slot's lock is a step too, but where a mutant takes more than one. */
#if defined(M_FROZEN_UNLOCKED) || defined(M_ADOPT_UNLOCKED) || defined(M_QUEUED_LATE) || defined(M_NOTIFY_LATE)
bit slot_locked[SLOTS];
#define LOCK_SLOT(s) atomic { !slot_locked[s] -> slot_locked[s] = 1 };
#define UNLOCK_SLOT(s) ; slot_locked[s] = 0
#define SLOT_IS_FREE(s) !slot_locked[s]
#else
#define LOCK_SLOT(s)
#define UNLOCK_SLOT(s)
#define SLOT_IS_FREE(s) true
#endif

/* The node lock is a step: each of its sections has one exchange of the word, and nothing else that others look at. */

inline take_list() {
    PRESENT;
    free_blocks = free_blocks + w_list;
    w_list = 0
}
inline push_queue(s) {
    PRESENT;
    assert(!q[X] && !q[Y] && !q[O] && !deferred); /* F3 */
    q[s] = 1
}

/* The slab is nobody else's by now, so this is part of the caller's step. */
inline release_slab() {
    assert(place == none && EMPTY_SLAB && !w_queued && w_list == 0 && !released); /* F1 */
    place = gone;
    home = NOBODY;
    free_blocks = 0;
    w_frozen = 0;
    w_notify = 0;
    w_slot = 0;
    released = 1
}

inline link_to_node() {
    assert(place == none && !w_frozen); /* F4 */
    place = on_node
}

/* Slot held; the slab is in its queue of partial slabs and empty. The heap may keep its last one. */
inline retire() {
    if
    :: !closing -> skip /* the only one of its class */
#ifndef M_RELEASE_QUEUED
    :: !w_queued -> place = none; release_slab()
    :: w_queued -> skip
#else
    :: place = none; release_slab()
#endif
    fi
}

/* Unfreezes the slab if slot `s`, which is held, is its home. */
inline unfreeze() {
    PRESENT;
    place = none;
    home = NOBODY;
    take_list();
    w_frozen = 0;
    w_slot = 0;
#ifndef M_NO_NOTIFY_PARK
    w_notify = 1
#endif
}
inline link_or_release() {
    if
#ifdef M_RELEASE_QUEUED
    :: !EMPTY_SLAB -> link_to_node()
#else
    :: !EMPTY_SLAB || w_queued -> link_to_node()
#endif
    :: else -> release_slab()
    fi
}
inline park_in(s) {
    if
#ifdef M_FROZEN_UNLOCKED
    :: atomic { home == s -> unfreeze() };
        atomic { link_or_release() }
#else
    :: atomic { home == s -> unfreeze(); link_or_release() }
#endif
    :: atomic { home != s }
    fi
}

inline adopt(s) {
    if
    :: place == on_node && free_blocks > 0 ->
        place = none;
        home = s;
#ifdef M_ADOPT_UNLOCKED
        adopting = 1
#else
        take_list();
        w_frozen = 1;
        w_slot = s;
        w_notify = 0;
        place = heap_partial
#endif
    :: else
    fi
}

inline check_after_push(s) {
    /* Is there somebody who will look at this queue? */
#ifndef M_NO_OWNER_CHECK
    if
    :: !owner[s] -> sweep_pending = 1
    :: else
    fi;
#endif
#if defined(EAGER) && !defined(M_NO_RECHECK)
    if
    :: !w_frozen || w_slot != s -> sweep_pending = 1
    :: else
    fi
#else
    skip
#endif
}

/* Slot `s` held; inside an atomic step. */
inline process_queued_step(s) {
    if
    :: !w_frozen ->
        take_list();
#ifdef M_QUEUED_LATE
        late = 1;
#else
        w_queued = 0;
#endif
        assert(place == on_node); /* F4 */
        place = none;
        if
        :: !EMPTY_SLAB -> link_to_node()
        :: else ->
#ifdef M_QUEUED_LATE
            w_queued = 0;
            late = 0;
#endif
            release_slab()
        fi
    :: w_frozen && w_slot != s ->
#ifdef M_FORWARD_UNLOCKED
        target = w_slot;
        late = 1
#else
        push_queue(w_slot);
#ifndef M_FORWARD_NO_SWEEP
        if
        :: !owner[w_slot] -> sweep_pending = 1
        :: else
        fi
#endif
#endif
    :: else ->
        take_list();
        w_queued = 0;
        assert(home == s);
        if
        :: place == heap_full && free_blocks > 0 -> place = heap_partial /* `notify` stays */
        :: else
        fi;
        if
        :: place == heap_partial && EMPTY_SLAB -> retire()
        :: else
        fi
    fi
}

/* The rest of a mutant's. */
inline process_queued_late() {
#ifdef M_QUEUED_LATE
    atomic {
        if
        :: late -> late = 0; w_queued = 0
        :: else
        fi
    }
#endif
#ifdef M_FORWARD_UNLOCKED
    atomic {
        if
        :: late ->
            late = 0;
            push_queue(target);
            if
            :: !owner[target] -> sweep_pending = 1
            :: else
            fi;
            target = 0
        :: else
        fi
    }
#endif
}

inline drain_queue(s) {
    if
    :: atomic {
            q[s] -> q[s] = 0;
            process_queued_step(s)
        }
#if defined(M_QUEUED_LATE) || defined(M_FORWARD_UNLOCKED)
        ;
        process_queued_late()
#endif
    :: atomic { !q[s] }
    fi
}

/* Slot held. What a slow allocation does with the slab if the heap of this slot has it: the whole list goes into a bin, or one block to
   the caller; then a slab without blocks is full. */
inline next_block(s) {
    atomic {
        if
        :: home == s && place == heap_partial ->
            if
            :: free_blocks == 0 -> take_list()
            :: else
            fi;
            if
            :: in_use = in_use + free_blocks; free_blocks = 0
            :: free_blocks > 1 -> free_blocks--; in_use++
            fi
        :: home != s && !closing && place != gone -> adopt(s)
        :: else
        fi
    };
    atomic {
        if
        :: home == s && place == heap_partial && free_blocks == 0 -> /* make_full() */
            take_list();
#ifdef M_NOTIFY_LATE
            late = (free_blocks == 0);
#elif !defined(M_NO_NOTIFY_FULL)
            w_notify = 1;
#endif
            if
            :: free_blocks == 0 -> place = heap_full
            :: else
            fi
        :: else
        fi
    };
#ifdef M_NOTIFY_LATE
    atomic {
        if
        :: late -> late = 0; w_notify = 1
        :: else
        fi
    }
#endif
#ifdef M_ADOPT_UNLOCKED
    atomic {
        if
        :: adopting -> adopting = 0; take_list(); w_frozen = 1; w_slot = s; w_notify = 0; place = heap_partial
        :: else
        fi
    }
#endif
}

/* A free by a thread whose slot is `s` and that does not hold the slab; the block is taken. `nested`: it may take no lock. */
inline push_remote(s) {
    atomic {
        PRESENT;
        w_list++;
        duty = w_notify && !w_queued;
        w_queued = w_queued || w_notify;
        was_frozen = w_frozen;
        target = (w_frozen -> w_slot : 0)
    };
    if
    :: duty && was_frozen ->
        atomic { push_queue(target) };
        check_after_push(target)
    :: duty && !was_frozen ->
        if
        ::  atomic {
                push_queue(s);
                if
                :: !owner[s] -> sweep_pending = 1
                :: else
                fi
            };
            LOCK_SLOT(s)
            drain_queue(s)
            UNLOCK_SLOT(s)
        :: s == O -> /* nested */
            atomic {
                PRESENT;
                assert(!q[X] && !q[Y] && !q[O] && !deferred); /* F3 */
                deferred = 1;
                sweep_pending = 1
            }
        fi
    :: else
    fi;
    atomic { duty = 0; was_frozen = 0; target = 0 }
}

inline slow_operation(s) {
    LOCK_SLOT(s)
    drain_queue(s);
    next_block(s)
    UNLOCK_SLOT(s)
}

inline free_own(s) {
    atomic {
        SLOT_IS_FREE(s) ->
        if
        :: home == s && in_use > 0 ->
            in_use--;
            free_blocks++;
            if
            :: place == heap_full -> place = heap_partial
            :: else
            fi;
            if
            :: place == heap_partial && EMPTY_SLAB -> retire()
            :: else
            fi
        :: else
        fi
    }
}

inline thread_exit(s) {
    LOCK_SLOT(s)
    drain_queue(s);
    park_in(s)
    UNLOCK_SLOT(s);
    atomic { SLOT_IS_FREE(s) -> owner[s] = 0 }; /* slot_detach() */
#ifndef M_NO_FINAL_DRAIN
    LOCK_SLOT(s)
    drain_queue(s)
    UNLOCK_SLOT(s)
#endif
}

/* X, Y and Z: some slow operations and frees, then idle for ever. */
proctype user(byte slot; byte ops) {
    byte target;
    bit duty, was_frozen, late, adopting;
    do
    :: atomic { in_use > 0 && home != slot -> in_use-- };
        push_remote(slot)
    :: in_use > 0 && home == slot -> free_own(slot)
    :: ops > 0 -> ops--; slow_operation(slot)
    :: ops > 0 && slot != O ->
        thread_exit(slot);
        ops = 0;
        slot = O /* a thread without a slot from now on */
    :: in_use == 0 -> break
    od;
    nr_idle++;
#ifndef EAGER
end:
    do /* its slow paths from now on */
    :: slot != O && q[slot] ->
        LOCK_SLOT(slot)
        drain_queue(slot)
        UNLOCK_SLOT(slot)
    od
#endif
}

proctype executor() {
    byte target, s;
    bit late;
end:
    do
    :: atomic { sweep_pending -> sweep_pending = 0 };
        LOCK_SLOT(O)
        if
        :: atomic {
                deferred -> deferred = 0;
                process_queued_step(O)
            }
#if defined(M_QUEUED_LATE) || defined(M_FORWARD_UNLOCKED)
            ;
            process_queued_late()
#endif
        :: atomic { !deferred }
        fi
        UNLOCK_SLOT(O);
        do
#if !defined(EAGER) || defined(M_SWEEP_OWNERLESS)
        :: atomic { s < SLOTS && owner[s] -> s++ }
        :: s < SLOTS && !owner[s] ->
#else
        :: s < SLOTS -> /* with a thread there: closed first */
#endif
            LOCK_SLOT(s)
            drain_queue(s)
            UNLOCK_SLOT(s);
            s++
        :: s == SLOTS -> break
        od;
        s = 0
    od
}

proctype close_group() {
    byte target, s;
    bit late;
    closing = 1; /* unpublished; a grace period */
    do
    :: s < SLOTS ->
        LOCK_SLOT(s)
#if !defined(EAGER) || defined(M_DRAIN_FIRST)
        drain_queue(s);
#endif
        park_in(s)
#if defined(EAGER) && !defined(M_PARK_NO_DRAIN) && !defined(M_DRAIN_FIRST)
        ;
        drain_queue(s) /* after the park: a freer that found the slab still here has pushed before this */
#endif
        UNLOCK_SLOT(s);
        s++
    :: else -> break
    od;
    nr_idle++
}

proctype final() {
    timeout ->
    assert(nr_idle == 3 + CLOSE && in_use == 0);                                     /* F7 */
    assert(!sweep_pending && !deferred);
    assert(released == (place == gone));                                             /* F1 */
    assert(home != NOBODY || place == gone);                                         /* F5 */
    assert(!CLOSE || place == gone);                                                 /* F5 */
    assert(place != heap_full || (w_list == 0 && free_blocks == 0) || q[w_slot]);    /* F6 */
    assert((!q[X] || owner[X]) && (!q[Y] || owner[Y]) && !q[O])                      /* F6 */
}

init {
    atomic {
        if
        :: place = heap_partial
        :: place = heap_full; w_notify = 1
        fi;
        if
        :: home = X
#if !CLOSE
        :: home = O
#endif
        fi;
        w_frozen = 1;
        w_slot = home;
        owner[X] = 1;
        owner[Y] = 1;
        run user(X, NOPS);
        run user(Y, NOPS);
        run user(O, ORPHAN_NOPS);
        run executor();
#if CLOSE
        run close_group();
#endif
        run final()
    }
}
