// SPDX-License-Identifier: MIT
//
// fast_rseq: the fast path's sections, restarted by the kernel (x86-64).
//
// Idea.        Between the labels 101 and 102 there are loads, a branch out, and one store at the very end. If the thread is
//              interrupted in between, it goes on at 103, which begins anew at 104: what was loaded before is forgotten, and
//              nothing was stored that anybody reads. (put_block() also stores into the block, which is the caller's until
//              the last store.) So a handler that allocates, and a revoker after membarrier_all(), find the free list whole.
//              104 stores the address of the section's description (100) where the kernel looks for it.
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

static_assert(offsetof(sync::thread_state, active) == 0);
static_assert(offsetof(sync::thread_state, rseq_cs) == platform::own_rseq_cs);

// The description of a section, the way back for one that was interrupted (behind the mark that the kernel wants there), and the
// first instructions: the thread's block, and the description's address to where the kernel reads it.
#define ALLOT_SECTION_BEGIN                                                                                            \
    ".pushsection __rseq_cs, \"aw\"\n"                                                                                 \
    ".balign 32\n"                                                                                                     \
    "100: .long 0, 0\n"                                                                                                \
    ".quad 101f, 102f - 101f, 103f\n"                                                                                  \
    ".popsection\n"                                                                                                    \
    ".pushsection __rseq_failure, \"ax\"\n"                                                                            \
    ".byte 0x0f, 0xb9, 0x3d\n"                                                                                         \
    ".long 0x53053053\n"                                                                                               \
    "103: jmp 104f\n"                                                                                                  \
    ".popsection\n"                                                                                                    \
    "movq allot_tls@gottpoff(%%rip), %[tls]\n"                                                                         \
    "movq allot_rseq_cs_distance(%%rip), %[cs]\n"                                                                      \
    "104: leaq 100b(%%rip), %[word]\n"                                                                                 \
    "movq %[word], %%fs:(%[tls],%[cs])\n"                                                                              \
    "101:\n"

/// A block of the active slab, or null.
[[nodiscard]] ALLOT_INLINE void* take_block(std::uint32_t index) noexcept {
    void* block;
    slab* s;
    std::uint64_t word;
    std::uint64_t tls;
    std::uint64_t cs;
    __asm__ volatile goto(
        ALLOT_SECTION_BEGIN "movq %%fs:(%[tls]), %[slab]\n"        // the table of active slabs
                            "movq (%[slab],%[index],8), %[slab]\n" // the slab
                            "movq (%[slab]), %[block]\n"           // its free blocks
                            "shrq $16, %[block]\n"                 // without their count
                            "jz %l[none]\n"
                            "movq (%[block]), %[word]\n" // those behind the first
                            "movq %[word], (%[slab])\n"  // take it
                            "102:\n"
                            "incq %%fs:%c[allocations](%[tls])\n"
        : [block] "=&r"(block), [slab] "=&r"(s), [word] "=&r"(word), [tls] "=&r"(tls), [cs] "=&r"(cs)
        : [index] "r"(std::uint64_t{index}), [allocations] "i"(offsetof(sync::thread_state, allocations))
        : "memory", "cc"
        : none);
    if (block == nullptr)
        __builtin_unreachable(); // the flag of the shift, which the compiler does not know
    return block;
none:
    return nullptr;
}

/// Puts `block` back on the list of `s`, `length` long then, if this thread may. False if not.
[[nodiscard]] ALLOT_INLINE bool put_block(slab& s, void* block, std::uint64_t& length) noexcept {
    std::uint64_t word;
    std::uint64_t fresh;
    std::uint64_t tls;
    std::uint64_t cs;
    __asm__ volatile goto(ALLOT_SECTION_BEGIN "movl %c[owner](%[slab]), %k[word]\n"
                                              "cmpl %%fs:%c[id](%[tls]), %k[word]\n"
                                              "jne %l[refused]\n"
                                              "movq (%[slab]), %[word]\n"  // the free blocks
                                              "movq %[word], (%[block])\n" // are behind this one
                                              "movq %[block], %[fresh]\n"
                                              "shlq $16, %[fresh]\n"
                                              "incl %k[word]\n" // one more
                                              "movzwl %w[word], %k[word]\n"
                                              "orq %[word], %[fresh]\n"
                                              "movq %[fresh], (%[slab])\n" // put it there
                                              "102:\n"
                          : [word] "=&r"(word), [fresh] "=&r"(fresh), [tls] "=&r"(tls), [cs] "=&r"(cs)
                          : [slab] "r"(&s), [block] "r"(block), [owner] "i"(offsetof(slab, owner)),
                            [id] "i"(offsetof(sync::thread_state, fast_id))
                          : "memory", "cc"
                          : refused);
    length = word;
    return true;
refused:
    return false;
}

#undef ALLOT_SECTION_BEGIN

} // namespace allot::slab
