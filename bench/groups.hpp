// SPDX-License-Identifier: MIT
//
// groups: groups, scopes, and pairs of an allocation with its free, for the workers that ask allot alone.
//
// Idea.        A pair is cold while its group has made few objects of the size: it then comes from a slab that is shared with
//              other groups, or is a run of pages. So cold pairs are timed in one new group after the other, a piece in each,
//              shorter than what would warm it.
// Concurrency. any thread; groups may be shared, a scope is its thread's.
// Checked by.  test/bench/groups_test.cc
#pragma once

#include "sample.hpp"

#include <allot/allot.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

namespace allot_bench {

/// Creates a group with a limit that is not met.
inline allot_group* make_group(allot_group* parent, const std::string& name) {
    allot_limits limits = ALLOT_LIMITS_INIT;
    limits.max = std::uint64_t{1} << 34;
    allot_group* made = nullptr;
    if (allot_group_create(parent, name.c_str(), &limits, &made) != 0)
        fail("cannot create a group");
    return made;
}

inline std::vector<allot_group*> make_children(allot_group* parent, std::size_t count) {
    std::vector<allot_group*> made(count);
    for (std::size_t index = 0; index < count; ++index)
        made[index] = make_group(parent, std::to_string(index));
    return made;
}

/// Creates a group `depth` levels below the root, NAME0/NAME1/..., and keeps a reference on the last only. 0 levels: the root.
inline allot_group* make_chain(const std::string& name, unsigned long depth) {
    allot_group* last = allot_root();
    for (unsigned long level = 0; level < depth; ++level) {
        allot_group* const parent = last;
        last = make_group(parent, name + std::to_string(level));
        allot_group_put(parent);
    }
    return last;
}

class group_scope {
  public:
    explicit group_scope(allot_group* group) { allot_enter(group, &words_); }
    group_scope(const group_scope&) = delete;
    group_scope& operator=(const group_scope&) = delete;
    ~group_scope() { allot_leave(&words_); }

  private:
    allot_scope words_;
};

/// Allocates a block and writes its first byte.
inline void* touch(std::size_t bytes) {
    void* const block = allot_malloc(bytes);
    if (block == nullptr)
        fail("out of memory");
    *static_cast<volatile char*>(block) = 1;
    return block;
}

inline void pairs(std::size_t bytes, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
        allot_free(touch(bytes));
}

/// Allocates blocks, as many as `blocks` has room for, and frees the last one first.
inline void batch(std::size_t bytes, std::vector<void*>& blocks) {
    for (void*& block : blocks)
        block = touch(bytes);
    for (std::size_t index = blocks.size(); index-- > 0;)
        allot_free(blocks[index]);
}

/// Makes the pair of group and size hot, where it can be: slabs of its own, with blocks to spare.
inline void warm(allot_group* group, std::size_t bytes) {
    constexpr std::size_t objects = 600;
    const group_scope here{group};
    std::vector<void*> blocks(std::clamp<std::size_t>((std::size_t{1} << 20) / bytes, 1, objects));
    for (int round = 0; round < 2; ++round) {
        for (std::size_t made = 0; made < objects; made += blocks.size())
            batch(bytes, blocks);
        allot_quiesce();
    }
}

/// How many pairs a group makes of which it stays cold.
struct cold_piece {
    std::size_t touched; ///< before the time is taken, so that slabs are there
    std::size_t timed;
};

inline cold_piece cold_piece_of(std::size_t bytes) {
    if (bytes > 1024)
        return {2, 5};
    const std::size_t least = 32'768 / bytes; // objects that warm a group, if there are not 256 of them before
    return least > 200 ? cold_piece{8, 192} : cold_piece{4, least / 2};
}

/// Times a piece of pairs in each of the groups. New groups are cold. Returns ns of a pair.
inline double piece_ns(const std::vector<allot_group*>& groups, std::size_t bytes) {
    const cold_piece piece = cold_piece_of(bytes);
    double taken = 0;
    for (allot_group* const group : groups) {
        const group_scope here{group};
        pairs(bytes, piece.touched);
        const steady::time_point start = steady::now();
        pairs(bytes, piece.timed);
        taken += ns_since(start);
    }
    return taken / static_cast<double>(piece.timed * groups.size());
}

} // namespace allot_bench
