// SPDX-License-Identifier: MIT
//
// group: the handle of a memory group, and what can be asked of it.
//
// Idea.        A handle is a counted reference: as long as one exists the group's memory does, closed or not, so nothing here
//              dangles. Handles never close a group; close() and unique_group do.
// Invariants.  I1  `group_` is null (an empty handle: default-constructed or moved from) or holds one reference.
// Concurrency. Different handles, also of one group: any threads. One handle: as any value, one writer or many readers.
// Errors.      An empty handle gives std::system_error(invalid_argument) where a member may throw; elsewhere it behaves as
//              each comment says, and as a closed group without figures where it says nothing.
// Checked by.  test/front/api_group_test.cc, test/front/api_limits_test.cc
#pragma once

#include <allot/allot.h>
#include <allot/bytes.hpp>
#include <allot/charge.hpp>
#include <allot/error.hpp>
#include <allot/memory.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <memory_resource>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace allot {

/// Limits and protection of a group, for designated initialisers: `{.low = 64_MiB, .max = 4_GiB}`. Units: bytes.
struct limits {
    std::uint64_t min = keep;  ///< protection that reclaim respects always
    std::uint64_t low = keep;  ///< protection that reclaim respects while it can
    std::uint64_t high = keep; ///< above it, `high` events are counted, and it is reclaimed first at the root's limit
    std::uint64_t max = keep;  ///< above it, allocations fail

    friend bool operator==(const limits&, const limits&) = default;
};

/// Figures of a group; allot.h says what each field counts.
using stat = allot_stat;
/// What was charged to a group and its subtree when it closed.
using report = allot_report;

/// Says that a group's blocks go with it: `request.close(allot::discard)`.
struct discard_t {
    explicit discard_t() = default;
};
inline constexpr discard_t discard{};

/// A counted handle of a memory group.
class group {
  public:
    /// Makes an empty handle.
    group() noexcept = default;
    group(const group& other) noexcept : group_(reference(other.group_)) {}
    group(group&& other) noexcept : group_(std::exchange(other.group_, nullptr)) {}
    group& operator=(group other) noexcept {
        std::swap(group_, other.group_);
        return *this;
    }
    /// Drops the reference. Never closes the group. Context: any.
    ~group() {
        if (group_ != nullptr)
            allot_group_put(group_);
    }

    /// Makes a handle that takes over one reference, as the C functions return it.
    [[nodiscard]] static group adopt(allot_group* raw) noexcept { return group{raw}; }
    /// Makes a handle with a reference of its own.
    [[nodiscard]] static group share(allot_group* raw) noexcept { return group{reference(raw)}; }
    /// Returns the pointer for the C functions, borrowed; null if empty. Context: any.
    [[nodiscard]] allot_group* get() const noexcept { return group_; }

    /// Creates the group `name` under this one; limits that are not given are 0 (min, low) or unlimited (high, max).
    ///
    /// Errors:  std::system_error: file_exists; invalid_argument (an empty name, one above ALLOT_NAME_MAX bytes or with '/' or
    ///          control characters, min or low above max); no_such_file_or_directory (this group is closed). limit_exceeded
    ///          if the new group's own memory does not fit this one's limit, std::bad_alloc if it does not fit the system.
    /// Thread:  any number of callers. Context: task.
    [[nodiscard]] group create(std::string_view name, const allot::limits& with = {}) const;
    /// Finds an open group: below this one by a relative path ("acme/q-1"), anywhere by one that begins with '/'.
    ///
    /// Errors:  none if there is no such group or the path makes no sense, only std::bad_alloc. Context: task.
    [[nodiscard]] std::optional<group> find(std::string_view path) const;
    /// Returns the parent; an empty handle for the root and for an empty one. Context: task.
    [[nodiscard]] group parent() const noexcept {
        return group{group_ != nullptr ? allot_group_parent(group_) : nullptr};
    }

