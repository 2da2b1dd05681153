#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# limits BUILD_DIR: a limit holds exactly, malloc fails cleanly, and the program lives.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

limit=$((32 * 1024 * 1024))
if under 60 --max 32M -- "$own/program_limits" $limit; then
    pass "malloc fails at the limit and works again below it"
else
    fail "malloc fails at the limit and works again below it" "ended with $?" "$work/err"
fi
holds "the peak is within the limit" "0.9 * $limit < g['/']['peak'] <= $limit and g['/']['max'] == $limit"
holds "failures are counted" "p['total']['failures'] >= 10"
holds "the table adds up" "$adds_up"

# operator new throws, and a C++ program that does not catch it ends in its own way.
cat >"$work/grow.cc" <<'END'
#include <iostream>
#include <new>
#include <vector>
int main(int argc, char**) {
    std::vector<std::vector<int>> all;
    try {
        for (;;)
            all.emplace_back(100000, 1);
    } catch (const std::bad_alloc& e) {
        all.clear();
        std::cout << "caught " << e.what() << '\n';
        if (argc > 1)
            throw;
    }
}
END
if c++ -std=c++20 "$work/grow.cc" -o "$work/grow" 2>"$work/err"; then
    if under 30 --max 16M -- "$work/grow" && grep -q "caught std::bad_alloc" "$work/out"; then
        pass "operator new throws bad_alloc at the limit"
    else
        fail "operator new throws bad_alloc at the limit" "$(cat "$work/out")" "$work/err"
    fi
    under 30 --max 16M -- "$work/grow" again
    status=$?
    if [ $status -eq 134 ]; then pass "uncaught, it aborts"; else fail "uncaught, it aborts" "status $status" "$work/err"; fi
else
    skip "operator new throws bad_alloc at the limit" "no C++ compiler"
fi
finish
