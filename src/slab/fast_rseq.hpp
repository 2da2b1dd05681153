// SPDX-License-Identifier: MIT
//
// fast_rseq: the fast path's sections, restarted by the kernel (x86-64).
//
// Idea.        Between the labels 101 and 102 there are loads, branches out, and one store at the very end. If the thread is
//              interrupted in between, it goes on at 103, which leads to the slow path: what was loaded is forgotten, and
//              nothing was stored that anybody reads. (put_block() also stores into the block, which is the caller's until
//              the last store.) So a handler that allocates, and a revoker after membarrier_all(), find the bin whole.
//              Before 101 the address of the section's description (100) is stored where the kernel looks for it.
//              A bin is addressed by one register: then the processor hands what one call stored to the next call's load
//              without waiting (a pair takes 3.5 ns so, and 10.5 with base and index).
// Invariants.  fast_path.hpp I1.
//              I2  The last instruction of a section is its only store to shared data.
// Concurrency. the calling thread; Context any.
// Checked by.  test/slab/restart_test.cc, test/slab/signal_test.cc, verify/spin/revoke.pml, bench/golden
// Source.      rseq(2); docs/design.md "The fast path".
#pragma once

#include "platform/rseq.hpp"
#include "slab/heap.hpp"

#include <cstddef>

namespace allot::slab {

static_assert(offsetof(sync::thread_state, bins) == 0);
static_assert(offsetof(sync::thread_state, rseq_cs) == platform::own_rseq_cs);
static_assert(offsetof(bin, free) == 0);
static_assert(offsetof(page_tag, bin_offset) == 4 && sizeof(page_tag) == 8);

// The description of a section, the way out for one that was interrupted (behind the mark that the kernel wants there), and the
// first instructions: the thread's block, and the description's address to where the kernel reads it.
#define ALLOT_SECTION_BEGIN(interrupted)                                                                               \
    ".pushsection __rseq_cs, \"aw\"\n"                                                                                 \
    ".balign 32\n"                                                                                                     \
    "100: .long 0, 0\n"                                                                                                \
    ".quad 101f, 102f - 101f, 103f\n"                                                                                  \
    ".popsection\n"                                                                                                    \
    ".pushsection __rseq_failure, \"ax\"\n"                                                                            \
    ".byte 0x0f, 0xb9, 0x3d\n"                                                                                         \
    ".long 0x53053053\n"                                                                                               \
    "103: jmp %l[" interrupted "]\n"                                                                                   \
    ".popsection\n"                                                                                                    \
    "movq allot_tls@gottpoff(%%rip), %[tls]\n"                                                                         \
    "movq allot_rseq_cs_distance(%%rip), %[cs]\n"                                                                      \
    "leaq 100b(%%rip), %[word]\n"                                                                                      \
    "movq %[word], %%fs:(%[tls],%[cs])\n"                                                                              \
    "101:\n"

/// The tag of the block's page. False for an address that is not ours. The compiler would keep the addresses of the arena and of the
/// tag in registers, two instructions more.
[[nodiscard]] ALLOT_INLINE bool find_tag(const void* block, page_tag& tag) noexcept {
    std::uint64_t page;
    std::uint64_t tags;
    std::uint32_t offset;
    __asm__ volatile goto(
        "movq %[block], %[page]\n"
        "subq allot_arena+%c[base](%%rip), %[page]\n"
        "cmpq allot_arena+%c[bytes](%%rip), %[page]\n"
        "jae %l[foreign]\n"
        "movq allot_arena+%c[all](%%rip), %[tags]\n"
        "shrq %[shift], %[page]\n"
        "movl 4(%[tags],%[page],8), %[bin]\n"
        "movl (%[tags],%[page],8), %k[tags]\n"
        : [page] "=&r"(page), [tags] "=&r"(tags), [bin] "=r"(offset)
        : [block] "r"(block), [base] "i"(offsetof(arena_map, base)), [bytes] "i"(offsetof(arena_map, bytes)),
          [all] "i"(offsetof(arena_map, tags)), [shift] "i"(page_shift)
        : "memory", "cc"
        : foreign);
    tag = {static_cast<std::uint32_t>(tags), offset};
    return true;
foreign:
    return false;
}

/// A block of the bin at this offset, or null.
[[nodiscard]] ALLOT_INLINE void* take_block(std::uint64_t offset) noexcept {
    void* block;
    std::uint64_t word;
    std::uint64_t tls;
    std::uint64_t cs;
    __asm__ volatile goto(
        ALLOT_SECTION_BEGIN("none") "addq %%fs:(%[tls]), %[bin]\n" // the bin
                                    "movq (%[bin]), %[block]\n"    // the free blocks
                                    "shrq $16, %[block]\n"         // without their count
                                    "jz %l[none]\n"
                                    "movq (%[block]), %[word]\n" // those behind the first
                                    "movq %[word], (%[bin])\n"   // take it
                                    "102:\n"
                                    "incq %%fs:%c[allocations](%[tls])\n"
        : [block] "=&a"(block), [bin] "+&r"(offset), [word] "=&r"(word), [tls] "=&r"(tls), [cs] "=&r"(cs)
        : [allocations] "i"(offsetof(sync::thread_state, allocations))
        : "memory", "cc"
        : none);
    if (block == nullptr)
        __builtin_unreachable(); // the flag of the shift, which the compiler does not know
    return block;
none:
    return nullptr;
}

/// Puts `block`, whose page has `tag`, into its bin, if the thread's current heap has one for it with room. False if not.
[[nodiscard]] ALLOT_INLINE bool put_block(page_tag tag, void* block) noexcept {
    std::uint32_t place = tag.bin_offset;
    std::uint64_t word;
    std::uint64_t fresh;
    std::uint64_t tls;
    std::uint64_t cs;
    __asm__ volatile goto(
        ALLOT_SECTION_BEGIN("refused") "andl %%fs:%c[mask](%[tls]), %k[bin]\n"
                                       "addq %%fs:(%[tls]), %q[bin]\n" // the bin
                                       "cmpl %c[bin_tag](%q[bin]), %[tag]\n"
                                       "jne %l[refused]\n"
                                       "movq (%q[bin]), %[word]\n" // the free blocks
                                       "cmpw %c[bin_max](%q[bin]), %w[word]\n"
                                       "jae %l[refused]\n"
                                       "movq %[word], (%[block])\n" // are behind this one
                                       "movzwl %w[word], %k[word]\n"
                                       "movq %[block], %[fresh]\n"
                                       "shlq $16, %[fresh]\n"
                                       "leaq 1(%[fresh],%[word]), %[fresh]\n" // one more
                                       "movq %[fresh], (%q[bin])\n"           // put it there
                                       "102:\n"
        : [word] "=&r"(word), [fresh] "=&r"(fresh), [bin] "+&r"(place), [tls] "=&r"(tls), [cs] "=&r"(cs)
        : [tag] "r"(tag.value), [block] "r"(block), [bin_tag] "i"(offsetof(bin, tag)),
          [bin_max] "i"(offsetof(bin, max)), [mask] "i"(offsetof(sync::thread_state, bin_mask))
        : "memory", "cc"
        : refused);
    return true;
refused:
    return false;
}

#undef ALLOT_SECTION_BEGIN

} // namespace allot::slab
