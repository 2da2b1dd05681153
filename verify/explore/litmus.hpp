// SPDX-License-Identifier: MIT
//
// litmus: the tests of the engine, for main.cc.
#pragma once

#include "engine.hpp"

namespace explore {

/// The outcomes of small programs are those of C++20. Prints PASS or FAIL.
bool check_litmus();
/// Each flaw built into the engine changes some of them.
bool check_flaws();

} // namespace explore
