// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.

#include "slab/slab.hpp"
