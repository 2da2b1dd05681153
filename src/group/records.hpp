// SPDX-License-Identifier: MIT
//
// records: the memory of the groups' counters, private or published in a file.
//
// Idea.        Counters live in an array that looks exactly like the stat file (allot/stat_file.h). Publishing maps a file in
//              its place, so figures are visible outside at every instant, whatever happens to the process. A forked child
//              gets a file of its own, made from a copy taken while the world was stopped.
// Concurrency. take/give: tree lock held. publish and the fork hooks: world stopped.
// Lock order.  none of its own.
// Checked by.  test/group/records_test.cc
#pragma once

#include "counter/account.hpp"

namespace allot::memcg {

/// Maps the array. False when out of memory. Context: init.
[[nodiscard]] bool records_init() noexcept;
/// A free record, whose index is its id; null if all are taken. Tree lock held.
[[nodiscard]] counter::account_record* record_take() noexcept;
/// Tree lock held.
void record_give(counter::account_record& record) noexcept;

/// Publishes in `directory`/PID.stat from now on. Errors: negative errno. World stopped.
int records_publish(const char* directory) noexcept;
/// Copies what a child will need. World stopped, in the parent.
void records_before_fork() noexcept;
/// Gives the child a file of its own, or private memory if it cannot have one. Context: fork_child.
void records_after_fork_child() noexcept;
/// Makes a published child count events from the fork on; what is in use came along. Figures folded. Context: fork_child.
void records_restart_counts() noexcept;

} // namespace allot::memcg
