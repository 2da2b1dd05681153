// SPDX-License-Identifier: MIT
//
// assert: prints a bug and stops the process.
//
// Idea.        The text is put together in a buffer on the stack and written with one write(2): no allocation, no locale,
//              no lock of libc.
// Concurrency. any thread, Context any.
#include "base/assert.hpp"

#include <atomic>
#include <cstdlib>
#include <unistd.h>

namespace allot::base {

namespace {

// Relaxed: set by one thread of a test before it provokes the bug.
std::atomic<void (*)(const char*)> bug_handler{nullptr};

class line {
  public:
    line& operator<<(const char* text) noexcept {
        while (text != nullptr && *text != '\0' && used_ + 1 < sizeof text_)
            text_[used_++] = *text++;
        text_[used_] = '\0';
        return *this;
    }
    line& number(std::uintptr_t value, unsigned radix) noexcept {
        char digits[24];
        std::size_t at = sizeof digits;
        digits[--at] = '\0';
        do {
            digits[--at] = "0123456789abcdef"[value % radix];
            value /= radix;
        } while (value != 0);
        return *this << digits + at;
    }
    line& stack(const char* title, void* const* frames, std::size_t count) noexcept {
        *this << title;
        for (std::size_t i = 0; i < count && frames[i] != nullptr; ++i) {
            *this << " 0x";
            number(reinterpret_cast<std::uintptr_t>(frames[i]), 16);
        }
        return *this;
    }
    const char* text() const noexcept { return text_; }
    [[noreturn]] void die() noexcept {
        if (auto* handler = bug_handler.load(std::memory_order_relaxed))
            handler(text_); // relaxed: see bug_handler
        *this << "\n";
        [[maybe_unused]] auto written = ::write(STDERR_FILENO, text_, used_);
        std::abort();
    }

  private:
    char text_[768];
    std::size_t used_ = 0;
};

} // namespace

void bug(const char* text, const char* file, int where) noexcept {
    line out;
    out << "allot: BUG: " << text << " (" << file << ":";
    out.number(static_cast<std::uintptr_t>(where), 10) << ")";
    out.die();
}

void bug_object(const char* text, const void* object, const char* group, const char* cache) noexcept {
    line out;
    out << "allot: BUG: " << text << ": address 0x";
    out.number(reinterpret_cast<std::uintptr_t>(object), 16) << ", group " << group << ", cache " << cache;
    out.die();
}

void bug_stacks(const char* text, const char* cache, void* const* destroyed_at, void* const* used_at,
                std::size_t count) noexcept {
    line out;
    out << "allot: BUG: " << text << ": cache " << cache;
    out.stack("; destroyed at", destroyed_at, count).stack("; used at", used_at, count);
    out.die();
}

void set_bug_handler(void (*handler)(const char* text)) noexcept {
    bug_handler.store(handler, std::memory_order_relaxed); // relaxed: see bug_handler
}

} // namespace allot::base