    /// Returns the group's own name, "/" for the root, "" if empty. Also after close.
    [[nodiscard]] std::string name() const { return group_ != nullptr ? allot_group_name(group_) : ""; }
    /// Returns the path, "/tenants/acme"; "" if empty. Also after close.
    [[nodiscard]] std::string path() const;
    /// Returns the id: unique among groups that exist, reused later. Context: any.
    [[nodiscard]] std::uint32_t id() const { return allot_group_id(checked("allot: group::id")); }
    /// Tells whether the group exists and has not been closed. Context: any.
    [[nodiscard]] bool is_open() const noexcept { return group_ != nullptr && allot_group_is_open(group_); }
    /// Tells whether the handle holds a group, open or closed.
    [[nodiscard]] explicit operator bool() const noexcept { return group_ != nullptr; }
    /// Tells whether both are handles of the same group, or both empty.
    friend bool operator==(const group&, const group&) noexcept = default;

    /// Calls `visit(group)` for this group and its open descendants, parents first. If `visit` returns a bool, false ends it.
    ///
    /// Groups made or closed meanwhile may be missed. No lock is held: `visit` may do anything, also throw.
    /// Returns: false if `visit` ended it. Errors: what `visit` throws. Context: task.
    template <class Visit> bool walk(Visit&& visit) const;

    /// Changes the limits that are given and keeps the others: `q.set({.max = 2_GiB})`.
    ///
    /// Takes effect also when usage is above a lowered `max`: every charge fails until it fits.
    /// Errors:  std::system_error: invalid_argument (min or low above max), no_such_file_or_directory (closed). Context: task.
    void set(const allot::limits& changed) const {
        const allot_limits raw{changed.min, changed.low, changed.high, changed.max};
        detail::check(allot_group_set(checked("allot: group::set"), &raw), "allot: group::set");
    }
    /// Returns the limits in force. Context: any.
    [[nodiscard]] allot::limits limits() const {
        allot_limits raw{};
        allot_group_limits(checked("allot: group::limits"), &raw);
        return {.min = raw.min, .low = raw.low, .high = raw.high, .max = raw.max};
    }
    /// Returns the figures; all zero if empty. Units: bytes and counts. Context: task.
    [[nodiscard]] allot::stat stat() const noexcept {
        allot_stat figures{};
        if (group_ != nullptr)
            allot_group_stat(group_, &figures);
        return figures;
    }
    /// Gives back memory that the subtree holds and nobody uses, until `bytes` are uncharged or nothing is left.
    ///
    /// Returns: the bytes uncharged. Thread: any. Context: task.
    std::uint64_t reclaim(std::uint64_t bytes = unlimited) const noexcept {
        return group_ != nullptr ? allot_group_reclaim(group_, bytes) : 0;
    }

    /// Charges `bytes` of memory from elsewhere to this group and all its ancestors, or to none.
    ///
    /// Errors:  an empty charge, over a limit or if the group is closed. Thread: any. Context: task.
    [[nodiscard]] charge try_charge(std::uint64_t bytes) const noexcept {
        charge made;
        if (group_ == nullptr || allot_try_charge(group_, bytes, &made.raw_) != 0)
            made.raw_ = {};
        return made;
    }
    /// As try_charge. Errors: limit_exceeded; std::system_error(no_such_file_or_directory) if the group is closed.
    [[nodiscard]] charge charge_for(std::uint64_t bytes) const {
        charge made;
        detail::check(allot_try_charge(checked("allot: group::charge_for"), bytes, &made.raw_),
                      "allot: group::charge_for");
        return made;
    }

