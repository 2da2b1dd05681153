#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# compiler BUILD_DIR: g++ compiling a file of this project, to the same bytes.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need g++

compile() { g++ -std=c++20 -O2 -I"$project/src" -I"$project/include" -c "$project/src/front/rules.cc" -o "$1"; }
compile "$work/plain.o" || { fail "g++ without allot" "ended with $?"; finish; }
if under 90 -- g++ -std=c++20 -O2 -I"$project/src" -I"$project/include" -c "$project/src/front/rules.cc" -o "$work/allot.o"; then
    check "the same object file" cmp "$work/plain.o" "$work/allot.o"
    holds "the table adds up" "$adds_up"
    holds "cc1plus and as published theirs" "r['children']['processes'] >= 2 and c['/cc1plus']['largest_peak'] > 3e6"
else
    fail "g++" "ended with $?" "$work/err"
fi

# With less memory than it needs (its collected heap is mmapped and not in it), the compiler says so and ends with an error.
under 60 --max 3M -- g++ -std=c++20 -O2 -I"$project/src" -I"$project/include" -c "$project/src/front/rules.cc" -o "$work/capped.o"
status=$?
if [ $status -eq 1 ] && grep -qi 'out of memory' "$work/err"; then
    pass "capped: $(grep -im1 'out of memory' "$work/err")"
else
    fail "capped" "status $status" "$work/err"
fi
finish
