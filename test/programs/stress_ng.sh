#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# stress_ng BUILD_DIR: stress-ng's malloc stressor, which checks what it wrote.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need stress-ng

run() {
    local name=$1
    shift
    if under 60 -- stress-ng --temp-path "$work" --verify --timeout 5 "$@" && ! grep -qi 'fail:' "$work/err"; then
        pass "$name"
        holds "$name: the table adds up" "$adds_up"
        holds "$name: the stressors published theirs" "r['children']['processes'] >= 2"
    else
        fail "$name" "ended with $?" "$work/err"
    fi
}
run "malloc in two processes" --malloc 2 --malloc-bytes 64M --malloc-max 20000
run "malloc with threads" --malloc 1 --malloc-pthreads 3 --malloc-bytes 32M --malloc-max 5000
finish
