// SPDX-License-Identifier: MIT
//
// test_points: stops a thread at a named window of the library (sync/test_point.hpp) until the test lets it go.
//
// Idea.        `parked at{"offline:unpublished"}` stops the next thread that comes by there; at.arrived() waits for it;
//              at.let_go(), or the end of the scope, lets it go on. Later threads pass. Several may stand at once.
//              A test that uses it begins with SKIP_WITHOUT_TEST_POINTS.
// Concurrency. the test's thread makes and ends them; any thread may be the one that is stopped.
#pragma once

#include "support/threads.hpp"
#include "sync/test_point.hpp"

#include <cstring>

#if ALLOT_TEST_POINTS
#define SKIP_WITHOUT_TEST_POINTS() static_cast<void>(0)
#else
#define SKIP_WITHOUT_TEST_POINTS() GTEST_SKIP() << "this build has no test points"
#endif

namespace allot_test {

class parked {
  public:
    /// Stops the next thread that passes the point `name`, after `skip` others.
    explicit parked(const char* name, unsigned skip = 0) : name_(name), skip_(skip) {
        for (auto& place : places)
            if (parked* none = nullptr; place.compare_exchange_strong(none, this)) {
                place_ = &place;
                break;
            }
        install();
    }
    ~parked() {
        let_go();
        if (place_ != nullptr)
            place_->store(nullptr);
        // A thread may still be looking at this object, or be on its way out of it.
        while (looking.load() != 0 || (stands_.load() && !left_.load()))
            allot::platform::yield();
    }
    parked(const parked&) = delete;
    parked& operator=(const parked&) = delete;

    /// Waits until a thread stands there. False if none comes.
    [[nodiscard]] bool arrived() const {
        return soon([this] { return stands_.load(); });
    }
    /// True if a thread stands there now.
    bool has_arrived() const { return stands_.load(); }
    void let_go() { released_.store(true); }

  private:
    /// True if the calling thread stood here; then it is not among those that look any more.
    bool pass() noexcept {
        if (skip_.load() != 0 && skip_.fetch_sub(1) != 0)
            return false;
        if (taken_.exchange(true) || released_.load())
            return false;
        stands_.store(true);
        looking.fetch_sub(1);
        while (!released_.load())
            allot::platform::yield();
        left_.store(true);
        return true;
    }
    static void install() {
#if ALLOT_TEST_POINTS
        allot::sync::test_hook.store(at_point);
#endif
    }
    static void at_point(const char* name) noexcept {
        looking.fetch_add(1);
        for (auto& place : places)
            if (parked* const it = place.load(); it != nullptr && std::strcmp(it->name_, name) == 0 && it->pass())
                return;
        looking.fetch_sub(1);
    }

    static inline std::atomic<parked*> places[8] = {};
    static inline std::atomic<int> looking{0};
    const char* const name_;
    std::atomic<parked*>* place_ = nullptr;
    std::atomic<unsigned> skip_;
    std::atomic<bool> taken_{false};
    std::atomic<bool> stands_{false};
    std::atomic<bool> released_{false};
    std::atomic<bool> left_{false};
};

} // namespace allot_test
