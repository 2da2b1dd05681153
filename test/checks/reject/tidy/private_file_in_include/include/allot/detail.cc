// SPDX-License-Identifier: MIT
//
// detail: a fixture of the checks.

int a;
