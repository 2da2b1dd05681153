// SPDX-License-Identifier: MIT
//
// cold_bins: blocks of a shared slab in a thread's bin for its group, while the group is discarded and others sweep the slab.
//
// Idea.        A thread inside a group has a bin with blocks of a slab that another thread holds; each block has its owner's id. It
//              allocates from the bin, frees its group's blocks to it and another group's elsewhere, and leaves the group, which
//              empties the bin. The slab's holder takes back what belongs to a marked owner, and hands out what is free to the
//              other group. Meanwhile the group is discarded.
//              What a thread does inside a section, and what is done with a slot held and closed, is a step: revoke.pml
//              shows that they exclude each other.
//
//              here           code
//              ALLOC, FREE    slab/fast_path.hpp; cold.hpp free_cold; free.cc for what no bin takes
//              leave          scope.cc leave_slow, cold.cc close_cold, uncharge_cold, bins.cc flush
//              discard        group/discard.cc: discard_held (forget_bins), then mark, then uncharge_shares
//              sweep          slab/discard.cc sweep_slab, take_back
//              reuse          cold.cc take_cold
//
// Properties.  C1  A block that is free in its slab is not freed again, nor one in a bin handed out by the slab.
//              C2  In the end each group is charged for the blocks that live, by their ids.
// Mutants.     M_MARK_FIRST   the owner is marked before the bins were forgotten
//              M_NO_FORGET    the bin is as it was after the discard: the thread empties it when it leaves
//              M_KEEP_ID      a block that leaves the bin keeps its owner's id
//              M_ANY_OWNER    the bin takes blocks whosever they are
// Source.      docs/lifecycle.md "Discarding a group".
//
//@ hold  three_operations  -DNOPS=3
//@ long  five_operations   -DNOPS=5
//@ fail  M_MARK_FIRST      -DNOPS=1
//@ fail  M_NO_FORGET       -DNOPS=1
//@ fail  M_KEEP_ID         -DNOPS=1
//@ fail  M_ANY_OWNER       -DNOPS=2

#ifndef NOPS
#define NOPS 3 /* operations of the thread */
#endif
#define BLOCKS 3

/* Where a block is. */
#define SLAB 0 /* free, with its slab */
#define LIVE 1
#define BIN 2
byte at[BLOCKS];

/* Whose it is. */
#define NONE 0
#define OURS 1
#define OTHERS 2
byte id[BLOCKS];

int charged_ours;
int charged_others;
bit has_bin = 1;
bit slot_locked;
bit discarding; /* from here on nobody uses the group's blocks: who does has a bug */
bit marked;
byte nr_done;

/* The block is with its slab again. */
inline to_slab(b) {
    assert(at[b] != SLAB); /* C1 */
    at[b] = SLAB;
    id[b] = NONE
}
inline flush() {
    i = 0;
    do
    :: i < BLOCKS ->
        if
        :: at[i] == BIN ->
            charged_ours--;
#ifdef M_KEEP_ID
            at[i] = SLAB;
#else
            to_slab(i);
#endif
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

proctype thread() {
    byte n = 0;
    byte b = 0;
    byte i = 0;
    do
    :: n < NOPS ->
        select(b : 0 .. BLOCKS - 1);
        if
        :: atomic { /* ALLOC */
            has_bin && !slot_locked && !discarding && at[b] == BIN -> at[b] = LIVE
        }
        :: atomic { /* FREE of the group's own */
            has_bin && !slot_locked && !discarding && at[b] == LIVE && id[b] == OURS -> at[b] = BIN
        }
        :: atomic { /* FREE of the other group's */
            !slot_locked && at[b] == LIVE && id[b] == OTHERS ->
#ifdef M_ANY_OWNER
                if
                :: has_bin -> at[b] = BIN
                :: else -> charged_others--; to_slab(b)
                fi
#else
                charged_others--; to_slab(b)
#endif
        }
        :: skip
        fi;
        n++
    :: else -> break
    od;
    atomic { !slot_locked -> slot_locked = 1 }; /* leave */
    atomic {
        if
        :: has_bin -> flush(); has_bin = 0
        :: else
        fi;
        slot_locked = 0
    };
    nr_done++
}

proctype holder() {
    byte b = 0;
    byte n = 0;
    do
    :: n < BLOCKS + 1 ->
        select(b : 0 .. BLOCKS - 1);
        if
        :: atomic { marked && id[b] == OURS -> /* sweep */
            assert(at[b] != BIN || !has_bin); /* C1: the bin would hand it out */
            to_slab(b)
        }
        :: atomic { at[b] == SLAB -> /* reuse */
            at[b] = LIVE;
            id[b] = OTHERS;
            charged_others++
        }
        :: skip
        fi;
        n++
    :: else -> break
    od;
    nr_done++
}

proctype discard() {
    discarding = 1;
#ifdef M_MARK_FIRST
    marked = 1;
#endif
#ifndef M_NO_FORGET
    atomic { !slot_locked -> slot_locked = 1 };
    atomic {
        has_bin = 0; /* what was in it is nobody's, and has its owner's id */
        slot_locked = 0
    };
#endif
    marked = 1;
    atomic { /* what lives of the group is the root's from here on */
        charged_ours = 0;
        nr_done++
    }
}

init {
    atomic {
        at[0] = BIN; id[0] = OURS;
        at[1] = LIVE; id[1] = OURS;
        at[2] = LIVE; id[2] = OTHERS;
        charged_ours = 2;
        charged_others = 1;
        run thread();
        run holder();
        run discard()
    }
    nr_done == 3;
    byte others = 0;
    byte k = 0;
    do
    :: k < BLOCKS ->
        if
        :: id[k] == OTHERS -> assert(at[k] == LIVE); others++
        :: else
        fi;
        k++
    :: else -> break
    od;
    assert(charged_ours == 0); /* C2 */
    assert(charged_others == others)
}
