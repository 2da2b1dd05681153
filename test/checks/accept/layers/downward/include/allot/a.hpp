// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.
#pragma once

#include "allot/allot.h"
#include <new>
