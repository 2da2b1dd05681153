#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# group_by BUILD_DIR: groups by thread name and by calling library, without rules.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# between GROUP MIB: the group's share is what its threads took, and a quarter for what comes with it.
between() { echo "$2 * 1e6 < g['$1']['own'] < $2 * 1.3e6 + 2e5"; }

if under 20 --group-by thread -- "$own/program_thread_names"; then
    pass "thread_names"
    holds "a thread that names itself" "$(between /names 3)"
    holds "by prctl, and numbers are cut" "$(between /byprctl 2)"
    holds "named by another thread" "$(between /byother 4)"
    holds "an inherited name" "$(between /heir 1)"
    holds "the first thread goes under the program's name" "$(between /program_thread_ 6)"
    holds "by thread: the table adds up" "$adds_up"
else
    fail "thread_names" "ended with $?" "$work/err"
fi

if under 20 --group-by library --max 64M -- "$own/program_loader_uses" "$own" $((64 * 1024 * 1024)); then
    fail "loader_uses without rules" "the limit of the whole should have stopped it"
else
    holds "by library: the one that took it all" "g['/libeater.so']['current'] > 60e6"
fi
cat >"$work/rules" <<'END'
library libeater.so -> eater { max=8M }
END
if under 20 --group-by library --rules "$work/rules" -- "$own/program_loader_uses" "$own" $((8 * 1024 * 1024)); then
    pass "a rule and groups by library go together"
    holds "the rule comes first" "7e6 < g['/eater']['own'] <= 8 * 1024 * 1024 and '/libeater.so' not in g"
    holds "the program itself is a group" "8e6 < g['/program_loader_uses']['own'] < 10e6"
    holds "by library: the table adds up" "$adds_up"
else
    fail "a rule and groups by library go together" "ended with $?" "$work/err"
fi

under 20 --group-by none -- "$own/program_thread_names"
holds "none: there is only the root" "list(g) == ['/'] and 15e6 < g['/']['own'] < 22e6"
finish
