// SPDX-License-Identifier: MIT
//
// b: a fixture of the checks.

#include "slab/slab.hpp"
