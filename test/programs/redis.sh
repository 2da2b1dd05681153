#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# redis BUILD_DIR: redis-server under redis-benchmark, with snapshots by fork meanwhile.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need redis-server redis-cli redis-benchmark

port=$(free_port)
cli() { redis-cli -p "$port" "$@" 2>&1; }

timeout -k 5 120 "$allot" run --json --output "$work/report.json" -- redis-server --port "$port" --bind 127.0.0.1 --save "" \
    --dir "$work" --dbfilename dump.rdb --activedefrag no >"$work/out" 2>"$work/err" </dev/null &
server=$!
background+=("$server")
until_true 20 cli ping || { fail "redis-server starts" "no answer on its port" "$work/out"; finish; }
pass "redis-server starts"

bench() { redis-benchmark -p "$port" -q -c 20 -P 8 "$@" >"$work/bench" 2>&1 && ! grep -qi error "$work/bench"; }
check "redis-benchmark: set, get, lpush, sadd, hset, zadd, lrange" \
    bench -n 40000 -r 10000 -d 200 -t set,get,incr,lpush,rpop,sadd,hset,zadd,lrange_100
cli debug populate 50000 key 300 >/dev/null
cli set witness "a value that the snapshot must hold" >/dev/null

saved() { [ "$(cli info persistence | tr -d '\r' | sed -n 's/^rdb_bgsave_in_progress://p')" = 0 ]; }
for round in 1 2 3; do
    cli bgsave >/dev/null
    bench -n 10000 -r 1000 -t set,get
    until_true 30 saved
    state=$(cli info persistence | tr -d '\r' | sed -n 's/^rdb_last_bgsave_status://p')
    if [ "$state" = ok ]; then pass "BGSAVE $round under load"; else fail "BGSAVE $round under load" "$state" "$work/out"; fi
done
cli flushall >/dev/null
cli debug reload >/dev/null
cli memory purge >/dev/null
cli shutdown nosave >/dev/null
wait "$server"
status=$?
if [ $status -eq 0 ]; then pass "shutdown"; else fail "shutdown" "status $status" "$work/out"; fi
holds "the table adds up" "$adds_up"
holds "the data was in it" "g['/']['peak'] > 20e6"
holds "each BGSAVE was a child that published its figures" "r['children']['processes'] >= 3"
finish
