#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run_all BUILD_DIR: the multi-tenant Lua host keeps what it promises, with every option, at every limit. It prints PASS, FAIL and
# SKIP lines; the status says whether the script itself came to its end.
set -uo pipefail
build=$(cd "${1:?usage: run_all.sh BUILD_DIR}" && pwd) || exit 2
lua_host=$build/examples/lua_host/lua_host
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

pass() { echo "PASS lua_host: $1"; }
skip() { echo "SKIP lua_host: $1: $2"; }
fail() {
    echo "FAIL lua_host: $1: $2"
    tail -n 12 "$work/out" "$work/err" 2>/dev/null | sed 's/^/    /'
}
# verdict NAME WHY: passes if WHY is empty.
verdict() { if [ -z "$2" ]; then pass "$1"; else fail "$1" "$2"; fi; }

# run SECONDS OPTION...: stdout and stderr to $work; the status is the program's, 124 if it took too long.
run() {
    local seconds=$1
    shift
    timeout -k 5 "$seconds" "$lua_host" "$@" >"$work/out" 2>"$work/err" </dev/null
}

if [ ! -x "$lua_host" ]; then
    skip "all" "it is not built (liblua5.4-dev, libcli11-dev, nlohmann-json3-dev)"
    exit 0
fi

# --- A run to a pipe --------------------------------------------------------------------------------------------------------

