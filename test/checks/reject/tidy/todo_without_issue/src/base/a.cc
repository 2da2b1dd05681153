// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.

// TODO: later.
int a;
