# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# process: child processes that end when ./run ends. Every long command runs as a job of its own process group, so that a
# Ctrl-C reaches ./run alone, which then ends the job with all its descendants.

child=

# run_child LOG SECONDS COMMAND...: output to the end of LOG; status 124 if it takes longer.
run_child() {
    local log=$1 seconds=$2 status
    shift 2
    set -m
    timeout -k 10 "$seconds" "$@" >>"$log" 2>&1 </dev/null &
    child=$!
    set +m
    wait "$child" 2>/dev/null
    status=$?
    child=
    return $status
}

descendants() {
    local pid
    for pid in $(cat "/proc/$1/task"/*/children 2>/dev/null); do
        descendants "$pid"
        echo "$pid"
    done
}

# Ends the running job: asks first, and insists after five seconds.
end_child() {
    [ -n "$child" ] || return 0
    local pids round
    mapfile -t pids < <(descendants "$child")
    kill -TERM -- "-$child" "${pids[@]}" 2>/dev/null
    for round in {1..50}; do
        kill -0 -- "-$child" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL -- "-$child" "${pids[@]}" 2>/dev/null
    child=
}

interrupted() {
    trap '' INT TERM HUP
    echo
    echo "run: interrupted" >&2
    end_child
    allow_services
    exit "$1"
}
trap 'interrupted 130' INT
trap 'interrupted 143' TERM
trap 'interrupted 129' HUP
