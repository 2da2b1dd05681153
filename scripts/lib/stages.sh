# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# stages: the stages of ./run test. Each reports single checks and test cases by pass, fail and skip; the tally is at the end.

stages="
checks      layers, pairs, tidy and format, each against its fixtures first
release     g++, -O2: everything is built; unit tests, short torture, exported symbols
debug       g++ with asserts: unit tests, short torture
clang       clang++ with thread-safety analysis: everything is built; unit tests
asan        address and undefined behaviour sanitizers: unit tests, short torture
tsan        thread sanitizer: unit tests, short torture
modes       the release build's unit tests again: without the library's thread, without membarrier, without rseq
aarch64     64-bit Arm by the cross compiler, under qemu-user: unit tests, short torture
packaging   an outside project uses the installed tree
tools       the command line tools
lua_host    the Lua example
programs    real programs under the malloc replacement
models      the protocols as Spin models, each with mutants that have to fail
explore     the protocols' own code under a schedule explorer, with mutants that have to be found
"

passed=0
failures=()
skips=()

pass() { passed=$((passed + 1)); }
fail() { failures+=("$*"); }
skip() { skips+=("$*"); }

# Counts the PASS, FAIL and SKIP lines of its input.
count_results() {
    local verdict text
    while read -r verdict text; do
        case $verdict in
            PASS) pass ;;
            FAIL) fail "$text" ;;
            SKIP) skip "$text" ;;
        esac
    done
}

