# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# torture: the modes that the torture programs run in, for ./run test (a few seconds each) and ./run torture (as long as you like).

# A line each: PROGRAM OPTION... Those with --leak put a fault in and pass if it is caught; they take the time that this needs.
torture_modes="
groups
groups --no-worker
groups --no-membarrier
groups --leak
rcu
rcu --no-worker
rcu --no-membarrier
rcu --leak-pointer
lifecycle
lifecycle --no-worker
lifecycle --leak
faults
"

# The modes of the programs that are named, or all.
modes_of() {
    local mode name
    while read -r mode; do
        [ -n "$mode" ] || continue
        [ $# -gt 0 ] || echo "$mode"
        for name in "$@"; do
            [ "${mode%% *}" != "$name" ] || echo "$mode"
        done
    done <<<"$torture_modes"
}

# torture_mode CONFIGURATION SECONDS MODE LOG ARGUMENT...: runs one of them; its status is the program's, 124 if it hangs.
torture_mode() {
    local config=$1 seconds=$2 log=$4 words
    read -ra words <<<"$3"
    shift 4
    : >"$log"
    run_child "$log" $((seconds + 120)) "${launcher[@]}" "build/$config/test/torture_${words[0]}" "${words[@]:1}" \
        --seconds "$seconds" "$@"
}

# For ./run test: each mode is one check. In the release build a program without options runs for a minute.
run_torture_modes() {
    local config=$1 mode log seconds
    while read -r mode; do
        [ -x "build/$config/test/torture_${mode%% *}" ] || continue # without GoogleTest there are none
        log=$logs/${config}_torture_${mode// /_}.log
        seconds=$2
        [ "$config" != release ] || [ "$mode" != "${mode%% *}" ] || seconds=60
        if torture_mode "$config" "$seconds" "$mode" "$log"; then
            pass
        else
            fail "$config torture $mode: $(grep -m1 -i seed "$log") $(grep -m1 -E '^FAIL|BUG|ERROR:|WARNING: Thread' "$log") ($log)"
        fi
    done < <(modes_of)
}

# For ./run torture: on the terminal, with the program's own account of what it did.
torture_for_long() {
    local config=$1 seconds=$2 mode=$3 log status=0
    shift 3
    log=$logs/torture_${mode// /_}.log
    echo "run: torture $mode, $config, $seconds s" >&2
    torture_mode "$config" "$seconds" "$mode" "$log" "$@" || status=$?
    if [ $status -eq 0 ]; then
        grep -v '^PASS' "$log" | sed 's/^/    /'
        echo "PASS torture $mode"
    else
        tail -n 20 "$log" | sed 's/^/    /'
        echo "FAIL torture $mode: exit status $status ($log)"
    fi
    return $status
}
