// SPDX-License-Identifier: MIT
//
// c: a fixture of the checks.

int c;
