// SPDX-License-Identifier: MIT
//
// memory: mmap and madvise behind the names of memory.hpp.
//
// Idea.        Reservations are PROT_NONE and MAP_NORESERVE, so they cost address space only; commit is mprotect, which
//              merges with the committed range before it.
// Concurrency. any thread; the failure injection is relaxed counters. All relaxed: the injection is for tests of one thread.
#include "platform/memory.hpp"

#include "platform/os.hpp"

#include <atomic>
#include <sys/mman.h>
#include <sys/resource.h>

namespace allot::platform {

namespace {

#if ALLOT_DEBUG
std::atomic<std::uint64_t> calls_seen{0};
std::atomic<std::uint64_t> fail_at{0};
std::atomic<bool> fail_sticky{false};

bool injected_failure() noexcept {
    const std::uint64_t seen = calls_seen.fetch_add(1, std::memory_order_relaxed) + 1;
    const std::uint64_t at = fail_at.load(std::memory_order_relaxed);
    return at != 0 && (seen == at || (seen > at && fail_sticky.load(std::memory_order_relaxed)));
}
#else
constexpr bool injected_failure() noexcept { return false; }
#endif

} // namespace

#if ALLOT_DEBUG
std::uint64_t fail_nth_map(std::uint64_t nth, bool sticky) noexcept {
    fail_at.store(0, std::memory_order_relaxed);
    fail_sticky.store(sticky, std::memory_order_relaxed);
    const std::uint64_t seen = calls_seen.exchange(0, std::memory_order_relaxed);
    fail_at.store(nth, std::memory_order_relaxed);
    return seen;
}
#endif

void* reserve(std::size_t bytes, std::size_t alignment) noexcept {
    if (injected_failure())
        return nullptr;
    const std::size_t wanted = bytes + alignment;
    void* const raw = ::mmap(nullptr, wanted, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED)
        return nullptr;
    const auto begin = reinterpret_cast<std::uintptr_t>(raw);
    const auto start = static_cast<std::uintptr_t>(round_up(begin, alignment));
    if (start != begin)
        ::munmap(raw, start - begin);
    if (const std::size_t tail = begin + wanted - (start + bytes); tail != 0)
        ::munmap(reinterpret_cast<void*>(start + bytes), tail);
    return reinterpret_cast<void*>(start);
}

bool commit(void* start, std::size_t bytes) noexcept {
    return !injected_failure() && ::mprotect(start, bytes, PROT_READ | PROT_WRITE) == 0;
}

bool discard(void* start, std::size_t bytes) noexcept { return ::madvise(start, bytes, MADV_DONTNEED) == 0; }

void populate(void* start, std::size_t bytes) noexcept {
#ifdef MADV_POPULATE_WRITE // Linux 5.14
    errno_guard keep;
    ::madvise(start, bytes, MADV_POPULATE_WRITE);
#else
    static_cast<void>(start);
    static_cast<void>(bytes);
#endif
}

void* map(std::size_t bytes) noexcept {
    if (injected_failure())
        return nullptr;
    void* const start =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return start == MAP_FAILED ? nullptr : start;
}

std::uint64_t address_space_limit() noexcept {
    rlimit limit{};
    return ::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? limit.rlim_cur : UINT64_MAX;
}

void unmap(void* start, std::size_t bytes) noexcept { ::munmap(start, bytes); }

} // namespace allot::platform
