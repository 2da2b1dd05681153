#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run_all BUILD_DIR: installs a build into an empty prefix, moves the prefix, and builds an outside project against it with
# CMake's find_package, with pkg-config, and from the sources with add_subdirectory. Prints PASS, FAIL or SKIP lines.
set -uo pipefail
build=$(cd "${1:?usage: run_all.sh BUILD_DIR}" && pwd) || exit 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# step NAME COMMAND...: runs one step; its output is shown if it fails.
step() {
    local name=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        echo "PASS packaging: $name"
    else
        echo "FAIL packaging: $name: $(grep -Eim1 'error|cannot|not found' "$work/log" || tail -n 1 "$work/log")"
        sed 's/^/    /' "$work/log" | tail -n 30
        failed=1
        return 1
    fi
}

skip() { echo "SKIP packaging: $1: $2"; }

install_and_move() {
    cmake --install "$build" --prefix "$work/first" && mv "$work/first" "$work/moved"
}

# A prefix with nothing but what the issue promises: headers, three libraries, the package and allot.pc.
check_tree() {
    local file
    prefix=$work/moved
    libdir=$(dirname "$(find "$prefix" -name liballot.so)")
    for file in include/allot/allot.h include/allot/allot.hpp; do
        [ -f "$prefix/$file" ] || { echo "error: no $file" && return 1; }
    done
    for file in liballot.so liballot.so.0 liballot.a liballot_malloc.so pkgconfig/allot.pc cmake/allot/allotConfig.cmake; do
        [ -e "$libdir/$file" ] || { echo "error: no $file" && return 1; }
    done
    ! grep -rIlE "$work/first|$project" "$prefix" || { echo "error: the files above name the place they came from" && return 1; }
}

with_find_package() {
    cmake -S "$here/consumer" -B "$work/found" -G Ninja -DCMAKE_PREFIX_PATH="$work/moved" -DCMAKE_BUILD_TYPE=Release &&
        cmake --build "$work/found"
}

with_find_package_in_c() {
    cmake -S "$here/consumer_c" -B "$work/found_c" -G Ninja -DCMAKE_PREFIX_PATH="$work/moved" -DCMAKE_BUILD_TYPE=Release &&
        cmake --build "$work/found_c" && "$work/found_c/use_c" && "$work/found_c/use_c_static"
}

with_add_subdirectory() {
    cmake -S "$here/consumer" -B "$work/sub" -G Ninja -DALLOT_SOURCE_DIR="$project" -DCMAKE_BUILD_TYPE=Release &&
        cmake --build "$work/sub" -j 2
}

with_pkg_config() {
    local flags
    export PKG_CONFIG_PATH=$libdir/pkgconfig
    flags=$(pkg-config --cflags --libs allot) || return 1
    # shellcheck disable=SC2086
    cc -std=c11 -pedantic -Wall -Wextra -Werror "$here/consumer/use_c.c" -o "$work/pc_c" $flags -Wl,-rpath,"$libdir" &&
        c++ -std=c++20 -Wall -Wextra -Werror "$here/consumer/use_cpp.cc" -o "$work/pc_cpp" $flags -Wl,-rpath,"$libdir" &&
        "$work/pc_c" && "$work/pc_cpp"
}

step "install, and move the tree" install_and_move || exit 1
step "the tree is complete and names no other place" check_tree
if step "find_package builds" with_find_package; then
    for program in use_c use_c_static use_cpp use_cpp_static use_malloc; do
        step "find_package: $program runs" "$work/found/$program"
    done
fi
step "find_package builds and runs in a project of C alone" with_find_package_in_c
if command -v pkg-config >/dev/null; then
    step "pkg-config builds and runs C11 and C++20" with_pkg_config
else
    skip "pkg-config builds and runs C11 and C++20" "pkg-config is not installed"
fi
if step "add_subdirectory builds, without our tests and tools" with_add_subdirectory; then
    step "add_subdirectory: use_cpp runs" "$work/sub/use_cpp"
fi
exit $failed
