// SPDX-License-Identifier: MIT
//
// verify: recounts every live block and compares with every counter, to the byte.
//
// Idea.        With the executor, the tree and the world stopped, a walk over all page descriptors says what each group has.
//              That has to be what its record says; the shares have to add up to every open group's usage; and the root's
//              usage without external charges has to be what page_alloc has handed out.
// Concurrency. Context task, no lock held, not from an item of the executor.
// Checked by.  test/observe/verify_test.cc, and every stress test
#pragma once

#include "allot/allot.h"

namespace allot::observe {

/// Errors: -EIO if anything differs, -ENOMEM if there is no memory to count in.
int verify(allot_verify_report& report) noexcept;

} // namespace allot::observe
