#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run_all BUILD_DIR: tests of the tool `allot` alone, with a stand-in for the preload library. Prints PASS, FAIL or SKIP lines.
set -uo pipefail
build=$(cd "${1:?usage: run_all.sh BUILD_DIR}" && pwd) || exit 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
allot=$build/tools/allot
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
cd "$work" || exit 2

pass() { echo "PASS tools: $1"; }
skip() { echo "SKIP tools: $1: $2"; }
fail() { echo "FAIL tools: $1: $2" && failed=1; }
if [ ! -x "$allot" ]; then
    skip "all" "the tool is not built (libcli11-dev, nlohmann-json3-dev)"
    exit 0
fi

# expect NAME STATUS PATTERN COMMAND...: status, and an extended regular expression that stderr has to match as a whole line.
expect() {
    local name=$1 wanted=$2 pattern=$3 status
    shift 3
    timeout -k 5 20 "$@" >out 2>err </dev/null
    status=$?
    if [ $status -ne "$wanted" ]; then
        fail "$name" "status $status, not $wanted: $(head -n 1 err)"
    elif ! grep -Eqx -- "$pattern" err; then
        fail "$name" "stderr does not say '$pattern' but: $(head -n 1 err)"
    else
        pass "$name"
    fi
}
# one_line NAME STATUS PATTERN COMMAND...: as expect, and stderr holds nothing else.
one_line() {
    expect "$@"
    [ "$(wc -l <err)" -eq 1 ] || fail "$1" "stderr has $(wc -l <err) lines"
}
# same NAME WANTED GOT
same() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "'$3' instead of '$2'"; fi; }

compile() { cc -O1 "$@" 2>cc.log; }
if ! compile -shared -fPIC -I"$here/../../include" "$here/stub_preload.c" -o libstub.so -pthread; then
    fail "the stand-in compiles" "$(head -n 1 cc.log)"
    exit 1
fi
export ALLOT_MALLOC_LIBRARY=$work/libstub.so
echo 'int main(void) { return 0; }' >main.c

options() {
    expect "--version" 0 "" sh -c "'$allot' --version | tee /dev/stderr | grep -qx 'allot [0-9.]*' && echo >&2"
    expect "--help" 0 "" sh -c "'$allot' --help | grep -q 'run *Run an unmodified program' && '$allot' run --help | grep -q -- '--group-by' && echo >&2"
    one_line "no subcommand" 2 "allot: A subcommand is required.*" "$allot"
    one_line "an unknown option" 2 "allot: no such option: --foo; see allot --help" "$allot" run --foo -- true
    one_line "no program" 2 "allot: which program\?.*" "$allot" run --max 1M --
    one_line "a bad size" 2 "allot: --max is '12Q'; it has to be a size such as 512M, 1.5G or max" "$allot" run --max 12Q -- true
    one_line "a missing value" 2 "allot: --max: 1 required SIZE missing.*" "$allot" run --max
    one_line "a bad way to group" 2 "allot: --group-by is 'color'; it can be thread, library or none" "$allot" run --group-by color -- true
    one_line "a bad interval" 2 "allot: --every has to be at least 0.01 seconds" "$allot" run --every 0.001 -- true
    one_line "a file that cannot be written" 2 "allot: cannot write /nonexistent/x: No such file or directory" "$allot" run --output /nonexistent/x -- true
    one_line "rules that are not there" 2 "allot: cannot read the rules file nowhere.rules: No such file or directory" "$allot" run --rules nowhere.rules -- true
    one_line "rules that are a folder" 2 "allot: cannot read the rules file /: it is no regular file" "$allot" run --rules / -- true
    printf '# one\n\nlibrary libx.so {\n' >app.rules
    one_line "rules with a mistake" 2 "allot: app.rules:3:17: expected '->' after the library name" "$allot" run --rules app.rules -- true
    ALLOT_MALLOC_LIBRARY=/nonexistent.so one_line "no library" 2 "allot: ALLOT_MALLOC_LIBRARY names /nonexistent.so: No such file or directory" "$allot" run -- true
    cp libstub.so "lib stub.so"
    ALLOT_MALLOC_LIBRARY="lib stub.so" one_line "a library that LD_PRELOAD cannot carry" 2 "allot: the path .*/lib stub.so holds a space or a colon.*" "$allot" run -- true
}