    /// Returns the resource that charges this group, whatever group is current.
    ///
    /// The pointer stays valid for ever, and memory from it may be freed at any time. Allocate from it while a handle of the
    /// group exists; after close() that charges the nearest open ancestor. Without any handle the charge goes to whichever
    /// group has the place then.
    /// Errors:  std::bad_alloc. The resource's allocate throws limit_exceeded.
    /// Thread:  any number of callers. Context: task.
    [[nodiscard]] std::pmr::memory_resource* resource() const {
        void* place = allot_group_front_place(checked("allot: group::resource"));
        if (place == nullptr)
            throw std::bad_alloc{};
        return detail::construct_resource(place);
    }
    /// Allocates for this group, whatever group is current; `alignment` 0 is the default of malloc. Free with allot::free.
    ///
    /// Errors:  null with errno ENOMEM over a limit, EINVAL for an empty handle or a wrong alignment. As allot::malloc.
    [[nodiscard]] void* malloc(std::size_t size, std::size_t alignment = 0) const noexcept {
        if (group_ != nullptr)
            return allot_group_malloc(group_, size, alignment);
        errno = EINVAL;
        return nullptr;
    }

    /// Closes the group and its descendants: names are free at once, no new charges, live objects stay valid and belong to the
    /// parent. The handle stays what it is.
    ///
    /// Returns: what was charged then. `groups` is 0 if nothing was closed: empty, closed before, or the root.
    /// Errors:  none; live objects are no reason to fail. Never blocks on members. Thread: any. Context: task.
    allot::report close() const noexcept {
        allot_report live{};
        if (group_ == nullptr || allot_group_close(group_, &live) != 0)
            live = {};
        return live;
    }
    /// Closes the group and its descendants as close(), and takes back all their blocks in one step, as an arena does: to use or free one
    /// afterwards is a bug. No destructor runs.
    ///
    /// External charges stay with their holders and belong to the parent. No other thread may allocate in the group, use or free its
    /// blocks meanwhile; a scope of it may be open.
    /// Returns: what was charged before; as close(). Errors: none. Thread: any. Context: task, outside read-side sections.
    allot::report close(discard_t) const noexcept {
        allot_report gone{};
        if (group_ == nullptr || allot_group_discard(group_, &gone) != 0)
            gone = {};
        return gone;
    }

  private:
    explicit group(allot_group* raw) noexcept : group_(raw) {}

    static allot_group* reference(allot_group* raw) noexcept { return raw != nullptr ? allot_group_get(raw) : nullptr; }

    [[nodiscard]] allot_group* checked(const char* what) const {
        if (group_ == nullptr) [[unlikely]]
            detail::throw_error(-EINVAL, what);
        return group_;
    }

    allot_group* group_ = nullptr;
};

/// Returns the root: every byte handed out is charged to it. Context: any.
[[nodiscard]] inline group root() noexcept { return group::share(allot_root()); }
/// Returns the group that this thread's allocations are charged to. Context: task.
[[nodiscard]] inline group current() noexcept { return group::adopt(allot_current()); }
/// Finds an open group by its path from the root, "/tenants/acme". As group::find.
[[nodiscard]] inline std::optional<group> find(std::string_view path) { return root().find(path); }
/// Returns the group that a live block is charged to; an empty handle for memory that is not this library's. Context: task.
[[nodiscard]] inline group owner_of(const void* block) noexcept { return group::adopt(allot_owner_of(block)); }

/// The one owner of a group: closes it when it dies. Handles may be copied from it and live longer.
class unique_group {
  public:
    unique_group() noexcept = default;
    /// Takes charge of closing `owned`: `allot::unique_group q{queries.create("q-1")};`
    explicit unique_group(group owned) noexcept : group_(std::move(owned)) {}
    unique_group(unique_group&& other) noexcept = default;
    unique_group& operator=(unique_group&& other) noexcept {
        if (this != &other) {
            group_.close();
            group_ = std::move(other.group_);
        }
        return *this;
    }
    /// Closes the group. Context: task.
    ~unique_group() { group_.close(); }

