# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# common: what the scripts of this folder share. Each is NAME.sh BUILD_DIR, prints PASS, FAIL and SKIP lines, and leaves nothing
# behind: its files are below $work, and what it started in the background is ended by the trap.

set -uo pipefail
PATH=$PATH:/usr/sbin:/sbin
build=$(cd "${1:?usage: $0 BUILD_DIR}" && pwd) || exit 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../.." && pwd)
suite=$(basename "$0" .sh)
allot=$build/tools/allot
own=$build/test/programs/src # the programs of src/
work=$(mktemp -d)
chmod 755 "$work" # servers that drop their rights look into it
background=()
failed=0

cleanup() {
    local pid
    for pid in "${background[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in "${background[@]}"; do
        for _ in {1..50}; do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        kill -KILL "$pid" 2>/dev/null
    done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

pass() { echo "PASS $suite: $1"; }
skip() { echo "SKIP $suite: $1: $2"; }
# fail NAME WHY [FILE]: with the end of the file that may explain it.
fail() {
    echo "FAIL $suite: $1: $2"
    [ -z "${3:-}" ] || tail -n 15 "$3" 2>/dev/null | sed 's/^/    /'
    failed=1
}
finish() { exit $failed; }

# need PROGRAM...: ends the script with a SKIP line if one is missing.
need() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null && continue
        skip "all" "$program is not installed"
        exit 0
    done
}

# check NAME COMMAND...: passes if the command ends with 0.
check() {
    local name=$1 status
    shift
    "$@" >"$work/check.log" 2>&1
    status=$?
    if [ $status -eq 0 ]; then pass "$name"; else fail "$name" "$1 ended with $status" "$work/check.log"; fi
    return $status
}

# under SECONDS OPTIONS -- PROGRAM...: runs under allot, stdout and stderr of the program to $work/out and $work/err, the report as
# JSON to $work/report.json. The status is the program's; 124 if it took too long.
under() {
    local seconds=$1
    shift
    rm -f "$work/report.json"
    timeout -k 5 "$seconds" "$allot" run --json --output "$work/report.json" "$@" >"$work/out" 2>"$work/err" </dev/null
}

# value EXPRESSION: a Python expression over the report `r` and its groups by path `g`.
value() {
    python3 - "$work/report.json" "$1" <<'END'
import json, sys
r = json.load(open(sys.argv[1]))
p = r["program"] or {"groups": [], "total": {}}
g = {group["path"]: group for group in p["groups"]}
c = {group["path"]: group for group in r["children"]["groups"]}
print(eval(sys.argv[2]))
END
}

# holds NAME EXPRESSION: passes if the expression is true of the report.
holds() {
    local result
    result=$(value "$2" 2>&1)
    if [ "$result" = True ]; then pass "$1"; else fail "$1" "not true: $2 (${result##*$'\n'})" "$work/report.json"; fi
}

# The sum of all shares is the root's usage, and nothing is negative.
adds_up="p['total']['in_flight'] == 0 and sum(x['own'] for x in p['groups']) == p['total']['current'] == g['/']['current'] \
and all(x['own'] >= 0 and x['peak'] >= x['current'] for x in p['groups'])"

# A port of the loopback that nobody uses.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# until_true SECONDS COMMAND...: tries until the command succeeds.
until_true() {
    local deadline=$((SECONDS + $1))
    shift
    while [ $SECONDS -lt $deadline ]; do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.1
    done
    return 1
}

if [ ! -x "$allot" ]; then
    skip "all" "the command line tool is not built (libcli11-dev, nlohmann-json3-dev)"
    exit 0
fi
need python3 # reads the reports
# The system's own: what comes first in PATH may be a script that starts another.
system_python=python3
[ ! -x /usr/bin/python3 ] || system_python=/usr/bin/python3
