// SPDX-License-Identifier: MIT
//
// rseq: finding libc's area.
//
// Idea.        See rseq.hpp. libc's variables are weak here: a libc without them is one without areas.
// Concurrency. init: one thread.
#include "platform/rseq.hpp"

#include "platform/os.hpp"

#if ALLOT_RSEQ
#include <cstdlib>
#include <cstring>
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#pragma weak __rseq_offset
#pragma weak __rseq_size
#define ALLOT_LIBC_RSEQ 1
#else
#define ALLOT_LIBC_RSEQ 0
#endif

namespace allot::platform {

constinit rseq_place rseq_cs;

namespace {

bool assumed = false; // constant after init

bool is_wanted(const char* value) noexcept {
    const char* const wanted = ::secure_getenv("ALLOT_RSEQ"); // "assume" must not be anybody else's choice
    return wanted != nullptr && std::strcmp(wanted, value) == 0;
}

#if ALLOT_LIBC_RSEQ
const char* area_of_this_thread() noexcept {
    return static_cast<const char*>(__builtin_thread_pointer()) + __rseq_offset;
}
#endif

} // namespace

void rseq_init(const void* own_word) noexcept {
    // ALLOT_RSEQ=0 makes any machine one that has none. ALLOT_RSEQ=assume is for one thread without handlers under a tool that
    // counts instructions and knows no rseq.
    assumed = is_wanted("assume");
#if ALLOT_LIBC_RSEQ
    if (assumed || is_wanted("0") || &__rseq_offset == nullptr || &__rseq_size == nullptr || __rseq_size == 0 ||
        !membarrier_restarts_sections())
        return;
    rseq_cs.distance += area_of_this_thread() + offsetof(struct rseq, rseq_cs) - static_cast<const char*>(own_word);
#endif
}

bool rseq_works_here() noexcept {
    if (assumed)
        return true;
#if ALLOT_LIBC_RSEQ
    // Where rseq_init() found nothing, or was told to look away, sections write a word that the kernel never looks at.
    if (rseq_cs.distance == own_rseq_cs)
        return false;
    // libc leaves a negative number where the kernel took no area.
    std::int32_t cpu = 0;
    std::memcpy(&cpu, area_of_this_thread() + offsetof(struct rseq, cpu_id), sizeof cpu);
    return cpu >= 0;
#else
    return false;
#endif
}

} // namespace allot::platform
#else
namespace allot::platform {

bool rseq_works_here() noexcept { return false; }

} // namespace allot::platform
#endif
