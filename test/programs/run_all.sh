#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run_all BUILD_DIR [NAME...]: runs the scripts of this folder, or some of them. Prints PASS, FAIL and SKIP lines.
set -uo pipefail
build=${1:?usage: run_all.sh BUILD_DIR [NAME...]}
shift
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
seconds_max=150
failed=0

if [ $# -eq 0 ]; then
    for script in "$here"/*.sh; do
        name=$(basename "$script" .sh)
        [[ $name =~ ^(common|run_all)$ ]] || set -- "$@" "$name"
    done
fi
for name in "$@"; do
    timeout -k 15 $seconds_max "$here/$name.sh" "$build"
    status=$?
    if [ $status -eq 124 ]; then
        echo "FAIL $name: took more than $seconds_max s"
    elif [ $status -ne 0 ] && [ $status -ne 1 ]; then
        echo "FAIL $name: the script ended with $status"
    fi
    [ $status -eq 0 ] || failed=1
done
exit $failed
