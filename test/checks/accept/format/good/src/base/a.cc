// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.

int* f(int x) { return nullptr; }
