// SPDX-License-Identifier: MIT
//
// charge: memory that comes from elsewhere (mapped files, a driver's buffers), counted as a group's.
//
// Idea.        The number travels with its owner in one object that cannot be copied, so charges and discharges cannot drift
//              apart. A group that closes hands its charges to its parent, and they are given back there.
// Concurrency. Different charges: any threads. One charge: one thread at a time.
// Checked by.  test/front/api_charge_test.cc
#pragma once

#include <allot/allot.h>
#include <allot/error.hpp>

#include <cstdint>
#include <utility>

namespace allot {

class group;

/// Bytes charged to a group until the charge dies. Made by group::try_charge and group::charge_for.
class [[nodiscard]] charge {
  public:
    /// Makes an empty charge, which holds nothing and is false.
    charge() noexcept = default;
    /// Takes over what `other` holds; `other` is empty then.
    charge(charge&& other) noexcept : raw_(std::exchange(other.raw_, {})) {}
    charge& operator=(charge&& other) noexcept {
        if (this != &other) {
            release();
            raw_ = std::exchange(other.raw_, {});
        }
        return *this;
    }
    /// Gives the bytes back to whoever owns them now. Context: task.
    ~charge() { release(); }

    /// Tells whether it holds a charge, also one of 0 bytes.
    [[nodiscard]] explicit operator bool() const noexcept { return raw_.owner != nullptr; }
    /// Returns what is charged. Units: bytes.
    [[nodiscard]] std::uint64_t bytes() const noexcept { return raw_.bytes; }

    /// Makes the charge larger or smaller.
    ///
    /// Errors:  limit_exceeded when larger; std::system_error(invalid_argument) for an empty charge. Then it is as it was.
    /// Context: task.
    void resize(std::uint64_t bytes) { detail::check(allot_charge_resize(&raw_, bytes), "allot: charge::resize"); }
    /// As resize; false where that throws.
    [[nodiscard]] bool try_resize(std::uint64_t bytes) noexcept { return allot_charge_resize(&raw_, bytes) == 0; }

    /// Splits `bytes` off into a charge of their own, of the same owner.
    ///
    /// Errors:  std::system_error(invalid_argument) if it holds less. Context: any.
    charge split(std::uint64_t bytes) {
        charge part;
        detail::check(allot_charge_split(&raw_, bytes, &part.raw_), "allot: charge::split");
        return part;
    }

    /// Moves the charge to `to`, whose limits hold as for a new one.
    ///
    /// Errors:  limit_exceeded; std::system_error(no_such_file_or_directory) if `to` is closed, (invalid_argument) if `to` or
    ///          the charge is empty. Then it stays where it was.
    /// Context: task.
    void transfer(const group& to);
    /// As transfer; false where that throws.
    [[nodiscard]] bool try_transfer(const group& to) noexcept;

    /// Gives the bytes back now and is empty then. Context: task.
    void release() noexcept {
        if (raw_.owner != nullptr)
            allot_uncharge(&raw_);
        raw_ = {};
    }

  private:
    friend class group;

    allot_charge raw_{};
};

} // namespace allot
