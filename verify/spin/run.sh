#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run.sh [--long] [--list] [MODEL...]: checks the models in this folder, or some of them, with Spin.
#
# A model says itself what is to be run, in lines of its heading:
#   //@ hold NAME [FLAG...]      has to hold: no error, searched to the end, every statement reached in some such run
#   //@ long NAME [FLAG...]      the same, with --long only
#   //@ fail MUTANT [FLAG...]    has to fail, with -DMUTANT and the flags; further sets of flags, a run each, after a |
# What follows a # is for the reader.
# A model may have a second file, MODEL.inc, which it includes.
# Prints a line for each: PASS, FAIL or SKIP, its name and what was found. Exit status: 0, or 1 if anything failed.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
long=0
list=0
models=()
for argument; do
    case $argument in
        --long) long=1 ;;
        --list) list=1 ;;
        -*) echo "usage: run.sh [--long] [--list] [MODEL...]" >&2; exit 2 ;;
        *) models+=("$(basename "$argument" .pml)") ;;
    esac
done
[ ${#models[@]} -ne 0 ] || for file in "$here"/*.pml; do models+=("$(basename "$file" .pml)"); done
for model in "${models[@]}"; do
    [ -r "$here/$model.pml" ] || { echo "FAIL spin/$model: there is no such model"; exit 1; }
done
if [ $list -eq 1 ]; then
    for model in "${models[@]}"; do sed -n "s|^//@ *|$model |p" "$here/$model.pml"; done
    exit 0
fi
for tool in spin gcc; do
    if ! command -v $tool >/dev/null; then
        for model in "${models[@]}"; do echo "SKIP spin/$model: $tool is not installed"; done
        exit 0
    fi
done

depth=2000000
if [ $long -eq 1 ]; then
    megabytes=8000
    seconds=3600
else
    megabytes=1000
    seconds=180
fi
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
passed=0
failed=0
total_states=0

verdict() { # PASS|FAIL NAME TEXT
    if [ "$1" = PASS ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    echo "$1 spin/$2$3"
}

# search MODEL OPTIMISATION FLAG...: generates, compiles and runs in $work; its output is $work/pan.out. Prints why it could not.
search() {
    local model=$1 optimisation=$2
    shift 2
    rm -f "$work"/pan* "$work"/*.trail
    (cd "$work" && spin -a "$@" "$model.pml") >"$work/spin.out" 2>&1 || { grep -m1 . "$work/spin.out"; return 1; }
    if grep -q -i "error" "$work/spin.out"; then
        grep -m1 -i "error" "$work/spin.out"
        return 1
    fi
    (cd "$work" && gcc "$optimisation" -w -DSAFETY -DCOLLAPSE -DMEMLIM=$megabytes -o pan pan.c) >"$work/gcc.out" 2>&1 ||
        { head -n 1 "$work/gcc.out"; return 1; }
    # The search itself ends with an error count; only a signal or the time limit is a failure of its own.
    (cd "$work" && timeout --foreground -k 5 $seconds ./pan -m$depth -w22 >pan.out 2>&1)
    local status=$?
    [ $status -ne 124 ] || { echo "took more than $seconds s"; return 1; }
    grep -q "errors: " "$work/pan.out" || { echo "the search ended with status $status"; return 1; }
}

states() { awk '/states, stored/ { print $1; exit }' "$work/pan.out"; }
errors() { sed -n 's/.*errors: \([0-9]*\).*/\1/p' "$work/pan.out" | head -n 1; }
cut_short() { grep -m1 -o -E "max search depth too small|reached -DMEMLIM bound|out of memory|hash factor" "$work/pan.out"; }
violation() { sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p' "$work/pan.out" | head -n 1; }

# The model's statements, each with its line (Spin gives those of MODEL.inc as the model's), and those that this run has reached
# in some process; ends do not count.
statements_there() { (cd "$work" && ./pan -d) | sed -n 's/.*\.pml:\([0-9]*\) => /\1 /p' | sort -u; }
statements_reached() {
    (cd "$work" && ./pan -d) | awk '
        FNR == NR && /^unreached in/ { process = $NF; on = 1; next }
        FNR == NR { if (on && match($0, /state [0-9]+/)) missed[process " " substr($0, RSTART + 6, RLENGTH - 6)] = 1; next }
        /^(proctype|init|claim)/ { process = $1 == "init" ? "init" : $2; next }
        /=> / && match($0, /\.pml:[0-9]+/) && !((process " " $2) in missed) {
            line = substr($0, RSTART + 5, RLENGTH - 5)
            sub(/.*=> /, "")
            print line " " $0
        }
    ' "$work/pan.out" - | sort -u
}

seconds_since() { # EPOCHREALTIME of the start
    local now=${EPOCHREALTIME/[.,]/} then=${1/[.,]/}
    printf '%d.%d' $(((now - then) / 1000000)) $(((now - then) / 100000 % 10))
}

hold() { # MODEL NAME FLAG...
    local model=$1 name=$2 start=$EPOCHREALTIME why
    shift 2
    if ! why=$(search "$model" -O1 "$@"); then
        verdict FAIL "$model/$name" ": $why"
    elif [ "$(errors)" != 0 ]; then
        verdict FAIL "$model/$name" ": $(violation); spin -a $* $model.pml"
    elif [ -n "$(cut_short)" ]; then
        verdict FAIL "$model/$name" ": not searched to the end: $(cut_short)"
    else
        total_states=$((total_states + $(states)))
        verdict PASS "$model/$name" " holds: $(states) states, $(seconds_since "$start") s"
        statements_there >>"$work/there"
        statements_reached >>"$work/reached"
    fi
}

mutant() { # MODEL MUTANT FLAG...
    local model=$1 name=$2 start=$EPOCHREALTIME why
    shift 2
    local title="$model/$name${*:+ $*}"
    if ! grep -q "defined($name)\|ifn\?def $name\$" "${sources[@]}"; then
        verdict FAIL "$title" ": the model does not know this mutant"
    elif ! why=$(search "$model" -O0 "-D$name" "$@"); then
        verdict FAIL "$title" ": $why"
    elif [ "$(errors)" = 0 ]; then
        verdict FAIL "$title" ": the mutant holds ($(states) states)"
    elif [ -z "$(violation)" ]; then
        verdict FAIL "$title" ": it ended without a violation"
    else
        verdict PASS "$title" " fails: $(violation), after $(states) states, $(seconds_since "$start") s"
    fi
}

begin=$EPOCHREALTIME
for model in "${models[@]}"; do
    sources=("$here/$model".pml)
    [ ! -r "$here/$model.inc" ] || sources+=("$here/$model.inc")
    cp "${sources[@]}" "$work/"
    : >"$work/there"
    : >"$work/reached"
    count=0
    while read -r kind name flags; do
        count=$((count + 1))
        # shellcheck disable=SC2086 # the flags are words
        case $kind in
            hold) hold "$model" "$name" $flags ;;
            long) [ $long -eq 0 ] || hold "$model" "$name" $flags ;;
            fail)
                while [ -n "$flags" ] && [[ $flags == *"|"* ]]; do
                    mutant "$model" "$name" ${flags%%|*}
                    flags=${flags#*|}
                done
                mutant "$model" "$name" $flags
                ;;
            *) verdict FAIL "$model/$name" ": the heading says '$kind'" ;;
        esac
    done < <(sed -n 's|^//@ *||; t keep; d; :keep; s| *#.*||; p' "$here/$model.pml")
    [ $count -ne 0 ] || verdict FAIL "$model" ": its heading names no runs"
    # A statement that no run reaches proves nothing.
    while read -r line text; do
        verdict FAIL "$model/reached" ": no run reaches line $line, $text"
    done < <(comm -23 <(sort -u "$work/there") <(sort -u "$work/reached") | sort -n)
    # Every mutant of the text is run.
    while read -r name; do
        grep -q "^//@ fail *$name\b" "$here/$model.pml" || verdict FAIL "$model/$name" ": the heading does not run this mutant"
    done < <(grep -oh "\bM_[A-Z_]*\b" "${sources[@]}" | sort -u)
done
echo "spin: $passed passed, $failed failed; $total_states states searched to the end in $(seconds_since "$begin") s"
[ $failed -eq 0 ]
