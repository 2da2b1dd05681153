// SPDX-License-Identifier: MIT
//
// scope: whose memory this thread allocates.
//
// Idea.        A thread has one current group. A scope swaps it and swaps it back, so scopes nest like blocks; a new thread
//              begins in its default group and inherits nothing, which is what bind() is for.
// Concurrency. A scope belongs to the thread that made it. bound<F>: as F.
// Checked by.  test/front/api_scope_test.cc
#pragma once

#include <allot/allot.h>
#include <allot/error.hpp>
#include <allot/group.hpp>

#include <cerrno>
#include <functional>
#include <type_traits>
#include <utility>

namespace allot {

/// Makes a group current on this thread from here to the end of the block: `allot::scope in{q};`
///
/// Scopes end in reverse order on the thread that entered them. The scope keeps the group alive; if the group is closed
/// meanwhile, the thread charges the nearest open ancestor.
/// Errors:  std::system_error(invalid_argument) for an empty handle: memory never goes to a group that nobody named.
/// Context: task; a signal handler may not enter one, and a coroutine may not suspend in one.
class [[nodiscard]] scope {
  public:
    [[nodiscard]] explicit scope(const group& entered) {
        if (!entered) [[unlikely]]
            detail::throw_error(-EINVAL, "allot: scope");
        allot_enter(entered.get(), &raw_);
    }
    scope(const scope&) = delete;
    scope& operator=(const scope&) = delete;
    ~scope() { allot_leave(&raw_); }

  private:
    allot_scope raw_;
};

/// Sets the group of this thread outside all scopes; the root until then.
///
/// Errors: std::system_error: device_or_resource_busy inside a scope, invalid_argument for an empty handle. Context: task.
inline void set_thread_group(const group& home) {
    detail::check(home ? allot_thread_set_group(home.get()) : -EINVAL, "allot: set_thread_group");
}

/// A callable that runs another one under a scope; made by bind().
template <class F> class bound {
  public:
    bound(group under, F f) : group_(std::move(under)), f_(std::move(f)) {
        if (!group_) [[unlikely]]
            detail::throw_error(-EINVAL, "allot: bind");
    }

    template <class... Args>
    requires std::is_invocable_v<F&, Args...>
    decltype(auto) operator()(Args&&... args) & {
        const scope in{group_};
        return std::invoke(f_, std::forward<Args>(args)...);
    }
    template <class... Args>
    requires std::is_invocable_v<const F&, Args...>
    decltype(auto) operator()(Args&&... args) const& {
        const scope in{group_};
        return std::invoke(f_, std::forward<Args>(args)...);
    }
    template <class... Args>
    requires std::is_invocable_v<F, Args...>
    decltype(auto) operator()(Args&&... args) && {
        const scope in{group_};
        return std::invoke(std::move(f_), std::forward<Args>(args)...);
    }

  private:
    group group_;
    F f_;
};

/// Returns a callable that runs `f` with `under` as the current group, on whichever thread calls it.
///
/// `f` itself is copied or moved by the caller, in the caller's group.
/// Errors: std::system_error(invalid_argument) for an empty handle.
template <class F> [[nodiscard]] bound<std::decay_t<F>> bind(group under, F&& f) {
    return {std::move(under), std::forward<F>(f)};
}

/// As above, with the group that is current now: a task handed to a pool is charged to whom it was asked for.
template <class F>
requires(!std::is_convertible_v<F&&, group>) [[nodiscard]] bound<std::decay_t<F>> bind(F&& f) {
    return {current(), std::forward<F>(f)};
}

} // namespace allot
