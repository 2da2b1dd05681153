#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# fork BUILD_DIR: children of a threaded process that allocates at full speed.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if under 140 -- "$own/program_fork_storm" 300 && [ "$(cat "$work/out")" = "300 of 300" ]; then
    pass "300 of 300 children live"
else
    fail "300 of 300 children live" "$(cat "$work/out")" "$work/err"
fi
# 30 of the children have a child of their own.
holds "every child published its figures" "r['children']['processes'] == 330"
holds "children count from the fork on" "0 < sum(x['allocations'] for x in c.values()) < 330 * 10000"
finish
