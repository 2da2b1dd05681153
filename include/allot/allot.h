/* SPDX-License-Identifier: MIT
 *
 * allot.h: the C interface of allot, memory control groups for the inside of a process.
 *
 * This is the whole binary interface; the C++ headers are a thin layer over it. Functions return 0 or a negative errno value,
 * or a pointer that is null on failure. Nothing here throws, logs or calls back except where it says so.
 *
 * Contexts (docs/contexts.md): "any" = also in signal handlers and inside malloc, never blocks, never allocates;
 * "task" = may block and allocate, call it without locks that a memory callback might want.
 */
#ifndef ALLOT_ALLOT_H
#define ALLOT_ALLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define ALLOT_API __attribute__((visibility("default")))
#define ALLOT_MALLOC_LIKE __attribute__((malloc))
#else
#define ALLOT_API
#define ALLOT_MALLOC_LIKE
#endif

#ifdef __cplusplus
extern "C" {
#define ALLOT_NOEXCEPT noexcept
#else
#define ALLOT_NOEXCEPT
#endif

/* --- Limits ------------------------------------------------------------------------------------------------------------- */

/* A limit that never stops anything; the default of `high` and `max`. Bytes. */
#define ALLOT_UNLIMITED UINT64_MAX
/* In a field of allot_limits: at creation "the default", in allot_group_set "leave it as it is". */
#define ALLOT_KEEP (UINT64_MAX - 1)
/* Longest name of one group, in bytes, without the terminating zero. Names hold no '/' and no control characters, and are neither
 * "." nor "..". */
#define ALLOT_NAME_MAX 63
/* Deepest nesting of groups below the root. */
#define ALLOT_DEPTH_MAX 256
/* Longest path of a group, in bytes, without the terminating zero; longer ones are cut in reports, never in look-ups. */
#define ALLOT_PATH_MAX 1023

/* Limits and protection of a group, in bytes. */
typedef struct allot_limits {
    uint64_t min;  /* protection that reclaim respects always */
    uint64_t low;  /* protection that reclaim respects while it can */
    uint64_t high; /* above it, events are counted, and the group is reclaimed first at the root's limit */
    uint64_t max;  /* above it, allocations fail */
} allot_limits;

#define ALLOT_LIMITS_INIT                                                                                              \
    { ALLOT_KEEP, ALLOT_KEEP, ALLOT_KEEP, ALLOT_KEEP }

/* --- Groups ------------------------------------------------------------------------------------------------------------- */

/* A group. Pointers to it are counted references; a group outlives its close() for as long as somebody holds one. */
typedef struct allot_group allot_group;

/* The root: every byte handed out is charged to it. Borrowed, immortal: get and put on it do nothing. Context: any. */
ALLOT_API allot_group* allot_root(void) ALLOT_NOEXCEPT;

/* Creates the group `name` under `parent` and stores one reference in `*out`. `limits` may be null.
 * Errors: -EINVAL (name, limits, or nesting deeper than ALLOT_DEPTH_MAX), -EEXIST, -ENOENT (the parent is closed), -ENOMEM (the parent's limit, or the system's).
 * Thread: any number of callers. Context: task. */
ALLOT_API int allot_group_create(allot_group* parent, const char* name, const allot_limits* limits,
                                 allot_group** out) ALLOT_NOEXCEPT;
/* Finds an open group by its path ("/", "/tenants/acme") and stores one reference in `*out`.
 * Errors: -ENOENT, -EINVAL. Context: task. */
ALLOT_API int allot_group_find(const char* path, allot_group** out) ALLOT_NOEXCEPT;
/* Adds a reference and returns its argument. Context: any. */
ALLOT_API allot_group* allot_group_get(allot_group* group) ALLOT_NOEXCEPT;
/* Drops a reference. Never closes the group. Null is allowed. Context: any. */
ALLOT_API void allot_group_put(allot_group* group) ALLOT_NOEXCEPT;
/* The parent, with a reference; null for the root. Context: task. */
ALLOT_API allot_group* allot_group_parent(allot_group* group) ALLOT_NOEXCEPT;
/* The group's own name; "/" for the root. Lives as long as the reference. Context: any. */
ALLOT_API const char* allot_group_name(const allot_group* group) ALLOT_NOEXCEPT;
/* Writes the path with its terminating zero, cut to `size`, and returns the length it needs, as snprintf does. Context: any. */
ALLOT_API size_t allot_group_path(const allot_group* group, char* buffer, size_t size) ALLOT_NOEXCEPT;
/* The id: unique among groups that exist, reused later. Context: any. */
ALLOT_API uint32_t allot_group_id(const allot_group* group) ALLOT_NOEXCEPT;
/* True until the group is closed. Context: any. */
ALLOT_API bool allot_group_is_open(const allot_group* group) ALLOT_NOEXCEPT;
/* Calls `visit` for `group` and its open descendants, parents first, with a reference held for the call and no lock held.
 * Stops at the first non-zero result and returns it. Groups made or closed meanwhile may be missed. Context: task. */
ALLOT_API int allot_group_walk(allot_group* group, int (*visit)(allot_group* group, void* data), void* data);
/* Changes the limits that are not ALLOT_KEEP. Always takes effect; usage above a lowered `max` is reclaimed as far as possible,
 * and until it fits every further charge fails. Errors: -EINVAL (min or low above max), -ENOENT (closed). Context: task. */
ALLOT_API int allot_group_set(allot_group* group, const allot_limits* limits) ALLOT_NOEXCEPT;
/* Reads the limits. Context: any. */
ALLOT_API void allot_group_limits(const allot_group* group, allot_limits* limits) ALLOT_NOEXCEPT;
/* Gives back memory that the subtree holds and nobody uses: thread heaps, empty slabs. `bytes` is what is wanted: 0 does nothing,
 * anything else gives back all there is. Returns the bytes uncharged. Context: task. */
ALLOT_API uint64_t allot_group_reclaim(allot_group* group, uint64_t bytes) ALLOT_NOEXCEPT;

/* Figures of a group. `current` and `peak` count the subtree, the classes below them the group alone. Bytes unless said. */
typedef struct allot_stat {
    uint64_t current;  /* charged now, with all descendants */
    uint64_t peak;     /* the most that `current` has been */
    uint64_t local;    /* charged now, without open descendants: slab + shared + large + external + metadata */
    uint64_t slab;     /* whole slabs that the group owns */
    uint64_t shared;   /* objects in slabs shared with other groups; for the root, the unused rest of those slabs too */
    uint64_t large;    /* blocks above ALLOT_KMALLOC_MAX, and those above 2 KiB of a size that the group uses little */
    uint64_t external; /* allot_try_charge */
    uint64_t metadata; /* the library's own structures for this group's children; for the root, for all */
    uint64_t allocations; /* count: blocks handed out; exact when no thread allocates meanwhile */
    uint64_t failures;    /* count: requests that ended in failure because of this group's `max` */
    uint64_t max_events;  /* count: charges that met this group's `max`, with those that reclaim then let through */
    uint64_t high_events; /* count: charges that went over `high` */
    uint32_t nr_children; /* count: open children */
    uint32_t nr_dying;    /* count: closed descendants that are not freed yet */
} allot_stat;

/* Reads the figures. Context: task. */
ALLOT_API void allot_group_stat(allot_group* group, allot_stat* stat) ALLOT_NOEXCEPT;

/* One line of a close report: what was live in one cache. */
typedef struct allot_report_line {
    char cache[32];
    uint64_t objects;
    uint64_t bytes;
} allot_report_line;

#define ALLOT_REPORT_LINES 16

/* What was charged to a group and its subtree when it closed. `objects` of a line is an upper bound: the blocks
 * that fit into the cache's slabs, since a close does not walk objects; of the line "shared" it counts the live blocks and external
 * charges that lie outside the group's own slabs. */
typedef struct allot_report {
    uint64_t bytes;    /* charged at close: moves to the parent and is uncharged there as the objects are freed */
    uint64_t groups;   /* count: groups that the call closed */
    uint32_t nr_lines; /* lines below that hold something, largest first; further caches are summed in the last one */
    allot_report_line line[ALLOT_REPORT_LINES];
} allot_report;

/* Closes the group and its descendants: their names are free at once, they take no new charges (a scope still inside charges
 * the nearest open ancestor), and their live objects stay valid and belong to the parent. Never blocks on members, never
 * fails because objects live. `report` may be null. Does not drop the caller's reference.
 * Errors: -EBUSY (the root), -ENOENT (closed already). Thread: any. Context: task. */
ALLOT_API int allot_group_close(allot_group* group, allot_report* report) ALLOT_NOEXCEPT;
/* Closes the group and its descendants as allot_group_close, and takes back all blocks that were allocated in them or in groups that they
 * inherited from: one step for all, however many there are. To use or free such a block afterwards is a bug, as it is after a free.
 * Objects of typed caches go as well (a slab of a typesafe_by_rcu cache after its grace period, charged until then). External charges
 * stay with their holders and belong to the parent. What was given to allot_free_rcu before is waited for.
 * No other thread may allocate in the group, use or free its blocks meanwhile; a scope of it may be open, here or elsewhere.
 * `report` says what was charged before. Errors: as allot_group_close. Thread: any. Context: task, outside read-side sections. */
ALLOT_API int allot_group_discard(allot_group* group, allot_report* report) ALLOT_NOEXCEPT;

/* --- The current group -------------------------------------------------------------------------------------------------- */

/* Where a scope keeps what it has to restore. Opaque. */
typedef struct allot_scope {
    void* previous;
    void* entered;
} allot_scope;

/* Makes `group` the one that this thread's allocations are charged to, until allot_leave. Scopes nest and end in reverse
 * order on the thread that entered them. The scope keeps the group alive. Context: task; signal handlers may not enter. */
ALLOT_API void allot_enter(allot_group* group, allot_scope* scope) ALLOT_NOEXCEPT;
ALLOT_API void allot_leave(allot_scope* scope) ALLOT_NOEXCEPT;
/* The group of this thread's allocations, with a reference. Context: task. */
ALLOT_API allot_group* allot_current(void) ALLOT_NOEXCEPT;
/* Sets the group of this thread outside all scopes (the root by default). Call it outside scopes. Errors: -EBUSY inside one. */
ALLOT_API int allot_thread_set_group(allot_group* group) ALLOT_NOEXCEPT;

/* --- Memory ------------------------------------------------------------------------------------------------------------- */

/* Largest block that is charged as `slab`, and largest object of a typed cache, in bytes. Larger blocks take whole pages and are charged
 * as `large`. Up to 1 MiB a group that uses a size a lot has slabs of one block for it, at most a quarter larger than asked for. */
#define ALLOT_KMALLOC_MAX 32768

/* malloc and its family, charged to the current group. Null with errno ENOMEM over a limit or out of memory, EINVAL for an
 * alignment that is no power of two; allot_malloc(0) is a unique block; realloc(p, 0) frees and returns null.
 * realloc keeps the owner of the block. Alignment is 16 bytes (8 for blocks of up to 8).
 * Thread: any. Context: task; in a signal handler on top of one of these functions a small reserve serves, then null. */
ALLOT_API void* allot_malloc(size_t size) ALLOT_NOEXCEPT ALLOT_MALLOC_LIKE;
ALLOT_API void* allot_calloc(size_t count, size_t size) ALLOT_NOEXCEPT ALLOT_MALLOC_LIKE;
ALLOT_API void* allot_realloc(void* block, size_t size) ALLOT_NOEXCEPT;
ALLOT_API void* allot_aligned_alloc(size_t alignment, size_t size) ALLOT_NOEXCEPT ALLOT_MALLOC_LIKE;
/* Frees a block of this library; null does nothing. The owner is found from the pointer. Keeps errno. Context: any. */
ALLOT_API void allot_free(void* block) ALLOT_NOEXCEPT;
/* The bytes that may be used in a block, at least what was asked for; 0 for null. Context: any. */
ALLOT_API size_t allot_usable_size(const void* block) ALLOT_NOEXCEPT;
/* True if the address lies in this library's arena. Context: any. */
ALLOT_API bool allot_owns(const void* address) ALLOT_NOEXCEPT;
/* The group that a live block is charged to, with a reference; null for memory that is not this library's. Context: task. */
ALLOT_API allot_group* allot_owner_of(const void* block) ALLOT_NOEXCEPT;
/* Allocates for `group` whatever the current scope is. `alignment` 0 means the default. As allot_malloc. */
ALLOT_API void* allot_group_malloc(allot_group* group, size_t size, size_t alignment) ALLOT_NOEXCEPT ALLOT_MALLOC_LIKE;
/* A place of 4 words that belongs to the group and stays mapped for ever, for front ends that must hand out an object with a
 * long life (std::pmr::memory_resource). When the group is gone, a later group may be given the same place.
 * Null when out of memory. `group` is stored in word 1. The caller constructs it once; see group.resource(). Context: task. */
ALLOT_API void* allot_group_front_place(allot_group* group) ALLOT_NOEXCEPT;
/* Allocates for the group that the place belongs to now, after a close its nearest open ancestor. As allot_group_malloc. */
ALLOT_API void* allot_front_malloc(void* place, size_t size, size_t alignment) ALLOT_NOEXCEPT ALLOT_MALLOC_LIKE;

/* Why the last request of this thread failed. Text and numbers are those of the moment of the failure. */
typedef struct allot_failure {
    char group[128];  /* path of the group whose limit was met, cut on the left; "" if the system had no memory */
    uint64_t usage;   /* its usage, bytes */
    uint64_t limit;   /* its max, bytes */
    uint64_t request; /* what was asked for, bytes */
} allot_failure;

/* Reads this thread's last failure. False if there was none. Context: any. */
ALLOT_API bool allot_last_failure(allot_failure* failure) ALLOT_NOEXCEPT;
/* Writes "GROUP: out of memory: 8.0 MiB of 8.0 MiB in use, 65.6 KiB asked", cut to `size`; returns the length it needs. Context: any. */
ALLOT_API size_t allot_failure_text(const allot_failure* failure, char* buffer, size_t size) ALLOT_NOEXCEPT;

/* --- Typed caches ------------------------------------------------------------------------------------------------------- */

typedef struct allot_cache allot_cache;

enum {
    ALLOT_CACHE_ZERO = 1u << 0, /* objects come zeroed */
    ALLOT_CACHE_TYPESAFE_BY_RCU =
        1u << 1, /* a slab's memory keeps its type until a grace period after its last object */
};

typedef struct allot_cache_options {
    size_t size;      /* bytes of one object; at most ALLOT_KMALLOC_MAX */
    size_t alignment; /* power of two up to 4096; 0: the default */
    unsigned flags;   /* ALLOT_CACHE_* */
    void (*constructor)(
        void*); /* run for each object when its slab is made, and for one that went with a discarded group before it is used anew;
                 * or null; must not allocate or throw */
} allot_cache_options;

/* What a destroyed cache still held. */
typedef struct allot_cache_report {
    uint64_t live;   /* count of live objects; the cache then lives on until the last is freed, and frees itself */
    void* sample[8]; /* some of their addresses */
    char group[8][ALLOT_NAME_MAX + 1]; /* the name of the group that each of them is charged to */
    void* stack[8][8]; /* in debug builds with ALLOT_DEBUG_STACKS=1: return addresses of who allocated each of them */
    uint32_t nr_samples;
} allot_cache_report;

/* Makes a cache of objects of one shape. Errors: null with errno EINVAL or ENOMEM. Context: task. */
ALLOT_API allot_cache* allot_cache_create(const char* name, const allot_cache_options* options) ALLOT_NOEXCEPT;
/* Allocates and frees an object, charged to the current group. As allot_malloc and allot_free (which may free it too). */
ALLOT_API void* allot_cache_alloc(allot_cache* cache) ALLOT_NOEXCEPT;
ALLOT_API void allot_cache_free(allot_cache* cache, void* object) ALLOT_NOEXCEPT;
/* Destroys the cache. No allocation may begin after the call. `report` may be null. Context: task. */
ALLOT_API void allot_cache_destroy(allot_cache* cache, allot_cache_report* report) ALLOT_NOEXCEPT;
/* Gives back the slabs of the cache that hold no objects, whichever thread or group has them. Returns bytes. Context: task, outside
 * read-side sections. */
ALLOT_API uint64_t allot_cache_shrink(allot_cache* cache) ALLOT_NOEXCEPT;
ALLOT_API const char* allot_cache_name(const allot_cache* cache) ALLOT_NOEXCEPT;

/* A read-side section, for objects of typesafe_by_rcu caches and of structures that you free after allot_synchronize_rcu().
 * Sections nest; memory may be allocated and freed inside; do not block in one for long, do not fork, verify, quiesce, or make or
 * destroy a cache in one: removals wait for it. Context: any. */
ALLOT_API void allot_rcu_read_lock(void) ALLOT_NOEXCEPT;
ALLOT_API void allot_rcu_read_unlock(void) ALLOT_NOEXCEPT;
/* Waits until all read-side sections that began before have ended. Context: task, outside sections. */
ALLOT_API void allot_synchronize_rcu(void) ALLOT_NOEXCEPT;

/* Room that allot_free_rcu needs inside a block. Opaque. */
typedef struct allot_rcu_head {
    void* opaque[2];
} allot_rcu_head;

/* Frees `block`, whatever allot_free would free, once all read-side sections that began before have ended. `head` lies anywhere inside
 * it; the rest of the block stays as it is for those readers. Nothing is allocated. Keeps errno. Context: any.
 * Source: Linux kfree_rcu(). */
ALLOT_API void allot_free_rcu(void* block, allot_rcu_head* head) ALLOT_NOEXCEPT;
/* Waits until all blocks given to allot_free_rcu before are free. Context: task, outside sections. */
ALLOT_API void allot_rcu_barrier(void) ALLOT_NOEXCEPT;

/* --- Charges for memory from elsewhere ---------------------------------------------------------------------------------- */

/* A charge: move it, do not copy it. All zero is an empty one. */
typedef struct allot_charge {
    void* owner;
    uint64_t bytes;
} allot_charge;

/* Charges `bytes` to the group and all its ancestors, or to none. Errors: -ENOMEM, -ENOENT (closed). Context: task. */
ALLOT_API int allot_try_charge(allot_group* group, uint64_t bytes, allot_charge* charge) ALLOT_NOEXCEPT;
/* Makes the charge larger or smaller. Errors: -ENOMEM (larger; then it stays as it was), -EINVAL (empty charge). Context: task. */
ALLOT_API int allot_charge_resize(allot_charge* charge, uint64_t bytes) ALLOT_NOEXCEPT;
/* Splits `bytes` off into `*out`. Errors: -EINVAL (more than it holds). Context: any. */
ALLOT_API int allot_charge_split(allot_charge* charge, uint64_t bytes, allot_charge* out) ALLOT_NOEXCEPT;
/* Moves the charge to another group. Errors: -ENOMEM, -ENOENT; then it stays where it was. Context: task. */
ALLOT_API int allot_charge_transfer(allot_charge* charge, allot_group* group) ALLOT_NOEXCEPT;
/* Gives the charge back to whoever owns it now and makes it empty. Context: task. */
ALLOT_API void allot_uncharge(allot_charge* charge) ALLOT_NOEXCEPT;

/* --- The whole ---------------------------------------------------------------------------------------------------------- */

/* Runs all deferred work to a fixed point: removals, cache creations, grace periods. For tests and shutdown. Context: task. */
ALLOT_API void allot_quiesce(void) ALLOT_NOEXCEPT;
/* Runs deferred work that is ready, for programs that run the library without its thread (ALLOT_THREADS=0). Returns the count
 * of items run. Context: task. */
ALLOT_API size_t allot_poll(void) ALLOT_NOEXCEPT;
/* Gives unused pages back to the system now. Returns bytes. Context: task. */
ALLOT_API uint64_t allot_purge(void) ALLOT_NOEXCEPT;

/* What a recount found. */
typedef struct allot_verify_report {
    uint64_t pages_bytes;   /* handed out by the page allocator */
    uint64_t charged_bytes; /* the root's usage without external charges */
    uint64_t groups;        /* count: groups compared */
    uint64_t slabs;         /* count: slabs walked */
    uint64_t objects;       /* count: live blocks found */
    uint64_t errors;        /* count: differences */
    char first_error[192];  /* the first one in words */
} allot_verify_report;

/* Stops all threads of the library's memory paths briefly, recounts every live block from the slabs and compares with every
 * counter, to the byte. Returns 0 if all agree, else -EIO. `report` may be null. Context: task. */
ALLOT_API int allot_verify(allot_verify_report* report) ALLOT_NOEXCEPT;

/* Writes a snapshot of all groups, as a table for people or as one JSON document, through `write`, in pieces, with no lock
 * held. Context: task. */
enum allot_format { ALLOT_FORMAT_TEXT, ALLOT_FORMAT_JSON };
typedef enum allot_format allot_format;
ALLOT_API int allot_snapshot(allot_format format, void (*write)(const char* text, size_t size, void* data), void* data);

/* Library version as "0.1.0". */
ALLOT_API const char* allot_version(void) ALLOT_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