refusals() {
    one_line "not found" 127 "allot: no-such-program: no such program in PATH" "$allot" run -- no-such-program
    one_line "not found, by path" 127 "allot: ./nothing: No such file or directory" "$allot" run -- ./nothing
    echo text >plain && chmod 644 plain
    one_line "not executable" 126 "allot: ./plain: Permission denied" "$allot" run -- ./plain
    one_line "a folder" 126 "allot: / is a folder" "$allot" run -- /
    printf '#!/nonexistent/interpreter\n' >script && chmod 755 script
    one_line "a script without its interpreter" 127 "allot: ./script: its interpreter /nonexistent/interpreter: No such file or directory" "$allot" run -- ./script
    if compile -static main.c -o static; then
        one_line "a static program" 2 "allot: ./static is statically linked: .*the preload is ignored" "$allot" run -- ./static
        printf '#!/usr/bin/env static\n' >script
        PATH=.:$PATH one_line "a script of a static program" 2 "allot: ./script: its interpreter ./static is statically linked.*" "$allot" run -- ./script
    else
        skip "a static program" "the compiler cannot link one"
    fi
    if compile -fsanitize=address main.c -o asan; then
        one_line "a program with AddressSanitizer" 2 "allot: ./asan is built with AddressSanitizer, whose runtime must come first.*" "$allot" run -- ./asan
    else
        skip "a program with AddressSanitizer" "the compiler has no sanitizer"
    fi
    if command -v clang >/dev/null && clang -fsanitize=address main.c -o asan_clang 2>/dev/null; then
        one_line "AddressSanitizer linked by clang" 2 "allot: ./asan_clang is built with AddressSanitizer.*" "$allot" run -- ./asan_clang
    fi
    cp "$(type -P true)" owned && chmod u+s owned
    if [ "$(id -u)" -eq 0 ] && chown nobody owned && chmod u+s owned; then
        one_line "a setuid program" 2 "allot: ./owned is setuid, .*ignores the preload.*" "$allot" run -- ./owned
    else
        skip "a setuid program" "only root can make one"
    fi
    head -c 100 "$allot" >cut.elf && chmod 755 cut.elf
    expect "a damaged program" 2 "allot: ./cut.elf is statically linked.*" "$allot" run -- ./cut.elf
}

statuses() {
    expect "the program's status" 7 "allot: sh ended with status 7 after .*" "$allot" run -- sh -c 'exit 7'
    expect "a signal" 137 "allot: sh was killed by SIGKILL after .*" "$allot" run -- sh -c 'kill -9 $$'
    expect "arguments, and a second --" 0 "allot: printf ended with status 0 .*" "$allot" run --max 1M printf '<%s>' -- --json "a b"
    same "arguments arrive as they are" "<-- ><--json><a b>" "$(sed 's/<-->/<-- >/' out)"
    expect "the preload did not start" 0 "it published no figures: .*" env STUB_BAD_MAGIC=1 "$allot" run -- true
    "$allot" run -- sh -c 'trap "exit 9" TERM; echo ready; while :; do sleep 0.1; done' >out 2>err &
    local tool=$!
    for _ in {1..100}; do grep -q ready out && break; sleep 0.1; done
    kill -TERM $tool
    wait $tool
    same "a signal is passed on" 9 $?
    same "nothing is left behind" "" "$(find "${TMPDIR:-/dev/shm}" /tmp -maxdepth 1 -name 'allot.??????' -user "$(id -u)" -newer main.c 2>/dev/null)"
}

