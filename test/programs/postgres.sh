#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# postgres BUILD_DIR: PostgreSQL: initdb, then pgbench against a server that forks for each connection.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

bin=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1)
for program in initdb postgres pgbench psql; do
    if [ ! -x "$bin/$program" ] && ! command -v $program >/dev/null; then
        skip "all" "$program is not installed"
        exit 0
    fi
done
PATH=$bin:$PATH

# PostgreSQL refuses to be root.
as_user=()
if [ "$(id -u)" -eq 0 ]; then
    as_user=(runuser -u nobody --)
    mkdir "$work/pg" && chown nobody "$work/pg"
    if ! "${as_user[@]}" test -x "$allot" -a -r "$build/lib/liballot_malloc.so"; then
        skip "all" "user nobody may not read the build folder"
        exit 0
    fi
else
    mkdir "$work/pg"
fi
export LC_ALL=C.UTF-8 TZ=UTC TMPDIR=$work/pg HOME=$work/pg
pg=$work/pg

run() {
    local seconds=$1
    shift
    rm -f "$pg/report.json"
    timeout -k 5 "$seconds" "${as_user[@]}" "$allot" run --json --output "$pg/report.json" -- "$@" >"$work/out" 2>"$work/err" </dev/null
    local status=$?
    cp "$pg/report.json" "$work/report.json" 2>/dev/null
    return $status
}

if run 90 initdb -D "$pg/data" -U tester -A trust --no-sync; then
    pass "initdb"
    holds "initdb: the table adds up" "$adds_up"
    holds "initdb: its postgres processes published theirs" "r['children']['processes'] >= 3"
else
    fail "initdb" "ended with $?" "$work/err"
    finish
fi

run 140 postgres -D "$pg/data" -k "$pg" -c listen_addresses= -c fsync=off -c shared_buffers=32MB -c max_connections=30 &
server=$!
sql() { "${as_user[@]}" psql -h "$pg" -U tester -d postgres -XAtq -c "$1"; }
until_true 30 sql 'select 1' || { fail "the server starts" "no answer" "$work/err"; kill "$server"; finish; }
pass "the server starts"
bench() { timeout 90 "${as_user[@]}" pgbench -h "$pg" -U tester "$@" postgres; }
check "pgbench -i" bench -i -q -s 2
check "pgbench, 6 clients" bench -c 6 -j 2 -T 5
check "pgbench, a connection for each transaction" bench -n -C -S -c 4 -t 40
check "a sort in 64 MB of work_mem" sql "set work_mem = '64MB'; select count(*) from (select md5(i::text) m from generate_series(1, 200000) i order by m) s"
result=$(sql "select sum(abalance) = (select sum(delta) from pgbench_history) from pgbench_accounts")
if [ "$result" = t ]; then pass "the balances are right"; else fail "the balances are right" "$result"; fi

kill -INT "$(head -n 1 "$pg/data/postmaster.pid")"
wait "$server"
status=$?
cp "$pg/report.json" "$work/report.json" 2>/dev/null # the run above was in a subshell of its own
if [ $status -eq 0 ]; then pass "shutdown"; else fail "shutdown" "status $status" "$work/err"; fi
if grep -E 'terminated by signal|PANIC' "$work/err"; then fail "no backend died" "see the log" "$work/err"; else pass "no backend died"; fi
holds "the table adds up" "$adds_up"
holds "the backends published theirs" "r['children']['processes'] >= 50"
finish
