#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# sqlite BUILD_DIR: the sqlite3 shell; a capped query fails as SQLite documents it, and the database is whole.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need sqlite3

fill="create table t(a integer primary key, b text, c real);
with recursive n(i) as (values(1) union all select i + 1 from n limit 60000)
insert into t select i, hex(i * 7919) || ' ' || printf('%.*c', i % 90, 'x'), i / 3.0 from n;
create index t_b on t(b);"
queries="select count(*), sum(length(b)), round(sum(c), 3) from t;
select b from t order by b desc, c limit 3;
select length(group_concat(b, ',')) from t;
with recursive f(n, a, b) as (values(0, 0, 1) union all select n + 1, b, a + b from f limit 80) select max(a) from f;"
# Twice as much as it may have: one string of 120 MB.
hungry="select length(group_concat(printf('%.*c', 2000, 'y'))) from t;"

sqlite3 "$work/plain.db" "$fill$queries" >"$work/expected"
if under 60 -- sqlite3 "$work/allot.db" "$fill$queries" && cmp -s "$work/out" "$work/expected"; then
    pass "the same results"
    holds "the table adds up" "$adds_up"
else
    fail "the same results" "ended with $?" "$work/err"
fi

limit=$((48 * 1024 * 1024))
cat >"$work/script" <<END
begin;
update t set c = c + 1;
$hungry
select 'alive', count(*) from t;
rollback;
$hungry
pragma integrity_check;
select round(sum(c), 3) from t;
END
# The shell goes on after an error of a script that it reads, and ends with 1.
timeout -k 5 60 "$allot" run --max 48M --json --output "$work/report.json" -- sqlite3 "$work/allot.db" \
    <"$work/script" >"$work/out" 2>"$work/err"
if [ "$(grep -c 'out of memory' "$work/err")" -eq 2 ]; then
    pass "a capped query says out of memory, both times"
else
    fail "a capped query says out of memory, both times" "$(head -n 1 "$work/err")" "$work/out"
fi
if [ "$(tr '\n' ' ' <"$work/out")" = "alive|60000 ok $(sqlite3 "$work/plain.db" 'select round(sum(c), 3) from t') " ]; then
    pass "the same process goes on: the transaction rolls back, integrity_check is ok"
else
    fail "the same process goes on" "$(tr '\n' ' ' <"$work/out")"
fi
holds "the limit held" "g['/']['peak'] <= $limit and p['total']['failures'] >= 2"
holds "capped: the table adds up" "$adds_up"
check "the file is ok for a process without allot" test "$(sqlite3 "$work/allot.db" 'pragma integrity_check')" = ok
finish
