// SPDX-License-Identifier: MIT
//
// snapshot: all groups as a table for people or as one JSON document.
//
// Idea.        The groups are collected once, with references, under the tree lock; then each is read and written with no
//              lock held. One table of fields gives both formats.
// Concurrency. Context task.
// Checked by.  test/observe/snapshot_test.cc
#pragma once

#include "allot/allot.h"

#include <cstddef>

namespace allot::observe {

using write_function = void (*)(const char* text, std::size_t size, void* data);

/// Errors: -ENOMEM, -EINVAL (format).
int snapshot(allot_format format, write_function write, void* data) noexcept;

} // namespace allot::observe
