// SPDX-License-Identifier: MIT
//
// model: what torture_groups believes about every group and every block, kept apart from the library and compared with it.
//
// Idea.        A block belongs to the nearest open ancestor of the group that it was made in, whenever that group was closed. So
//              the owner of every block is known at every quiescent point, though nothing is known of the order of events. The
//              number of live blocks, of allocations and of external bytes are sums over the threads. Limits change, so what
//              holds at any moment is the largest that a group ever had; at rest, what fits is charged and nothing else is.
// Concurrency. groups: one mutex. Items: who has one owns it. compare(): all threads at rest.
#pragma once

#include "program.hpp"

#include <allot/allot.hpp>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

namespace torture {

/// A live block: whose it is, and a pattern that only its holder writes.
struct item {
    unsigned char* block = nullptr;
    std::size_t size = 0;
    std::uint32_t group = 0;
    std::uint32_t cache = 0; ///< number of its cache_record, plus 1; 0: none
    unsigned char mark = 0;

    void fill() const { std::memset(block, mark, size); }
    void check() const {
        for (std::size_t i = 0; i < size; ++i)
            if (block[i] != mark)
                fail("byte %zu of %zu at %p is 0x%02x, not 0x%02x", i, size, static_cast<void*>(block), block[i], mark);
    }
};

/// The tree as it should be. Groups are only ever added, until clear().
class tree {
  public:
    static constexpr std::size_t count_max = 2000;

    explicit tree(allot::group top) { nodes_.push_back({.handle = std::move(top)}); }

    /// A random group with a handle of its own, open or not.
    std::pair<allot::group, std::uint32_t> any(std::mt19937_64& random) {
        const std::lock_guard hold{lock_};
        // The young ones are used more.
        const std::size_t reach = random() % 4 == 0 ? nodes_.size() : std::min<std::size_t>(nodes_.size(), 24);
        const std::size_t index = nodes_.size() - 1 - random() % reach;
        return {nodes_[index].handle, static_cast<std::uint32_t>(index)};
    }
    void create(std::mt19937_64& random) {
        const auto [parent, index] = any(random);
        const std::uint64_t limit = random() % 4 == 0 ? (std::uint64_t{64} << 10) << random() % 8 : ALLOT_UNLIMITED;
        const std::uint64_t high = random() % 4 == 0 ? std::uint64_t{32} << 10 : ALLOT_UNLIMITED;
        const allot_limits limits{ALLOT_KEEP, ALLOT_KEEP, high, limit};
        const std::string name = "g" + std::to_string(next_name_.fetch_add(1));
        allot_group* made = nullptr;
        const int error = allot_group_create(parent.get(), name.c_str(), &limits, &made);
        if (error == 0) {
            const std::lock_guard hold{lock_};
            nodes_.push_back({allot::group::adopt(made), index, true, limit, high != ALLOT_UNLIMITED});
        } else if (error != -ENOENT && error != -ENOMEM && error != -EINVAL) { // closed, over a limit, too deep
            fail("creating %s in %s: %d", name.c_str(), parent.path().c_str(), error);
        }
    }
    /// Changes `max`, `high` or both. The group at the top keeps room for everybody.
    void change_limits(std::mt19937_64& random) {
        const auto [group, index] = any(random);
        const std::uint64_t smallest = index == 0 ? std::uint64_t{8} << 20 : std::uint64_t{16} << 10;
        allot_limits limits = ALLOT_LIMITS_INIT;
        if (random() % 4 != 0)
            limits.max = random() % 2 == 0                  ? ALLOT_UNLIMITED
                         : random() % 32 == 0 && index != 0 ? 0
                                                            : smallest << random() % 8;
        if (random() % 2 == 0)
            limits.high = random() % 4 == 0 ? ALLOT_UNLIMITED : smallest << random() % 4;
        {
            const std::lock_guard hold{lock_}; // the model first: no charge may come between
            node& at = nodes_[index];
            at.max_ever = std::max(at.max_ever, limits.max == ALLOT_KEEP ? 0 : limits.max);
            at.had_high |= limits.high != ALLOT_KEEP && limits.high != ALLOT_UNLIMITED;
        }
        const int error = allot_group_set(group.get(), &limits);
        if (error != 0 && error != -ENOENT)
            fail("limiting %s: %d", group.path().c_str(), error);
    }
    /// The largest limit that the group has ever had. Ask after reading a usage that it is compared with.
    std::uint64_t max_ever(std::uint32_t index) {
        const std::lock_guard hold{lock_};
        return nodes_[index].max_ever;
    }
    /// True if what belongs to the group `index` may belong to `owner`: itself or an ancestor.
    bool may_own(const allot::group& owner, std::uint32_t index) {
        const std::lock_guard hold{lock_};
        for (;; index = nodes_[index].parent) {
            if (nodes_[index].handle == owner)
                return true;
            if (index == 0)
                return false;
        }
    }
    void close(std::mt19937_64& random) {
        const auto [group, index] = any(random);
        if (index == 0)
            return;
        const int error = allot_group_close(group.get(), nullptr);
        if (error != 0 && error != -ENOENT)
            fail("closing %s: %d", group.path().c_str(), error);
        const std::lock_guard hold{lock_};
        nodes_[index].open = false;
    }
    bool is_full() {
        const std::lock_guard hold{lock_};
        return nodes_.size() >= count_max;
    }

