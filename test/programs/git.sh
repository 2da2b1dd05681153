#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# git BUILD_DIR: a repository of some hundred commits: clone, gc with threads, fsck, log and diff.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need git

export HOME=$work GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@example.org GIT_COMMITTER_NAME=t \
    GIT_COMMITTER_EMAIL=t@example.org GIT_PAGER=cat
python3 - >"$work/stream" <<'END'
import random
random.seed(3)
for n in range(1, 301):
    lines = "".join("%d %s\n" % (i, random.choice(["alpha", "beta", "gamma"])) for i in range(200))
    print("commit refs/heads/main\ncommitter t <t@example.org> %d +0000\ndata 8\nnumber\n\nM 100644 inline file%d\ndata %d\n%s"
          % (1700000000 + n, n % 40, len(lines), lines))
END
git init -q -b main "$work/source" && git -C "$work/source" fast-import --quiet <"$work/stream" || { fail "fast-import" "$?"; finish; }

run() {
    local name=$1
    shift
    if under 60 -- git "$@"; then
        pass "$name"
        holds "$name: the table adds up" "$adds_up"
    else
        fail "$name" "ended with $?" "$work/err"
    fi
}
run clone clone -q --no-hardlinks "file://$work/source" "$work/clone"
run gc -C "$work/clone" -c pack.threads=4 gc --aggressive --prune=now --quiet
run fsck -C "$work/clone" fsck --full --strict
run "log and diff" -C "$work/clone" log -p --stat -n 100
check "the history is the same" test "$(git -C "$work/clone" log --format=%H%T | sha256sum)" = "$(git -C "$work/source" log --format=%H%T main | sha256sum)"
finish