# run_script NAME SECONDS COMMAND...: a program that prints such lines, and whose status must agree with them.
run_script() {
    local name=$1 seconds=$2 log status before
    shift 2
    log=$logs/${name// /_}.log
    : >"$log"
    run_child "$log" "$seconds" "$@"
    status=$?
    before=$((passed + ${#failures[@]} + ${#skips[@]}))
    local failed_before=${#failures[@]}
    count_results <"$log"
    if [ $status -eq 124 ]; then
        fail "$name: took more than $seconds s ($log)"
    elif [ $status -ne 0 ] && [ ${#failures[@]} -eq "$failed_before" ]; then
        fail "$name: exit status $status ($log)"
    elif [ $((passed + ${#failures[@]} + ${#skips[@]})) -eq $before ]; then
        fail "$name: printed no results ($log)"
    fi
}

# check_one NAME COMMAND...: passes if it ends with 0, is skipped with 77.
check_one() {
    local name=$1 log=$logs/check_$1.log
    shift
    : >"$log"
    run_child "$log" 120 "$@"
    case $? in
        0) pass ;;
        77) skip "check $name: $(tail -n 1 "$log")" ;;
        *) fail "check $name: $(grep -m1 -E '[^ ]:[0-9]+' "$log") ($(grep -cE '[^ ]:[0-9]+: ' "$log") findings, $log)" ;;
    esac
}

# --- Builds and unit tests --------------------------------------------------------------------------------------------------

declare -A built
launcher=()
left_out= # a GoogleTest filter of cases that are not run, each with a colon behind it

# build CONFIGURATION [TARGET]: configures and builds once in a run; its log is build/logs/build_CONFIGURATION.log.
build() {
    local config=$1 log=$logs/build_$1.log
    case ${built[$config]:-} in
        yes) return 0 ;;
        failed) return 1 ;;
    esac
    : >"$log"
    if run_child "$log" 300 cmake --preset "$config" &&
        run_child "$log" 900 cmake --build --preset "$config" -j "$jobs" ${2:+--target "$2"}; then
        [ -n "${2:-}" ] || built[$config]=yes
        return
    fi
    built[$config]=failed
    return 1
}

first_error() { grep -m1 -E 'error:|Error|undefined reference|FAILED' "$1" || tail -n 1 "$1"; }

# As `build`, counted as a check.
check_build() {
    if build "$1"; then
        pass
    else
        fail "build $1: $(first_error "$logs/build_$1.log") ($logs/build_$1.log); its tests were not run"
        return 1
    fi
}

# Sanitizers stop at their first report. A thread sanitizer of this age cannot start where the kernel spreads addresses widely
# (vm.mmap_rnd_bits above 28), so it then runs without address randomisation.
prepare_sanitizer() {
    export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1:strict_string_checks=1}
    export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
    export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1:second_deadlock_stack=1}
    launcher=()
    [ "$1" = tsan ] || return 0
    if ! "build/tsan/test/allot_tests" --gtest_list_tests >/dev/null 2>&1 && setarch -R true 2>/dev/null; then
        launcher=(setarch -R)
    fi
}

# run_layer CONFIGURATION LAYER [VARIABLE=VALUE]: one folder's cases. A crash (or a sanitizer's report) ends the process, so those that
# it left out run again without those that
# ran, a few times.
run_layer() {
    local config=$1 layer=$2 mode=${3:-} tests=build/$1/test/allot_tests
    local log=$logs/$1_$2${3:+_$3}.log part=$logs/$1_$2${3:+_$3}.part ran=$left_out status round rerun=1
    : >"$log"
    for round in {1..10}; do
        : >"$part"
        run_child "$part" 300 env ${mode:+"$mode"} "${launcher[@]}" "$tests" --layer "$layer" ${ran:+--gtest_filter="-$ran"}
        status=$?
        cat "$part" >>"$log"
        if [ $status -eq 124 ] || [ "$round" -eq 10 ] || grep -q '^\[  PASSED  \]' "$part" || ! grep -q '^\[ RUN ' "$part"; then
            rerun=0
        fi
        count_results < <(awk -v what="$config $layer${mode:+ $mode}" -v status=$status -v log_file="$log" -v rerun=$rerun \
            -f scripts/lib/gtest_results.awk "$part" || echo "FAIL $config $layer $mode: its results could not be read")
        [ $rerun -eq 1 ] || break
        ran=$left_out$(awk '/^\[ RUN/ {printf "%s:", $4}' "$log")
    done
    rm -f "$part"
}

run_unit_tests() {
    local config=$1 layer tests=build/$1/test
    if [ ! -x "$tests/allot_tests" ]; then
        skip "$config unit tests: not built, since GoogleTest (libgtest-dev) is missing"
        return
    fi
    prepare_sanitizer "$config"
    while read -r layer; do
        run_layer "$config" "$layer"
    done <"$tests/layers.txt"
}

# run_programs CONFIGURATION PREFIX ARGUMENT...: each program PREFIX* beside allot_tests is one check.
run_programs() {
    local config=$1 prefix=$2 program log
    shift 2
    for program in "build/$config/test/$prefix"*; do
        [ -x "$program" ] && [ -f "$program" ] || continue
        log=$logs/${config}_$(basename "$program").log
        : >"$log"
        if run_child "$log" 120 "${launcher[@]}" "$program" "$@"; then
            pass
        else
            fail "$config $(basename "$program"): $(grep -m1 -i seed "$log") $(tail -n 1 "$log") ($log)"
        fi
    done
}

unit_stage() {
    check_build "$1" || return
    run_unit_tests "$1"
    run_programs "$1" c_
    run_torture_modes "$1" 4 # ./run torture runs them for long
}

# --- The stages -------------------------------------------------------------------------------------------------------------

stage_checks() {
    local check
    if ! command -v python3 >/dev/null; then
        skip "checks: python3 is missing"
        return
    fi
    run_script "check fixtures" 120 scripts/check_fixtures
    for check in layers pairs tidy format races; do
        check_one $check scripts/check_$check
    done
}

stage_release() {
    unit_stage release
    [ "${built[release]:-}" = yes ] || return
    run_script "binary" 60 scripts/check_binary build/release
    run_script "golden" 120 scripts/check_golden build/release
}

stage_debug() { unit_stage debug; }
stage_asan() { unit_stage asan; }
stage_tsan() { unit_stage tsan; }

stage_clang() {
    if ! command -v clang++ >/dev/null; then
        skip "clang: clang++ is missing"
    elif check_build clang; then
        run_unit_tests clang
    fi
}

# The configurations that a program can choose at run time (docs/contexts.md).
stage_modes() {
    local mode layer
    build release || { check_build release; return; }
    for mode in ALLOT_THREADS=0 ALLOT_MEMBARRIER=0 ALLOT_RSEQ=0; do
        while read -r layer; do
            case $layer in platform | sync | slab | group | observe | front) ;; *) continue ;; esac
            run_layer release "$layer" "$mode"
        done <build/release/test/layers.txt
    done
}

# A stage whose tests are test/NAME/run_all.sh BUILD_DIR, ctests with the label NAME, or both.
release_stage() {
    local name=$1 seconds=$2 script=test/$1/run_all.sh log=$logs/ctest_$1.log found=no
    if [ "${built[release]:-}" = failed ]; then
        skip "$name: the release build failed"
        return
    fi
    build release || { check_build release; return; }
    if [ -x "$script" ]; then
        found=yes
        run_script "$name" "$seconds" "$script" build/release
    fi
    : >"$log"
    run_child "$log" "$seconds" ctest --test-dir build/release -L "^$name\$" --output-on-failure
    if grep -q 'Start *[0-9]*:' "$log"; then
        found=yes
        count_results < <(awk -v name="$name" -f scripts/lib/ctest_results.awk "$log")
    fi
    [ $found = yes ] || skip "$name: there are no tests of it (test/$name/run_all.sh, or ctests labelled $name)"
}

stage_packaging() { release_stage packaging 300; }
stage_tools() { release_stage tools 300; }
stage_lua_host() { release_stage lua_host 300; }
stage_programs() { release_stage programs 900; }

# Runs a verification that builds what it needs itself.
verify_stage() { run_script "$@"; }
stage_models() { verify_stage models 900 verify/spin/run.sh; }
stage_explore() { verify_stage explore 300 verify/explore/run.sh; }

# --- The run ----------------------------------------------------------------------------------------------------------------

stage_names() { awk 'NF {print $1}' <<<"$stages"; }

run_stage() {
    local start=$SECONDS ok=$passed bad=${#failures[@]} left=${#skips[@]}
    [ -t 1 ] && printf '%-10s ...\r' "$1"
    "stage_$1"
    printf '%-10s %4d s   %d passed, %d failed, %d skipped\n' "$1" $((SECONDS - start)) $((passed - ok)) \
        $((${#failures[@]} - bad)) $((${#skips[@]} - left))
}

# Every failure and skip with its reason, then the line that CI reads.
print_tally() {
    local line
    for line in "${failures[@]}"; do echo "FAILED  $line"; done
    for line in "${skips[@]}"; do echo "SKIPPED $line"; done
    echo "$passed passed, ${#failures[@]} failed, ${#skips[@]} skipped"
    [ ${#failures[@]} -eq 0 ]
}
