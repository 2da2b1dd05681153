# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# needs: what each command of ./run needs from the system, and how apt installs what is missing.
#
# Hard needs must be there; without a soft need some tests are skipped and say so. A need is a Debian or Ubuntu package and a
# probe that finds it also where it did not come from apt. A system that has everything is never touched.

# PACKAGE PROBE: cmd:NAME is a program, header:PATH one below an include folder, file:GLOB any file.
probes="
g++                   cmd:g++
cmake                 cmd:cmake
ninja-build           cmd:ninja
liblua5.4-dev         header:lua5.4/lua.h
libcli11-dev          header:CLI/CLI.hpp
nlohmann-json3-dev    header:nlohmann/json.hpp
pkg-config            cmd:pkg-config
libgtest-dev          header:gtest/gtest.h
liburcu-dev           file:/usr/include/*/urcu/urcu-memb.h
valgrind              cmd:valgrind
clang                 cmd:clang++
clang-format          cmd:clang-format
python3               cmd:python3
libsqlite3-dev        header:sqlite3.h
sqlite3               cmd:sqlite3
redis-server          cmd:redis-server
redis-tools           cmd:redis-benchmark
nginx-light           cmd:nginx
apache2-utils         cmd:ab
postgresql            file:/usr/lib/postgresql/*/bin/initdb
postgresql-contrib    file:/usr/lib/postgresql/*/bin/pgbench
stress-ng             cmd:stress-ng
git                   cmd:git
perl                  cmd:perl
g++-aarch64-linux-gnu cmd:aarch64-linux-gnu-g++
qemu-user-static      cmd:qemu-aarch64-static
libjemalloc-dev       header:jemalloc/jemalloc.h
libmimalloc-dev       file:/usr/include/mimalloc*/mimalloc.h
libgoogle-perftools-dev header:gperftools/tcmalloc.h
libtbbmalloc2         file:/usr/lib/*/libtbbmalloc_proxy.so.2
gnuplot-nox           cmd:gnuplot
libboost-dev          header:boost/pool/pool.hpp
libtalloc-dev         header:talloc.h
libapr1-dev           header:apr-1*/apr_pools.h
lua5.4                cmd:lua5.4
"

hard_build="g++ cmake ninja-build"
hard_demo="$hard_build liblua5.4-dev libcli11-dev nlohmann-json3-dev"
soft_test="spin valgrind liblua5.4-dev libcli11-dev nlohmann-json3-dev pkg-config libgtest-dev liburcu-dev clang clang-format python3 libsqlite3-dev
    sqlite3 redis-server redis-tools nginx-light apache2-utils postgresql postgresql-contrib stress-ng git perl g++-aarch64-linux-gnu qemu-user-static"
soft_bench="libjemalloc-dev libmimalloc-dev libgoogle-perftools-dev libtbbmalloc2 gnuplot-nox libboost-dev libtalloc-dev libapr1-dev redis-server redis-tools
    sqlite3 python3 lua5.4"

apt_options=(-y --no-install-recommends -o DPkg::Lock::Timeout=300)

is_present() {
    local probe
    probe=$(awk -v package="$1" '$1 == package {print $2}' <<<"$probes")
    case $probe in
        cmd:*) command -v "${probe#cmd:}" >/dev/null ;;
        header:*) compgen -G "/usr/include/${probe#header:}" >/dev/null || compgen -G "/usr/local/include/${probe#header:}" >/dev/null ;;
        file:*) compgen -G "${probe#file:}" >/dev/null ;;
    esac
}

# Prints those of its arguments that are missing.
missing_of() {
    local package
    for package in "$@"; do
        is_present "$package" || echo "$package"
    done
}

# Says what is missing and how to install it; ends with status 3 if something hard is.
cannot_install() {
    local why=$1
    if [ ${#missing_hard[@]} -gt 0 ]; then
        echo "run: $why. Install what is needed as root, then try again:" >&2
        echo "    apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 3
    fi
    echo "run: $why; going on without. As root: apt-get install --no-install-recommends ${missing_soft[*]}" >&2
}

# Sets `as_root` to what stands before a command that needs root; false if there is no way.
find_root() {
    as_root=()
    [ "$(id -u)" -eq 0 ] && return
    command -v sudo >/dev/null || return
    sudo -n true 2>/dev/null || [ -t 0 ] || return
    as_root=(sudo)
}

apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get "${apt_options[@]}" "$@" >>"$apt_log" 2>&1
}

# Packages of servers start them when they are installed, unless policy-rc.d forbids it. The tests start their own, so we forbid
# it for as long as the installation runs, if the system has no policy of its own.
forbid_services() {
    policy=
    [ -e /usr/sbin/policy-rc.d ] && return
    policy=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null && "${as_root[@]}" chmod 755 $policy
}
allow_services() {
    [ -z "${policy:-}" ] || "${as_root[@]}" rm -f "$policy"
    policy=
}

# Installs the hard packages and those soft ones that the system's release has.
apt_install() {
    local package soft=() absent=()
    apt update || echo "run: apt-get update failed (see $apt_log); going on with the lists that are there" >&2
    for package in "${missing_soft[@]}"; do
        if apt-cache show "$package" >/dev/null 2>&1; then soft+=("$package"); else absent+=("$package"); fi
    done
    [ ${#absent[@]} -eq 0 ] || echo "run: this release has no package ${absent[*]}" >&2
    [ $((${#missing_hard[@]} + ${#soft[@]})) -gt 0 ] || return 0
    forbid_services
    apt install "${missing_hard[@]}" "${soft[@]}" || { [ ${#soft[@]} -gt 0 ] && [ ${#missing_hard[@]} -gt 0 ] && apt install "${missing_hard[@]}"; }
    local status=$?
    allow_services
    return $status
}

# install_needs "HARD..." "SOFT...": afterwards all hard needs are there, or the script has ended with status 3.
install_needs() {
    PATH=$PATH:/usr/sbin:/sbin
    # shellcheck disable=SC2086
    mapfile -t missing_hard < <(missing_of $1)
    # shellcheck disable=SC2086
    mapfile -t missing_soft < <(missing_of $2)
    missing=("${missing_hard[@]}" "${missing_soft[@]}")
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "${ALLOT_NO_APT:-0}" = 0 ] || { cannot_install "ALLOT_NO_APT is set and this is missing: ${missing[*]}" && return; }
    command -v apt-get >/dev/null || { cannot_install "this system has no apt-get" && return; }
    find_root || { cannot_install "not root, and no sudo" && return; }
    apt_log=$logs/apt.log
    : >"$apt_log"
    echo "run: installing with apt: ${missing[*]}" >&2
    if ! apt_install; then
        tail -n 15 "$apt_log" >&2
        # shellcheck disable=SC2086
        mapfile -t missing_hard < <(missing_of $1)
        cannot_install "apt-get install failed (the whole log is $apt_log)"
    fi
}
