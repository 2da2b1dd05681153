// SPDX-License-Identifier: MIT
//
// control: the library as a whole: recount it, print it, run its deferred work.
//
// Concurrency. All of it: any thread.
// Checked by.  test/front/api_control_test.cc
#pragma once

#include <allot/allot.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

namespace allot {

/// Runs all deferred work to a fixed point: removals, cache creations, grace periods. For tests and shutdown. Context: task.
inline void quiesce() noexcept { allot_quiesce(); }

/// Runs deferred work that is ready, for programs that run the library without its thread (ALLOT_THREADS=0).
///
/// Returns: the count of items run. Context: task.
inline std::size_t poll() noexcept { return allot_poll(); }

/// Gives unused pages back to the system now. Returns: bytes. Context: task.
inline std::uint64_t purge() noexcept { return allot_purge(); }

/// What a recount found; true if every counter agreed.
struct verify_report : allot_verify_report {
    [[nodiscard]] explicit operator bool() const noexcept { return agrees; }
    bool agrees = false;
};

/// Recounts every live block from the slabs and compares with every counter, to the byte.
///
/// Stops all threads of the library's memory paths briefly. Context: task.
[[nodiscard]] inline verify_report verify() noexcept {
    verify_report found{};
    found.agrees = allot_verify(&found) == 0;
    return found;
}

/// A table for people, or one JSON document.
enum class format { text = ALLOT_FORMAT_TEXT, json = ALLOT_FORMAT_JSON };

namespace detail {

/// Carries a writer through the C function, which exceptions must not cross; after one, the rest is dropped.
template <class Write> struct writer {
    static void call(const char* text, std::size_t size, void* data) noexcept {
        auto& self = *static_cast<writer*>(data);
        if (self.thrown)
            return;
        try {
            std::invoke(self.write, std::string_view{text, size});
        } catch (...) {
            self.thrown = std::current_exception();
        }
    }
    Write& write;
    std::exception_ptr thrown;
};

} // namespace detail

/// Writes a snapshot of all groups through `write(std::string_view)`, in pieces, with no lock held.
///
/// Errors:  what `write` throws; std::system_error if the library has no memory for the walk. Context: task.
template <class Write>
requires std::is_invocable_v<Write&, std::string_view>
void snapshot(format as, Write&& write) {
    detail::writer<std::remove_reference_t<Write>> writer{write, nullptr};
    const int error = allot_snapshot(static_cast<allot_format>(as), &writer.call, &writer);
    if (writer.thrown)
        std::rethrow_exception(std::move(writer.thrown));
    if (error != 0)
        throw std::system_error{-error, std::generic_category(), "allot: snapshot"};
}

/// Returns a snapshot of all groups as a string. Errors: std::bad_alloc, and as above. Context: task.
[[nodiscard]] inline std::string snapshot(format as = format::text) {
    std::string text;
    snapshot(as, [&text](std::string_view piece) { text.append(piece); });
    return text;
}

/// Returns the version of the library that runs, "0.1.0".
[[nodiscard]] inline const char* version() noexcept { return allot_version(); }

} // namespace allot
