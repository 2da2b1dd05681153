# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034
#
# aarch64: the stage that compiles for 64-bit Arm with Debian's cross compiler and runs the tests under qemu-user.
#
# The emulator is the static one: the other aborts in a forked child that starts threads. It keeps an entry for every page that a
# program reserves, some gigabytes for an arena of 1 TiB, so programs get an address space of 32 GiB, in which the library takes
# a smaller arena by itself. membarrier goes through to the kernel, so the fast path is open; rseq does not.

aarch64_emulator=(qemu-aarch64-static -R 0x800000000 -L /usr/aarch64-linux-gnu) # cmake/aarch64.cmake has the same
aarch64_needs="g++-aarch64-linux-gnu qemu-user-static libgtest-dev"

# CASE REASON: what is not run, and why.
aarch64_left_out="
assert.a_bug_aborts_after_a_line_that_says_what_and_where         the emulator adds a line about the signal
assert.a_bug_about_an_object_names_address_group_and_cache        as above
memory.map_backs_nothing_until_it_is_touched                      maps more than the address space that is left
memory.reserve_is_aligned_as_asked_and_leaves_nothing_around_it   mincore fails for the emulator's own reservation
memory.commit_of_what_is_not_mapped_fails                         to the host all of the 32 GiB is mapped
rseq.is_off_where_the_program_says_so                             starts itself again, which an emulated program cannot
rseq.is_off_where_libc_registers_no_areas                         as above
rseq.is_off_without_the_barrier_that_restarts_sections            as above
arena_of_blocks.what_is_not_committed_is_not_accessible           mincore, as above
account_tree.shares_add_up_after_random_work_of_many_threads      wants to meet a limit within 200 ms of random work
fork_into_child.threads_that_create_and_close_groups              a storm of forks, at 10 ms and more each
fork_into_child.threads_that_create_and_destroy_caches            as above
fork_into_child.no_slab_is_lost_when_threads_free_each_others_blocks as above
"

aarch64_unit_tests() {
    local layer
    left_out=$(awk 'NF {printf "%s:", $1}' <<<"$aarch64_left_out")
    while read -r layer; do
        run_layer aarch64 "$layer"
    done <build/aarch64/test/layers.txt
    for layer in sync slab; do # with the fences that stand in for membarrier
        run_layer aarch64 "$layer" ALLOT_MEMBARRIER=0
    done
    left_out=
}

# A program with --no-membarrier starts itself again without, which an emulated one cannot: so it is started without.
aarch64_torture() {
    local all=$torture_modes torture_modes
    torture_modes=$(grep -v -- --no-membarrier <<<"$all")
    run_torture_modes aarch64 2
    torture_modes=$(grep -- --no-membarrier <<<"$all")
    launcher=(env ALLOT_MEMBARRIER=0 "${aarch64_emulator[@]}")
    run_torture_modes aarch64 2
}

stage_aarch64() {
    local absent
    # shellcheck disable=SC2086
    absent=$(missing_of $aarch64_needs | xargs)
    if [ -n "$absent" ]; then
        skip "aarch64: this is missing: $absent"
        return
    fi
    check_build aarch64 || return
    launcher=("${aarch64_emulator[@]}")
    aarch64_unit_tests
    run_programs aarch64 c_
    aarch64_torture
    launcher=()
    run_script "aarch64 binary" 60 scripts/check_binary build/aarch64
}
