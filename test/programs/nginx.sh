#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# nginx BUILD_DIR: nginx with two workers under ab, reloaded meanwhile.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need nginx ab

port=$(free_port)
mkdir -p "$work/html" "$work/tmp"
chmod 777 "$work/tmp"
head -c 20000 /dev/zero | tr '\0' 'n' >"$work/html/index.html"
cat >"$work/nginx.conf" <<END
daemon off;
worker_processes 2;
pid $work/nginx.pid;
error_log $work/error.log;
events { worker_connections 256; }
http {
    access_log off;
    gzip on;
    gzip_types text/plain;
    client_body_temp_path $work/tmp/body;
    proxy_temp_path $work/tmp/proxy;
    fastcgi_temp_path $work/tmp/fastcgi;
    uwsgi_temp_path $work/tmp/uwsgi;
    scgi_temp_path $work/tmp/scgi;
    server {
        listen 127.0.0.1:$port;
        root $work/html;
        location /proxied { proxy_pass http://127.0.0.1:$port/index.html; }
    }
}
END

timeout -k 5 120 "$allot" run --json --output "$work/report.json" -- nginx -e "$work/error.log" -p "$work" -c "$work/nginx.conf" \
    >"$work/out" 2>"$work/err" </dev/null &
server=$!
background+=("$server")
load() {
    ab -q -n "$1" -c 20 -H 'Accept-Encoding: gzip' "http://127.0.0.1:$port/${2:-}" >"$work/ab" 2>&1 &&
        grep -q '^Failed requests: *0$' "$work/ab" && ! grep -q 'Non-2xx' "$work/ab"
}
until_true 20 ab -n 1 "http://127.0.0.1:$port/" || { fail "nginx starts" "no answer on its port" "$work/error.log"; finish; }
pass "nginx starts"
check "5000 requests" load 5000
check "2000 requests through a proxy" load 2000 proxied
for round in 1 2 3; do
    kill -HUP "$(cat "$work/nginx.pid")"
    check "2000 requests during reload $round" load 2000
done
kill -QUIT "$(cat "$work/nginx.pid")"
wait "$server"
status=$?
if [ $status -eq 0 ]; then pass "quit"; else fail "quit" "status $status" "$work/error.log"; fi
if grep -E 'signal (6|11)|alert|emerg' "$work/error.log"; then fail "no worker died" "see error.log" "$work/error.log"; else pass "no worker died"; fi
holds "the table adds up" "$adds_up"
holds "the workers published theirs" "r['children']['processes'] == 8"
finish
