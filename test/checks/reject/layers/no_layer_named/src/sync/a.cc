// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.

#include "rcu.hpp"
