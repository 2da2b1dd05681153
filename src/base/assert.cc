// SPDX-License-Identifier: MIT
//
// assert: prints a bug and stops the process.
//
// Idea.        The text is put together on the stack (text_line.hpp) and written with write(2).
// Concurrency. any thread, Context any.
#include "base/assert.hpp"

#include "base/text_line.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <unistd.h>

namespace allot::base {

namespace {

// Relaxed: set by one thread of a test before it provokes the bug.
std::atomic<void (*)(const char*)> bug_handler{nullptr};

using line = text_line;

line& add_stack(line& out, const char* title, void* const* frames, std::size_t count) noexcept {
    out << title;
    for (std::size_t i = 0; i < count && frames[i] != nullptr; ++i) {
        out << " 0x";
        out.number(reinterpret_cast<std::uintptr_t>(frames[i]), 16);
    }
    return out;
}

[[noreturn]] void die(const line& out) noexcept {
    if (auto* handler = bug_handler.load(std::memory_order_relaxed)) // relaxed: see bug_handler
        handler(out.text());
    for (const char* part : {out.text(), "\n"}) {
        [[maybe_unused]] const auto written = ::write(STDERR_FILENO, part, std::strlen(part));
    }
    std::abort();
}

} // namespace

void bug(const char* text, const char* file, int where) noexcept {
    line out;
    out << "allot: BUG: " << text << " (" << file << ":";
    out.number(static_cast<std::uintptr_t>(where), 10) << ")";
    die(out);
}

void bug_object(const char* text, const void* object, const char* group, const char* cache) noexcept {
    line out;
    out << "allot: BUG: " << text << ": address 0x";
    out.number(reinterpret_cast<std::uintptr_t>(object), 16) << ", group " << group << ", cache " << cache;
    die(out);
}

void bug_stacks(const char* text, const char* cache, void* const* destroyed_at, void* const* used_at,
                std::size_t count) noexcept {
    line out;
    out << "allot: BUG: " << text << ": cache " << cache;
    add_stack(out, "; destroyed at", destroyed_at, count);
    add_stack(out, "; used at", used_at, count);
    die(out);
}

void set_bug_handler(void (*handler)(const char* text)) noexcept {
    bug_handler.store(handler, std::memory_order_relaxed); // relaxed: see bug_handler
}

} // namespace allot::base
