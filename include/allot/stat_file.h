/* SPDX-License-Identifier: MIT
 *
 * stat_file.h: the layout of the file in which a process publishes its groups' figures.
 *
 * The counters of a process that runs with ALLOT_STAT_DIR=DIR live in DIR/PID.stat, a shared mapping, so a reader sees them at
 * any time, also after _exit or SIGKILL. The file is one header followed by `capacity` records; record 0 is the root. A forked
 * child writes a file of its own. Readers map it read-only, skip records with state ALLOT_RECORD_FREE and read every field once.
 * The file is sparse; `used` is one more than the highest index that was ever in use.
 */
#ifndef ALLOT_STAT_FILE_H
#define ALLOT_STAT_FILE_H

#include <stdint.h>

#define ALLOT_STAT_MAGIC 0x544f4c4c41ull /* "ALLOT" */
#define ALLOT_STAT_VERSION 1u
#define ALLOT_STAT_CAPACITY (1u << 18)

enum { ALLOT_RECORD_FREE = 0, ALLOT_RECORD_OPEN = 1, ALLOT_RECORD_DYING = 2 };

typedef struct allot_stat_record {
    /* One cache line that charges write. */
    uint64_t usage;       /* bytes, with descendants */
    uint64_t peak;        /* bytes: the most that usage was before it fell; or usage, if that is more */
    uint64_t failures;    /* count: failed requests */
    uint64_t max_events;  /* count */
    uint64_t high_events; /* count */
    uint64_t allocations; /* count */
    uint64_t reserved0[2];
    /* One that charges read. */
    uint64_t max;
    uint64_t high;
    uint64_t low;
    uint64_t min;
    uint64_t parent_address; /* of no use to readers */
    uint64_t reserved1[3];
    /* What the group is, and its own share by class, bytes; negative for moments only. */
    uint32_t state;  /* ALLOT_RECORD_*; written last */
    uint32_t parent; /* index of the parent's record; own index for the root */
    uint32_t id;
    uint32_t reserved2;
    int64_t slab;
    int64_t shared;
    int64_t large;
    int64_t external;
    int64_t metadata;
    uint64_t reserved3;
    char name[64]; /* zero-terminated */
} allot_stat_record;

typedef struct allot_stat_header {
    uint64_t magic;
    uint32_t version;
    uint32_t record_bytes;
    uint32_t capacity;
    uint32_t used;
    int32_t pid;
    int32_t parent_pid;
    uint64_t unpublished; /* count: groups that found no free record */
    char command[64];     /* zero-terminated, cut */
    uint8_t reserved[256 - 104];
} allot_stat_header;

#endif
