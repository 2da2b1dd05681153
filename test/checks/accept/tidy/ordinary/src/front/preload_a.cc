// SPDX-License-Identifier: MIT
//
// preload_a: a fixture of the checks.

extern "C" void* malloc(unsigned long size) { return allot_malloc(size); }
