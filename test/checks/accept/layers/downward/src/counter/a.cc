// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.

#include "allot/stat_file.h"
#include "sync/rcu.hpp"
