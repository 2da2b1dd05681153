// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.

// The idea is in docs/nowhere.md.
int a;
