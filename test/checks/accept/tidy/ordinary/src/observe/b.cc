// SPDX-License-Identifier: MIT
//
// b: a fixture of the checks.

void f(char* t) { snprintf(t, 8, "x"); }