    [[nodiscard]] const group& get() const noexcept { return group_; }
    const group& operator*() const noexcept { return group_; }
    const group* operator->() const noexcept { return &group_; }
    operator const group&() const noexcept { return group_; } // NOLINT: it is used wherever a group is
    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(group_); }

    /// Gives up the duty to close, and is empty then.
    [[nodiscard]] group release() noexcept { return std::move(group_); }
    /// Closes now, and is empty then. Returns and fails as group::close.
    report close() noexcept { return release().close(); }
    /// Discards now, and is empty then. Returns and fails as group::close(discard).
    report close(discard_t) noexcept { return release().close(discard); }

  private:
    group group_;
};

// --- Definitions ----------------------------------------------------------------------------------------------------------

namespace detail {

/// A name with its terminating zero; "" for one that no group can have, which the library then rejects.
struct group_name {
    explicit group_name(std::string_view name) noexcept {
        if (name.size() <= ALLOT_NAME_MAX && name.find('\0') == name.npos)
            text[name.copy(text, ALLOT_NAME_MAX)] = '\0';
    }
    char text[ALLOT_NAME_MAX + 1] = {};
};

/// Carries a visitor through the C function, which exceptions must not cross.
template <class Visit> struct walker {
    static int call(allot_group* raw, void* data) noexcept {
        auto& self = *static_cast<walker*>(data);
        try {
            if constexpr (std::is_convertible_v<std::invoke_result_t<Visit&, group>, bool>)
                return std::invoke(self.visit, group::share(raw)) ? 0 : 1;
            else
                std::invoke(self.visit, group::share(raw));
            return 0;
        } catch (...) {
            self.thrown = std::current_exception();
            return 1;
        }
    }
    Visit& visit;
    std::exception_ptr thrown;
};

[[noreturn, gnu::cold, gnu::noinline]] inline void throw_not_created(int error, const group& under,
                                                                     std::string_view name) {
    if (error == -ENOMEM)
        throw_no_memory();
    throw_error(
        error,
        std::string{"allot: create '"}.append(name).append("' under '").append(under.path()).append("'").c_str());
}

} // namespace detail

inline group group::create(std::string_view name, const allot::limits& with) const {
    const allot_limits raw{with.min, with.low, with.high, with.max};
    allot_group* made = nullptr;
    const int error = allot_group_create(checked("allot: group::create"), detail::group_name{name}.text, &raw, &made);
    if (error != 0) [[unlikely]]
        detail::throw_not_created(error, *this, name);
    return adopt(made);
}

inline std::optional<group> group::find(std::string_view path) const {
    std::string absolute;
    if (!path.starts_with('/')) {
        absolute = this->path();
        if (!path.empty() && !absolute.ends_with('/'))
            absolute += '/';
    }
    absolute += path;
    allot_group* found = nullptr;
    if (absolute.empty() || absolute.find('\0') != absolute.npos || allot_group_find(absolute.c_str(), &found) != 0)
        return std::nullopt;
    return adopt(found);
}

inline std::string group::path() const {
    if (group_ == nullptr)
        return {};
    std::string text(allot_group_path(group_, nullptr, 0), '\0');
    allot_group_path(group_, text.data(), text.size() + 1);
    return text;
}

template <class Visit> bool group::walk(Visit&& visit) const {
    detail::walker<std::remove_reference_t<Visit>> walker{visit, nullptr};
    const int ended = allot_group_walk(checked("allot: group::walk"), &walker.call, &walker);
    if (walker.thrown)
        std::rethrow_exception(std::move(walker.thrown));
    return ended == 0;
}

inline void charge::transfer(const group& to) {
    const int error = to ? allot_charge_transfer(&raw_, to.get()) : -EINVAL;
    detail::check(error, "allot: charge::transfer");
}

inline bool charge::try_transfer(const group& to) noexcept { return to && allot_charge_transfer(&raw_, to.get()) == 0; }

} // namespace allot

/// Groups as keys: equal handles have equal hashes while both exist.
template <> struct std::hash<allot::group> {
    std::size_t operator()(const allot::group& group) const noexcept { return std::hash<const void*>{}(group.get()); }
};
