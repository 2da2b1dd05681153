#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# perl BUILD_DIR: hashes, strings, regular expressions, fork and interpreter threads; capped, it says so and ends.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need perl

cat >"$work/work.pl" <<'END'
use strict; use warnings;
my %count; my $seed = 42;
sub rnd { $seed = ($seed * 1103515245 + 12345) % 2147483648; return $seed }
for my $i (1 .. 60000) { my $k = join "", map { chr(97 + (rnd() >> 8) % 26) } 1 .. 3; push @{$count{$k}}, $i; }
my @top = (sort { @{$count{$b}} <=> @{$count{$a}} || $a cmp $b } keys %count)[0 .. 9];
my $text = join " ", map { "$_=" . scalar @{$count{$_}} } @top;
(my $changed = $text x 2000) =~ s/([a-z])=/uc($1)."#"/ge;
print "$text\n", length($changed), " ", unpack("%32C*", $changed), "\n";
for my $n (1 .. 5) { my $pid = fork; if (!$pid) { my @x = map { "y" x $_ } 1 .. 2000; exit(@x == 2000 ? 0 : 1) } waitpid $pid, 0; die "child $?" if $?; }
if (eval { require threads }) { my @t = map { my $n = $_; threads->create(sub { my %h = map { $_ => "z" x $n } 1 .. 5000; scalar keys %h }) } 1 .. 4; print join(",", map { $_->join } @t), "\n"; }
END
perl "$work/work.pl" >"$work/expected"
if under 60 -- perl "$work/work.pl" && cmp -s "$work/out" "$work/expected"; then
    pass "the same result"
    holds "the table adds up" "$adds_up"
    holds "forked children published theirs" "r['children']['processes'] == 5"
else
    fail "the same result" "ended with $?" "$work/err"
fi

under 30 --max 32M -- perl -e 'my @x; push @x, "x" x 1000 for 1 .. 200000'
status=$?
if [ $status -eq 1 ] && grep -q '^Out of memory' "$work/err"; then
    pass "capped, it says: $(head -n 1 "$work/err")"
else
    fail "capped, it says so and ends with 1" "status $status" "$work/err"
fi
finish
