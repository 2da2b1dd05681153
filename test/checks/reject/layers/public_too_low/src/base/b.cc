// SPDX-License-Identifier: MIT
//
// b: a fixture of the checks.

#include <allot/stat_file.h>