# Prints what is wrong with the text of a run of TENANTS, HOSTILE of them hostile, each of 8 MiB.
wrong_text() {
    local tenants=$1 hostile=$2 ends sum root
    if grep -q $'[\e\r\b]' "$work/out"; then echo "escape codes in a pipe" && return; fi
    ends=$(grep -cE '^tenant-[0-9]{4}: out of memory: [0-9.]+ (K|M)iB of 8\.0 MiB in use, [0-9.]+ (B|KiB|MiB) asked$' "$work/out")
    [ "$ends" -eq "$hostile" ] || { echo "$ends hostile tenants ended with their line, not $hostile" && return; }
    grep -q '^unexpected' "$work/out" && { grep -m1 '^unexpected' "$work/out"; return; }
    grep -q "^ok *results *$((tenants - hostile)) of $((tenants - hostile)) " <(tr -d , <"$work/out") || { echo "not all results are malloc's" && return; }
    # The table is added up here once more, up to the line "sum": tenants' rows have two counts before the bytes, others end in them.
    sum=$(tr -d , <"$work/out" | awk '/^script / {on = 1; next} /^sum / {on = 0}
        on {s += $2 ~ /^[0-9]+$/ && $3 ~ /^[0-9]+$/ ? $4 : $NF} END {printf "%.0f", s}')
    root=$(tr -d , <"$work/out" | awk '/^root / {print $2}')
    [ -n "$root" ] && [ "$sum" = "$root" ] || echo "the rows add up to $sum, the root has $root"
}

if run 110; then
    verdict "1000 tenants, 50 of them hostile" "$(wrong_text 1000 50)"
else
    fail "1000 tenants, 50 of them hostile" "status $?"
fi
for threads in 1 4; do
    if run 60 --tenants 60 --threads "$threads"; then
        verdict "$threads threads" "$(wrong_text 60 3)"
    else
        fail "$threads threads" "status $?"
    fi
done
for hostile in 0 100; do
    if run 60 --tenants 40 --hostile "$hostile"; then
        verdict "$hostile % hostile" "$(wrong_text 40 $((40 * hostile / 100)))"
    else
        fail "$hostile % hostile" "status $?"
    fi
done

# --- JSON -------------------------------------------------------------------------------------------------------------------

cat >"$work/check.py" <<'END'
import json, sys
text = open(sys.argv[1]).read()
d = json.loads(text)  # fails if there is anything beside one document
assert d["passed"] is True and d["interrupted"] is False, "not passed"
assert all(c["passed"] for c in d["checks"]), "a check failed"
assert {"results", "hostile", "limits", "refusals", "lua", "table", "base line", "recount"} == {c["name"] for c in d["checks"]}, "checks are missing"
rows = sum(k["charged_bytes"] for k in d["kinds"]) + d["structures_bytes"] + d["library_bytes"] + d["others_bytes"]
assert rows == d["root_bytes"], f"rows {rows}, root {d['root_bytes']}"
assert d["after_bytes"] == 0, "memory is left"
assert sum(k["tenants"] for k in d["kinds"]) == d["options"]["tenants"] == d["tenants_run"] == 60, "tenants are missing"
assert all(k["as_expected"] == k["tenants"] for k in d["kinds"]), "a kind did not end as it should"
assert all(0 < k["lua_bytes"] <= k["charged_bytes"] for k in d["kinds"]), "Lua holds more than it is charged"
assert all(k["peak_bytes"] <= d["options"]["max_bytes"] == 4 << 20 for k in d["kinds"]), "over the limit"
assert len(d["hostile_ends"]) == 6 and d["surprises"] == [], "ends"
assert all(": out of memory: " in line and " of 4.0 MiB in use, " in line for line in d["hostile_ends"]), "lines"
END
if ! command -v python3 >/dev/null; then
    skip "--json" "python3 is not installed"
elif run 60 --json --tenants 60 --hostile 10 --max 4M; then
    verdict "--json prints one document, and it adds up" "$(python3 "$work/check.py" "$work/out" 2>&1 | tail -n 1)"
    verdict "--json keeps quiet on stderr" "$(head -n 1 "$work/err")"
else
    fail "--json prints one document, and it adds up" "status $?"
fi

# --- Options ----------------------------------------------------------------------------------------------------------------

# refused OPTION...: exit status 2, one line that is to the point on stderr, nothing on stdout.
refused() {
    local status why=""
    run 10 "$@"
    status=$?
    [ $status -eq 2 ] || why="status $status"
    [ "$(wc -l <"$work/err")" -eq 1 ] || why="stderr has $(wc -l <"$work/err") lines"
    grep -q "^lua_host: ..*" "$work/err" || why="stderr does not say who speaks"
    [ ! -s "$work/out" ] || why="something on stdout"
    verdict "bad use is refused: ${*//$work/DIR}" "$why"
}
refused --tenants 0
refused --tenants many
refused --tenants -5
refused --tenants
refused --max 8X
refused --max 1K
refused --max 99999999999999999999
refused --max 20000000T
refused --threads 0
refused --threads 1.5
refused --hostile 101
refused --hostile -1
refused --scripts "$work/nowhere"
refused --scripts "$work"
refused --unknown
refused left over
refused --json --tenants 0

for option in --help --version; do
    if run 10 "$option" && [ -s "$work/out" ] && [ ! -s "$work/err" ]; then pass "$option"; else fail "$option" "status $?"; fi
done
for size in 8M 8MiB 8388608 8192K 8mb; do
    if run 20 --tenants 8 --hostile 0 --max "$size" && grep -q 'tenants of 8.0 MiB each' "$work/out"; then
        pass "--max $size"
    else
        fail "--max $size" "status $?"
    fi
done

# --- Limits from far too small upwards --------------------------------------------------------------------------------------

# Every tenant is one of all kinds. It ends with its result or out of memory, and the whole with 0 or 1: nothing else.
crashed=""
least=""
for max in 4K 8K 12K 16K 18K 20K 22K 24K 26K 28K 30K 32K 34K 36K 40K 44K 48K 52K 56K 64K 72K 80K 96K 112K 128K 160K 192K 256K 384K 512K 768K \
    1M 1536K 2M 3M; do
    run 30 --tenants 14 --hostile 50 --max "$max"
    status=$?
    [ $status -eq 0 ] && least=${least:-$max}
    [ $status -le 1 ] || crashed="$crashed $max:status=$status"
    grep '^unexpected' "$work/out" | grep -vq ': out of memory: ' && crashed="$crashed $max:$(grep '^unexpected' "$work/out" | grep -v ': out of memory: ' | head -n 1)"
    for check in limits refusals lua table "base line" recount hostile; do
        grep -q "^ok *$check" "$work/out" || crashed="$crashed $max:$check"
    done
done
verdict "limits from 4K to 3M: out of memory and no worse" "$crashed"
case $least in
    768K | 1M | 1536K | 2M | 3M) pass "a limit of $least is enough for the healthy" ;;
    *) fail "a limit is enough for the healthy" "the least is '$least'" ;;
