// SPDX-License-Identifier: MIT
//
// compiler: attributes, branch hints and clang's thread-safety annotations, by our names.
//
// Idea.        One place that knows which compiler it is; the code below says what it means.
// Concurrency. none.
#pragma once

#include <cstddef>
#include <cstdint>

#define ALLOT_COLD [[gnu::cold, gnu::noinline]]
#define ALLOT_INLINE [[gnu::always_inline]] inline

#if defined(__clang__)
#define ALLOT_TSA(attribute) __attribute__((attribute))
#else
#define ALLOT_TSA(attribute)
#endif
#define ALLOT_CAPABILITY(name) ALLOT_TSA(capability(name))
#define ALLOT_SCOPED_CAPABILITY ALLOT_TSA(scoped_lockable)
#define ALLOT_GUARDED_BY(lock) ALLOT_TSA(guarded_by(lock))
#define ALLOT_REQUIRES(...) ALLOT_TSA(requires_capability(__VA_ARGS__))
#define ALLOT_ACQUIRE(...) ALLOT_TSA(acquire_capability(__VA_ARGS__))
#define ALLOT_TRY_ACQUIRE(...) ALLOT_TSA(try_acquire_capability(__VA_ARGS__))
#define ALLOT_RELEASE(...) ALLOT_TSA(release_capability(__VA_ARGS__))
#define ALLOT_EXCLUDES(...) ALLOT_TSA(locks_excluded(__VA_ARGS__))
#define ALLOT_NO_TSA ALLOT_TSA(no_thread_safety_analysis)

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define ALLOT_TSAN 1
#else
#define ALLOT_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define ALLOT_ASAN 1
#else
#define ALLOT_ASAN 0
#endif

#ifndef ALLOT_DEBUG
#define ALLOT_DEBUG 0
#endif

namespace allot {

/// Tells the CPU that this thread spins. Context: any.
ALLOT_INLINE void cpu_relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/// Keeps the compiler from moving memory accesses across this line; the CPU may. Context: any.
ALLOT_INLINE void compiler_barrier() noexcept { __asm__ volatile("" ::: "memory"); }

inline constexpr std::size_t cache_line_bytes = 64;
inline constexpr std::size_t page_shift = 12;
inline constexpr std::size_t page_bytes = std::size_t{1} << page_shift;

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t power_of_two) noexcept {
    return (value + power_of_two - 1) & ~(power_of_two - 1);
}
constexpr bool is_power_of_two(std::uint64_t value) noexcept { return value != 0 && (value & (value - 1)) == 0; }

} // namespace allot
