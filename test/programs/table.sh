#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# table BUILD_DIR: however a program ends, its figures are there, right, and add up.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# ends HOW STATUS LEAST: `least` allocations have to be counted. Without exit handlers those of slabs in use may be missing.
ends() {
    local how=$1 status
    under 20 -- "$own/program_ends" "$how"
    status=$?
    if [ $status -eq "$2" ]; then pass "$how: status $2"; else fail "$how" "status $status, not $2" "$work/err"; fi
    holds "$how: the table adds up" "$adds_up"
    # 5 MiB in blocks of 1000 bytes and 3 MiB in one.
    holds "$how: what the program holds is there" "8e6 < g['/program_ends']['current'] < 9.5e6"
    holds "$how: allocations are counted" "$3 <= g['/program_ends']['allocations'] < 5400"
}

ends return 0 5121
ends exit 7 5121
ends _exit 8 5000
ends kill 137 5000
ends abort 134 5000

# A signal to allot run reaches the program.
timeout -k 5 30 "$allot" run --json --output "$work/report.json" -- "$own/program_ends" wait >"$work/out" 2>"$work/err" &
waiter=$!
background+=("$waiter")
until_true 10 grep -q ok "$work/out"
kill -TERM "$(tr -d ' ' <"/proc/$waiter/task/$waiter/children")" # allot itself, below timeout
wait "$waiter"
status=$?
if [ $status -eq 143 ]; then pass "SIGTERM is passed on"; else fail "SIGTERM is passed on" "status $status" "$work/err"; fi
holds "SIGTERM: the table adds up" "$adds_up and r['end']['signal'] == 'SIGTERM'"

# The table for people: its own shares are written to the byte, so they can be added up.
timeout 20 "$allot" run --output "$work/table" -- "$own/program_ends" >"$work/out" 2>&1
sum=$(awk '/^group/ {on = 1; next} /^total/ {on = 0} on {for (i = 2; i <= NF; i++) if ($i ~ /^[0-9,]+$/) {gsub(",", "", $i); s += $i; break}} END {print s}' "$work/table")
total=$(awk '/^total/ {gsub(",", "", $2); print $2}' "$work/table")
if [ -n "$sum" ] && [ "$sum" = "$total" ]; then
    pass "the printed shares sum up to the printed total"
else
    fail "the printed shares sum up to the printed total" "$sum and $total" "$work/table"
fi
finish
