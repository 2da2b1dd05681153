// SPDX-License-Identifier: MIT
//
// other: a fixture of the checks.
#pragma once

int b;
