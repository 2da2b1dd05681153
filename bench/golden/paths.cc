// SPDX-License-Identifier: MIT
//
// paths: runs one path of the library a number of times inside golden_run(), for scripts/check_golden to count it.
//
// Idea.        Everything that a path needs is done before golden_run() begins, so what is executed between its entry and its
//              return is the path alone, the same instructions at every call. Run under callgrind, which collects inside
//              golden_run() only.
//
//              golden_paths PATH COUNT BYTES       status 77: this machine has no membarrier, and the fast path stays closed
//
// Concurrency. one thread runs the path; the other one of remote_free makes the blocks and waits.
// Checked by.  scripts/check_golden, which compares with bench/golden/x86_64.txt
#include <allot/allot.h>

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <thread>
#include <vector>

namespace {

struct run {
    std::size_t count;
    std::size_t bytes;
    allot_group* group;        ///< three levels below the root, with a limit on each
    std::vector<void*> blocks; ///< room for `count`
};

void pair(run& r) {
    for (std::size_t i = 0; i < r.count; ++i)
        allot_free(allot_malloc(r.bytes));
}

void fill(run& r) {
    for (void*& block : r.blocks)
        block = allot_malloc(r.bytes);
}

void free_all(run& r) {
    for (void* const block : r.blocks)
        allot_free(block);
}

void scope(run& r) {
    for (std::size_t i = 0; i < r.count; ++i) {
        allot_scope here;
        allot_enter(r.group, &here);
        allot_leave(&here);
    }
}

void charge(run& r) {
    for (std::size_t i = 0; i < r.count; ++i) {
        allot_charge held = {};
        if (allot_try_charge(r.group, r.bytes, &held) == 0)
            allot_uncharge(&held);
    }
}

/// Makes the current group's pair with the size hot: it gets slabs of its own, with blocks to spare.
void warm(run& r) {
    for (unsigned round = 0; round < 2; ++round) {
        std::vector<void*> blocks(600);
        for (void*& block : blocks)
            block = allot_malloc(r.bytes);
        for (void* const block : blocks)
            allot_free(block);
        allot_quiesce();
    }
}

/// A few objects: the pair stays cold, and the thread has a shared slab.
void touch(run& r) {
    for (unsigned i = 0; i < 8; ++i)
        allot_free(allot_malloc(r.bytes));
}

void enter_once(run& r) {
    r.count = 1;
    scope(r);
}

struct path {
    const char* name;
    void (*prepare)(run&);
    void (*execute)(run&);
    bool in_group; ///< both inside a scope of the group
};

constexpr path paths[] = {
    {"hot_pair", warm, pair, true},           {"root_pair", warm, pair, false},
    {"cold_pair", touch, pair, true},         {"fill", warm, fill, true},
    {"remote_free", nullptr, free_all, true}, {"scope", enter_once, scope, false},
    {"charge", enter_once, charge, false},
};

/// What callgrind collects in.
extern "C" [[gnu::noinline]] void golden_run(void (*execute)(run&), run& r) {
    execute(r);
    __asm__ volatile("" ::: "memory"); // no tail call: the return is in here
}

bool has_membarrier() {
    const long supported = ::syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
    return supported > 0 && (supported & MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0;
}

/// /golden/tenant/query.
allot_group* make_group() {
    allot_limits limits = ALLOT_LIMITS_INIT;
    limits.max = std::uint64_t{1} << 30;
    allot_group* group = allot_root();
    for (const char* const name : {"golden", "tenant", "query"}) {
        if (allot_group_create(group, name, &limits, &group) != 0) {
            std::fputs("golden_paths: no group\n", stderr);
            std::exit(1);
        }
    }
    return group;
}

void run_path(const path& chosen, run& r) {
    const std::size_t count = r.count;
    allot_scope here;
    if (chosen.in_group)
        allot_enter(r.group, &here);
    if (chosen.prepare != nullptr)
        chosen.prepare(r);
    r.count = count;
    golden_run(chosen.execute, r);
    if (chosen.in_group)
        allot_leave(&here);
}

/// The blocks are another thread's, which holds their slabs until the path has run.
void run_beside_owner(const path& chosen, run& r) {
    std::promise<void> filled;
    std::promise<void> done;
    std::thread owner([&] {
        allot_scope here;
        allot_enter(r.group, &here);
        warm(r);
        fill(r);
        filled.set_value();
        done.get_future().wait();
        allot_leave(&here);
    });
    filled.get_future().wait();
    touch(r);
    run_path(chosen, r);
    done.set_value();
    owner.join();
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fputs("usage: golden_paths PATH COUNT BYTES\n", stderr);
        return 2;
    }
    if (!has_membarrier())
        return 77;
    run r{std::strtoull(argv[2], nullptr, 10), std::strtoull(argv[3], nullptr, 10), make_group(), {}};
    r.blocks.resize(r.count);
    for (const path& candidate : paths) {
        if (std::strcmp(candidate.name, argv[1]) != 0)
            continue;
        if (candidate.execute == free_all)
            run_beside_owner(candidate, r);
        else
            run_path(candidate, r);
        return 0;
    }
    std::fprintf(stderr, "golden_paths: no path %s\n", argv[1]);
    return 2;
}
