// SPDX-License-Identifier: MIT
//
// c: a fixture of the checks.

#include "../src/front/capi.hpp"