    /// The group that pays for what was made in `index`. All threads at rest.
    const allot::group& payer(std::uint32_t index) const {
        std::uint32_t owner = index;
        for (std::uint32_t at = index; at != 0; at = nodes_[at].parent)
            if (!nodes_[at].open)
                owner = nodes_[at].parent;
        return nodes_[owner].handle;
    }
    bool is_open(std::uint32_t index) const { return payer(index) == nodes_[index].handle; }

    /// Compares state, look-up and limit of every group. All threads at rest.
    void check() {
        for (std::size_t i = nodes_.size() - 1; i != 0; --i) // a group that closes leaves its events to its parent
            if (nodes_[i].had_high && !is_open(static_cast<std::uint32_t>(i)))
                nodes_[nodes_[i].parent].had_high = true;
        for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
            const allot::group& group = nodes_[i].handle;
            const bool open = is_open(i);
            if (group.is_open() != open)
                fail("%s is %s", group.path().c_str(), open ? "closed" : "open");
            const auto found = allot::root().find(group.path());
            if (found.has_value() != open || (open && *found != group))
                fail("%s is%s found", group.path().c_str(), open ? " not" : "");
            const allot::stat stat = group.stat();
            if (stat.current > stat.peak || stat.peak > nodes_[i].max_ever)
                fail("%s passed its limit", group.path().c_str());
            if (stat.high_events != 0 && !nodes_[i].had_high)
                fail("%s has events of a limit that it never had", group.path().c_str());
            if (!open && stat.local != 0)
                fail("%s is closed and has %llu bytes", group.path().c_str(),
                     static_cast<unsigned long long>(stat.local));
        }
    }
    /// Charges a random group with all that fits, which must work, and with more, which must not. All threads at rest.
    void check_headroom(std::mt19937_64& random) const {
        const std::uint32_t index = static_cast<std::uint32_t>(random() % nodes_.size());
        if (!is_open(index))
            return;
        const allot::group& group = nodes_[index].handle;
        std::uint64_t room = std::uint64_t{1} << 40;
        for (std::uint32_t at = index;; at = nodes_[at].parent) {
            const std::uint64_t max = nodes_[at].handle.limits().max;
            const std::uint64_t usage = nodes_[at].handle.stat().current;
            room = usage < max ? std::min(room, max - usage) : 0;
            if (at == 0)
                break;
        }
        const allot::charge all = group.try_charge(room);
        if (room != 0 && !all)
            fail("%s has room for %llu bytes and refuses them", group.path().c_str(),
                 static_cast<unsigned long long>(room));
        const allot::charge more = group.try_charge(1); // reclaim may make room for it
        const allot::limits limits = group.limits();
        if (more && group.stat().current > limits.max)
            fail("%s took a byte above its limit", group.path().c_str());
    }
    /// Closes everything but the first and drops all handles.
    void clear() {
        for (std::size_t i = 1; i < nodes_.size(); ++i)
            nodes_[i].handle.close();
        nodes_.erase(nodes_.begin() + 1, nodes_.end());
        nodes_[0].handle.set({.high = ALLOT_UNLIMITED, .max = ALLOT_UNLIMITED});
    }

  private:
    struct node {
        allot::group handle;
        std::uint32_t parent = 0;
        bool open = true;
        std::uint64_t max_ever = ALLOT_UNLIMITED;
        bool had_high = false;
    };
    std::mutex lock_;
    std::vector<node> nodes_; // guarded by lock_ while threads run
    std::atomic<std::uint64_t> next_name_{0};
};

/// Sums that the library has to agree with. Signed: threads free what others made.
struct sums {
    std::int64_t live = 0;
    std::int64_t allocations = 0;
    std::int64_t external = 0;

    sums& operator+=(const sums& other) {
        live += other.live;
        allocations += other.allocations;
        external += other.external;
        return *this;
    }
};

/// What the library says. Folds the counts of allocations and recounts.
inline sums library_sums() {
    sums out;
    allot::root().walk([&](const allot::group& group) {
        const allot::stat stat = group.stat();
        out.allocations += static_cast<std::int64_t>(stat.allocations);
        out.external += static_cast<std::int64_t>(stat.external);
    });
    const allot::verify_report books = allot::verify();
    if (!books)
        fail("%llu differences, the first: %s", static_cast<unsigned long long>(books.errors), books.first_error);
    out.live = static_cast<std::int64_t>(books.objects);
    return out;
}

inline void compare(const char* what, std::int64_t is, std::int64_t expected) {
    if (is != expected)
        fail("%s: %lld, the model says %lld", what, static_cast<long long>(is), static_cast<long long>(expected));
}

} // namespace torture
