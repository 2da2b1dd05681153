// SPDX-License-Identifier: MIT
//
// runtime: bringing the library up, and taking it through fork.
//
// Idea.        The first call of any kind brings everything up, so it works before constructors have run. Fork holds the
//              executor, the tree and the world still, so that the child finds every structure whole, and parks what the
//              vanished threads held.
// Concurrency. ensure_runtime: any thread, any number of callers.
#pragma once

namespace allot::memcg {

/// Brings the library up. False when out of memory. Context: task; cheap afterwards.
[[nodiscard]] bool ensure_runtime() noexcept;
/// Makes the exit hook of threads and the fork hooks; from a constructor. Context: init.
void install_process_hooks() noexcept;
/// Publishes the figures in a directory. Errors: negative errno. Context: task.
int publish_figures(const char* directory) noexcept;
/// Starts the decay timer if enough free pages hold contents, or threads may keep slabs that they do not need. Context: task.
void note_idle_memory() noexcept;

} // namespace allot::memcg
