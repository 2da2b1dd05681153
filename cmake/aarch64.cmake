# SPDX-License-Identifier: MIT
#
# aarch64: toolchain for 64-bit Arm, Debian's cross compiler with its C library; what is built runs under qemu-user, ctest's
# tests included. Its address space is limited, since qemu-user keeps an entry for every page that is reserved.

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)

set(allot_target aarch64-linux-gnu)
set(CMAKE_C_COMPILER ${allot_target}-gcc)
set(CMAKE_CXX_COMPILER ${allot_target}-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static -R 0x800000000 -L /usr/${allot_target})

# Programs are the build machine's; headers, libraries and packages are the target's, or missing.
set(CMAKE_FIND_ROOT_PATH /usr/${allot_target})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
