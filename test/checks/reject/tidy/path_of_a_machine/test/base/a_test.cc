// SPDX-License-Identifier: MIT
//
// a_test: a fixture of the checks.

const char* where = "/home/somebody/x";
