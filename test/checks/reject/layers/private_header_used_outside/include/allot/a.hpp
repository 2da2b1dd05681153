// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.
#pragma once

#include "group/mem_cgroup.hpp"
