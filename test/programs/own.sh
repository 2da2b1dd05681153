#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# own BUILD_DIR: the programs of src/ that are hard on a malloc in one particular way.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# run NAME SECONDS [ARGUMENTS...]: the program ends with 0 and its table adds up.
run() {
    local name=$1 seconds=$2
    shift 2
    if under "$seconds" -- "$own/program_$name" "$@"; then
        pass "$name: $(tail -n 1 "$work/out")"
        holds "$name: the table adds up" "$adds_up"
    else
        fail "$name" "ended with $?" "$work/err"
    fi
}

run family 60
run new_forms 30
run early_calls 20
run tsd_destructors 60
run exit_handlers 20
run thread_churn 60 3
run signal_storm 60 3
run loader 60 "$own"
run spawn_names 20
holds "spawn_names: a child of vfork moves nobody" "'/intruder' not in g and g['/program_spawn_n']['current'] > 900000"

# Threads that allocate to the very end: the last look may fall between two counters, so only the end counts here.
for _ in 1 2 3 4 5; do
    if under 20 -- "$own/program_outlive_main"; then
        pass "outlive_main"
    else
        fail "outlive_main" "ended with $?" "$work/err"
    fi
done
finish
