#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# python BUILD_DIR: CPython with its objects in malloc; without PYTHONMALLOC it takes arenas by mmap, which no malloc sees.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

export PYTHONMALLOC=malloc
cat >"$work/work.py" <<'END'
import hashlib, json, multiprocessing, random, re, subprocess, sys, threading, zlib

random.seed(7)

def task(n):
    r = random.Random(n)
    tree = {str(k): [r.random() for _ in range(50)] for k in range(200)}
    text = json.dumps(tree, sort_keys=True)
    assert json.loads(text) == tree
    return hashlib.sha256(zlib.compress(text.encode())).hexdigest()

results = [task(n) for n in range(20)]
threads = []
from_threads = [None] * 8
def in_thread(n):
    from_threads[n] = task(n)
for n in range(8):
    threads.append(threading.Thread(target=in_thread, args=(n,)))
    threads[-1].start()
for t in threads:
    t.join()
assert from_threads == results[:8]
with multiprocessing.get_context("fork").Pool(3) as pool:
    assert pool.map(task, range(20)) == results
text = " ".join(results) * 20
words = sorted(re.findall(r"[0-9]+[a-f]", text))
print(hashlib.sha256("".join(words + results).encode()).hexdigest())
print(subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True).stdout.strip())
END
"$system_python" "$work/work.py" >"$work/expected"
if under 90 -- "$system_python" "$work/work.py" && cmp -s "$work/out" "$work/expected"; then
    pass "objects, threads, a pool of processes: the same result"
    holds "the table adds up" "$adds_up"
    holds "objects are counted" "p['total']['allocations'] > 100000"
    holds "the pool and the subprocess published theirs, though they end by _exit" "r['children']['processes'] >= 4"
else
    fail "objects, threads, a pool of processes" "ended with $?" "$work/err"
fi

cat >"$work/capped.py" <<'END'
import sys
def grow(kind):
    data = []
    count = 0
    try:
        while count < 3000000:  # enough for any of them
            data.append(kind(count))
            count += 1
    except MemoryError:
        data = None  # before anything that needs memory itself
        return count
    sys.exit("no MemoryError")
limit = int(sys.argv[1])
for kind, least in ((lambda n: bytearray(1 << 20 if n < 100 else 1), limit * 0.6 / (1 << 20)), (lambda n: "%d" % n * 10, 50000),
                    (lambda n: {n: [n]}, 20000)):
    for _ in range(2):
        count = grow(kind)
        assert count > least, (count, least)
print("goes on", sum(len(x) for x in [bytes(1000)] * 1000))
END
limit=$((48 * 1024 * 1024))
if under 60 --max 48M -- "$system_python" "$work/capped.py" $limit && grep -q "^goes on 1000000" "$work/out"; then
    pass "a capped script gets MemoryError and goes on"
    holds "the limit held" "g['/']['peak'] <= $limit and p['total']['failures'] >= 6"
    holds "capped: the table adds up" "$adds_up"
else
    fail "a capped script gets MemoryError and goes on" "ended with $?" "$work/err"
fi
finish
