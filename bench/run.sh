#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run.sh BUILD_DIR [OPTIONS]: builds the benchmark in a configured build folder and runs it; allot_bench --help names OPTIONS.
set -euo pipefail
build=${1:?usage: bench/run.sh BUILD_DIR [OPTIONS]}
shift
[ -f "$build/CMakeCache.txt" ] || { echo "bench/run.sh: '$build' is not a build folder" >&2 && exit 2; }
cmake --build "$build" --target allot_bench >&2
exec "$build/bench/allot_bench" "$@"
