// SPDX-License-Identifier: MIT
//
// b: a fixture of the checks.

#include "../base/assert.hpp"
