// SPDX-License-Identifier: MIT
//
// a_test: a fixture of the checks.

#include "slab/slab.hpp"