environment() {
    echo 'default -> x' >good.rules
    STUB_ENVIRONMENT=1 ALLOT_RULES=/other ALLOT_MAX=5 "$allot" run -- true >out 2>err
    same "without options" "ALLOT_RULES=(unset) ALLOT_GROUP_BY=thread ALLOT_MAX=(unset) LD_PRELOAD=$work/libstub.so" "$(paste -sd' ' out)"
    STUB_ENVIRONMENT=1 LD_PRELOAD=libm.so.6 "$allot" run --rules good.rules --max 1.5M -- true >out 2>err
    same "with options" "ALLOT_RULES=$work/good.rules ALLOT_GROUP_BY=none ALLOT_MAX=1572864 LD_PRELOAD=$work/libstub.so:libm.so.6" "$(paste -sd' ' out)"
    STUB_ENVIRONMENT=1 "$allot" run --rules good.rules --group-by library --max max -- true >out 2>err
    same "with more options" "ALLOT_GROUP_BY=library ALLOT_MAX=max" "$(sed -n 2,3p out | paste -sd' ')"
}

reports() {
    "$allot" run --output table -- true 2>err
    same "--output leaves stderr alone" "" "$(cat err)"
    cat >expected <<'END'
group       own bytes   current      peak        max  allocations  failures
/           1,048,480  10.0 MiB  10.0 MiB          -       10,485         0
  sqlite    4,194,304   7.0 MiB   7.0 MiB  128.0 MiB        7,340         0
    deep    3,145,728   3.0 MiB   3.0 MiB          -        3,145         7
  worker    2,097,152   2.0 MiB   2.0 MiB          -        2,097         0
in flight          96
total      10,485,760  10.0 MiB  10.0 MiB                  23,067         7
END
    if diff <(tail -n +2 table) expected >difference; then pass "the table"; else fail "the table" "$(head -n 3 difference | paste -sd' ')"; fi
    # shellcheck disable=SC2016
    "$allot" run --output table -- sh -c 'for i in 1 2 3; do (exit 0) & done; wait; true'
    same "child processes" "and 3 child processes" "$(grep '^and' table)"
    same "child processes are summed" "/sqlite/deep 3 9,437,184 3.0 MiB 9,435 21" "$(awk '$1 == "/sqlite/deep" {$1 = $1; print}' table)"
    same "the sum of the children" "total 3 31,457,280 10.0 MiB 69,201 21" "$(awk '/^total/ {$1 = $1; line = $0} END {print line}' table)"
    "$allot" run --every 0.05 --output table -- sleep 0.4
    if [ "$(grep -c 'has been running for' table)" -ge 2 ] && grep -q 'ended with status 0' table; then
        pass "--every"
    else
        fail "--every" "$(grep -c running table) tables"
    fi
    # More than a second, so that the files of children that ended have been folded into the sums meanwhile.
    "$allot" run --output table -- sh -c '(exit 0) & (exit 0) & wait; sleep 1.3; (exit 0) & wait; true'
    same "children that ended long ago are kept in the sums" "and 4 child processes" "$(grep '^and' table)"
}

json_reports() {
    if ! command -v python3 >/dev/null; then
        skip "--json" "python3 is missing"
        return
    fi
    "$allot" run --json --output doc -- sh -c '(exit 0) & wait; exit 4'
    same "--json is one document" "4 None 3 10485760 96 7 134217728 None 1 1" "$(python3 - <<'END'
import json
r = json.load(open("doc"))
g = {x["path"]: x for x in r["program"]["groups"]}
assert g["/sqlite"]["slab"] + g["/sqlite"]["large"] == g["/sqlite"]["own"] == 4194304
print(r["end"]["status"], r["end"]["signal"], len(r["command"]), r["program"]["total"]["current"], r["program"]["total"]["in_flight"],
      g["/sqlite/deep"]["failures"], g["/sqlite"]["max"], g["/worker"]["max"], r["children"]["processes"],
      r["children"]["groups"][0]["processes"])
END
)"
    "$allot" run --json --every 0.05 --output doc -- sleep 0.3
    same "--json --every is a document a line" "ok" "$(python3 -c 'import json
d = [json.loads(line) for line in open("doc")]
print("ok" if len(d) >= 2 and d[0]["end"] is None and d[-1]["end"]["status"] == 0 else d)')"
}

options
refusals
statuses
environment
reports
json_reports
exit $failed
