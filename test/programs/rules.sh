#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# rules BUILD_DIR: libraries and threads go where the rules file says, within the limits that it gives.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

mib=$((1024 * 1024))
cat >"$work/libraries" <<'END'
# a limit for one library, none for the other
library libeater.so            -> plugins/eater { high=6M max=8M }
library libfeeder.so no-such.* -> plugins/feeder
END
if under 20 --rules "$work/libraries" -- "$own/program_loader_uses" "$own" $((8 * mib)); then
    pass "a library that meets its limit gets NULL, the program goes on"
    holds "the limit held" "7 * $mib < g['/plugins/eater']['current'] <= g['/plugins/eater']['peak'] <= 8 * $mib"
    holds "its failure is counted there" "g['/plugins/eater']['failures'] >= 1 and g['/plugins/eater']['high_events'] >= 1"
    holds "a library that dlopen brought" "3e6 <= g['/plugins/feeder']['own'] < 4e6"
    holds "the parent has both" "g['/plugins']['current'] >= g['/plugins/eater']['current'] + g['/plugins/feeder']['current']"
    holds "everything else is the root's" "8 * $mib <= g['/']['own'] < 10 * $mib"
    holds "libraries: the table adds up" "$adds_up"
else
    fail "a library that meets its limit gets NULL, the program goes on" "ended with $?" "$work/err"
fi

cat >"$work/threads" <<'END'
thread byprctl-? -> one-digit
thread by* -> by
thread names-* heir -> pool/named { min=1M }
default -> rest { max=64M }
END
if under 20 --rules "$work/threads" -- "$own/program_thread_names"; then
    pass "threads under rules"
    holds "the first match wins" "1e6 < g['/one-digit']['own'] < 1.5e6 and 5e6 < g['/by']['own'] < 6.8e6"
    holds "two patterns, one group" "4e6 < g['/pool/named']['own'] < 5.5e6 and g['/pool/named']['min'] == $mib"
    holds "default takes the rest" "6e6 < g['/rest']['own'] < 8e6"
    holds "threads: the table adds up" "$adds_up"
else
    fail "threads under rules" "ended with $?" "$work/err"
fi

# An earlier rule for the thread beats a later one for the library.
printf 'thread program_* -> main\nlibrary libeater.so -> eater\n' >"$work/order"
timeout 20 "$allot" run --rules "$work/order" --max 32M --json --output "$work/report.json" -- "$own/program_loader_uses" "$own" \
    $((32 * mib)) >"$work/out" 2>"$work/err"
holds "a thread's earlier rule beats the library's" "g['/main']['own'] > 20e6 and g['/eater']['own'] == 0"
printf 'library libeater.so -> eater\nthread program_* -> main\n' >"$work/order"
timeout 20 "$allot" run --rules "$work/order" --max 32M --json --output "$work/report.json" -- "$own/program_loader_uses" "$own" \
    $((32 * mib)) >"$work/out" 2>"$work/err"
holds "and the other way round" "g['/eater']['own'] > 20e6 and g['/main']['own'] < 1e6"

# SQLite as a library of an unmodified program: capped, it reports out of memory; its host does not notice.
cat >"$work/host.py" <<'END'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("create table t(a integer primary key, b text)")
with db:
    db.executemany("insert into t(b) values (?)", ((str(i) * 20,) for i in range(20000)))
own = [str(i) * 20 for i in range(400000)]  # more than SQLite may have
try:
    db.execute("select length(group_concat(b || b)) from t, (select a from t limit 20)").fetchall()
    print("no error")
except (MemoryError, sqlite3.Error) as e:
    print("refused:", type(e).__name__, e)
print(db.execute("select count(*) from t").fetchone()[0], db.execute("pragma integrity_check").fetchone()[0], len(own))
END
printf 'library libsqlite3.so.* -> sqlite { high=12M max=16M }\n' >"$work/sqlite"
if ! "$system_python" -c 'import sqlite3' 2>/dev/null; then
    skip "SQLite under a rule" "python3 has no sqlite3"
elif PYTHONMALLOC=malloc under 60 --rules "$work/sqlite" -- "$system_python" "$work/host.py" "$work/db" &&
    grep -q "^refused:" "$work/out" && grep -q "^20000 ok 400000" "$work/out"; then
    pass "SQLite under a rule: $(head -n 1 "$work/out")"
    holds "SQLite kept its limit" "g['/sqlite']['peak'] <= 16 * $mib and g['/sqlite']['failures'] >= 1"
    holds "its host took more" "g['/']['peak'] > 40e6"
else
    fail "SQLite under a rule" "$(tr '\n' ' ' <"$work/out")" "$work/err"
fi

# A mistake is found by the tool, and by the library when it is preloaded by hand.
printf 'library libeater.so eater\n' >"$work/bad"
under 20 --rules "$work/bad" -- true
status=$?
text="$work/bad:1:26: expected '->' after the library name"
if [ $status -eq 2 ] && [ "$(cat "$work/err")" = "allot: $text" ]; then
    pass "a mistake names file, line and column"
else
    fail "a mistake names file, line and column" "status $status: $(cat "$work/err")"
fi
ALLOT_RULES=$work/bad LD_PRELOAD=$build/lib/liballot_malloc.so "$own/program_exit_status" >"$work/out" 2>"$work/err"
status=$?
if [ $status -eq 2 ] && [ "$(cat "$work/err")" = "allot: $text" ]; then
    pass "also without the tool"
else
    fail "also without the tool" "status $status: $(cat "$work/err")"
fi
finish