esac

# --- Scripts of one's own ---------------------------------------------------------------------------------------------------

mkdir -p "$work/own/hostile"
cat >"$work/own/fine.lua" <<'END'
return "fine"
END
cat >"$work/own/hostile/liar.lua" <<'END'
error("not enough memory", 0) -- what Lua says when it is true
END
run 20 --tenants 2 --hostile 50 --scripts "$work/own"
if [ $? -eq 1 ] && grep -q '^FAIL *hostile' "$work/out"; then
    pass "who only says that it is out of memory is not believed"
else
    fail "who only says that it is out of memory is not believed" "it is"
fi
cat >"$work/own/hostile/liar.lua" <<'END'
-- Errors caught inside coroutines, in handlers and in closing variables.
local function grow() local t = {} while true do t[#t + 1] = {} end end
local function stubborn()
    while true do
        local closing <close> = setmetatable({}, {__close = function() pcall(grow) end})
        xpcall(grow, function() pcall(grow) return "mine" end)
    end
end
while true do coroutine.resume(coroutine.create(stubborn)) end
END
if run 30 --tenants 2 --hostile 50 --scripts "$work/own"; then
    pass "an error that is swallowed in every way that Lua has"
else
    fail "an error that is swallowed in every way that Lua has" "status $?"
fi
rm "$work/own/hostile/liar.lua"
echo 'error("no good")' >"$work/own/fine.lua"
run 20 --tenants 2 --hostile 0 --scripts "$work/own"
if [ $? -eq 1 ] && grep -q 'fine fails under malloc: .*no good' "$work/err"; then
    pass "a script that fails under malloc is named"
else
    fail "a script that fails under malloc is named" "it is not"
fi
echo 'while true do end' >"$work/own/fine.lua"

# --- Signals and terminals --------------------------------------------------------------------------------------------------

# interrupted NAME STATUS-WANTED SIGNAL OPTION...: after a second it gets the signal; it has to stop, clean up and say so.
interrupted() {
    local name=$1 wanted=$2 signal=$3 status
    shift 3
    timeout -k 5 --preserve-status -s "$signal" 1 "$lua_host" "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
    if [ $status -eq "$wanted" ] && grep -q interrupted "$work/err" && grep -qE 'ok *base line|"after_bytes": 0,' "$work/out"; then
        pass "$name"
    else
        fail "$name" "status $status"
    fi
}
interrupted "Ctrl-C: stops, cleans up, ends with 130" 130 INT --tenants 20000
interrupted "SIGTERM: the same, with 143" 143 TERM --tenants 20000
interrupted "Ctrl-C ends a script that never does" 130 INT --tenants 2 --hostile 0 --scripts "$work/own"
interrupted "Ctrl-C under --json: still one document" 130 INT --tenants 20000 --json
python3 -c 'import json, sys; sys.exit(json.load(open(sys.argv[1]))["interrupted"] is not True)' "$work/out" 2>/dev/null ||
    fail "Ctrl-C under --json: the document" "says nothing of it"

if command -v script >/dev/null; then
    script -qec "stty cols 60; '$lua_host' --tenants 60" "$work/typescript" >/dev/null 2>"$work/err" </dev/null
    status=$?
    cp "$work/typescript" "$work/out"
    if [ $status -eq 0 ] && grep -q $'\r[a-z ]*: [0-9]* of ' "$work/typescript" && grep -q 'all checks hold' "$work/typescript"; then
        pass "a terminal gets a progress line"
    else
        fail "a terminal gets a progress line" "status $status"
    fi
else
    skip "a terminal gets a progress line" "script (bsdutils) is not installed"
fi
if [ -c /dev/full ]; then
    timeout 20 "$lua_host" --tenants 7 --hostile 0 >/dev/full 2>"$work/err"
    status=$?
    if [ $status -eq 1 ] && grep -q 'cannot write' "$work/err"; then
        pass "a report that cannot be written is an error"
    else
        fail "a report that cannot be written is an error" "status $status"
    fi
fi
exit 0
