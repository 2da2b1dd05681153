// SPDX-License-Identifier: MIT
//
// capi: a fixture of the checks.

#include "allot/allot.h"
#include "base/assert.hpp"
#include "front/rules.hpp"
#include <atomic>
// #include "not/code.hpp"
