#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run.sh [--seconds N]: builds the explorer and runs everything: the tests of the engine, the suites on the sources as they are
# (N seconds in all, 24 by default), and the mutants. Prints PASS and FAIL lines; exit status 0, or 1 if something failed.
# run.sh --keep DIR [ARGUMENTS...]: builds in DIR and runs DIR/explore with the arguments, for replays.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
seconds=24
keep=
arguments=()
while [ $# -gt 0 ]; do
    case $1 in
        --seconds) seconds=${2:?} && shift 2 ;;
        --keep) keep=${2:?} && shift 2 && arguments=("$@") && break ;;
        *) sed -n '4,7s/^# //p' "$0" >&2 && exit 2 ;;
    esac
done
compiler=${CXX:-g++}
flags=(-O2 -std=c++20 -Wall -Wextra -fno-exceptions -U_FORTIFY_SOURCE)
drivers=(rcu work_queue sleeper page_counter remote gate percpu_ref cache_gate obj_cgroup)

if [ -n "$keep" ]; then
    mkdir -p "$keep" && work=$(cd "$keep" && pwd) || exit 1
else
    work=$(mktemp -d) || exit 1
    trap 'rm -rf "$work"' EXIT
fi

# compile SOURCE-TREE OBJECT-DIRECTORY FILE... [-- FLAG...]
compile() {
    local tree=$1 objects=$2 files=() extra=() file
    shift 2
    while [ $# -gt 0 ] && [ "$1" != -- ]; do files+=("$1") && shift; done
    [ $# -gt 0 ] && shift && extra=("$@")
    mkdir -p "$objects"
    for file in "${files[@]}"; do
        if ! "$compiler" "${flags[@]}" "${extra[@]}" -I"$tree/src" -I"$root/include" -I"$here" -c "$here/$file.cc" \
            -o "$objects/$file.o" >"$work/log" 2>&1; then
            echo "FAIL build: $file.cc: $(grep -m 1 -E 'error|warning' "$work/log" || tail -n 1 "$work/log")"
            return 1
        fi
    done
}

compile "$root" "$work/correct" sim litmus main "${drivers[@]}" || exit 1
"$compiler" "$work"/correct/*.o -o "$work/explore" || exit 1
if [ -n "$keep" ]; then
    exec "$work/explore" "${arguments[@]}"
fi

# The copy with the steps in it: the same engine, other drivers.
mkdir -p "$work/tree" && cp -r "$root/src" "$work/tree/" || exit 1
python3 - "$here/steps.txt" "$work/tree/src" <<'END' || exit 1
import sys

place, old = None, None
for line in open(sys.argv[1], encoding="utf-8").read().splitlines():
    if line.startswith("- "):
        old = line[2:]
    elif line.startswith("+ "):
        text = open(place, encoding="utf-8").read()
        # A step may stand in a line that another step has changed.
        found = text.count(old + "\n")
        if found != 1:
            print(f"FAIL steps: {place.rsplit('/src/')[1]}: {found} times: {old.strip()}")
            sys.exit(1)
        changed = text.replace(old + "\n", line[2:].replace("mutant(", "::explore::mutant(") + "\n")
        open(place, "w", encoding="utf-8").write(changed)
    elif line and not line.startswith("#"):
        place = f"{sys.argv[2]}/{line.split()[2]}"
END
compile "$work/tree" "$work/steps" "${drivers[@]}" -- -include "$here/sim.hpp" -Wno-misleading-indentation || exit 1
"$compiler" "$work"/correct/{sim,litmus,main}.o "$work"/steps/*.o -o "$work/explore_steps" || exit 1

status=0
"$work/explore" --seconds "$seconds" || status=1
"$work/explore_steps" --steps "$here/steps.txt" || status=1
exit $status
