// SPDX-License-Identifier: MIT
#include <cstddef>
