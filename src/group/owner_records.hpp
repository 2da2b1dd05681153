// SPDX-License-Identifier: MIT
//
// owner_records: who pays for things that lie outside any scope and outlive it: pages in a swap file, entries of a cache on disk.
//
// Idea.        As the kernel's swap_cgroup: an array with a word for each slot, which names the owner by its 4-byte id. A record
//              holds a reference on the obj_cgroup and a charge of `unit` bytes through it; it holds nothing of the group. So
//              a group is removed whatever records there are; from then on the records are its parent's, and a release
//              uncharges whoever is the owner then. The last one lets the obj_cgroup go.
// Invariants.  I1  The reference and the charge are taken before the record is visible, and given back after it has gone.
//              I2  A record changes hands by one exchange: exactly one caller gets the old owner, and puts it.
// Concurrency. any thread; of several that change one slot, one wins. record, move: Context task. release, owner_of: the same,
//              since uncharging takes the slot (verify sees no half of it).
// Lock order.  slot, inside the charge.
// Checked by.  test/group/owner_records_test.cc
// Source.      Linux mm/swap_cgroup.c; docs/lifecycle.md "Records that outlive removal".
#pragma once

#include "slab/obj_cgroup.hpp"

namespace allot::memcg {

struct mem_cgroup;

class owner_records {
  public:
    owner_records() = default;
    ~owner_records();
    owner_records(const owner_records&) = delete;
    owner_records& operator=(const owner_records&) = delete;

    /// Makes room for `count` records of `unit_bytes` each. Errors: false, out of memory. Context: task, once.
    [[nodiscard]] bool open(std::size_t count, counter::byte_count unit_bytes) noexcept;
    /// Records the group as the owner of an empty slot and charges it. Errors: -ENOENT (closed), -ENOMEM (over a limit),
    /// -EEXIST (taken), -EINVAL (no such slot); nothing is changed then.
    [[nodiscard]] int record(std::size_t slot, mem_cgroup& group) noexcept;
    /// Moves a record to another group, whoever has it. Errors: as record, and -EINVAL for an empty slot.
    [[nodiscard]] int move(std::size_t slot, mem_cgroup& to) noexcept;
    /// Empties the slot and uncharges who owns it now. False if it was empty.
    bool release(std::size_t slot) noexcept;
    /// The group that owns the record now, with a reference; null for an empty slot.
    [[nodiscard]] mem_cgroup* owner_of(std::size_t slot) const noexcept;

    std::size_t size() const noexcept { return count_; }

  private:
    /// Takes a reference and a charge. Errors: as record.
    int take(mem_cgroup& group, slab::obj_cgroup** out) noexcept;
    void give(slab::obj_cgroup& owner) noexcept;

    std::atomic<std::uint32_t>* ids_ = nullptr; // 0: empty
    std::size_t count_ = 0;
    counter::byte_count unit_ = 0;
};

} // namespace allot::memcg
