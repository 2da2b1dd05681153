// SPDX-License-Identifier: MIT
//
// pool.cc: one lock around three counters; the work is long enough for that. See pool.hpp.

#include "pool.hpp"

#include <chrono>
#include <utility>

namespace lua_host {

pool::pool(unsigned threads) {
    try {
        while (threads_.size() < threads)
            threads_.emplace_back([this] { run_thread(); });
    } catch (...) {
        stop();
        throw;
    }
}

pool::~pool() { stop(); }

void pool::stop() noexcept {
    {
        const std::lock_guard hold{lock_};
        ending_ = true;
    }
    more_.notify_all();
    for (std::thread& thread : threads_)
        thread.join();
}

void pool::for_each(std::size_t count, const std::function<void(std::size_t)>& work,
                    const std::function<void(std::size_t)>& tick) {
    std::unique_lock hold{lock_};
    work_ = &work;
    next_ = done_ = 0;
    count_ = count;
    more_.notify_all();
    while (!less_.wait_for(hold, std::chrono::milliseconds{100}, [this] { return done_ == count_; })) {
        const std::size_t done = done_;
        hold.unlock();
        tick(done);
        hold.lock();
    }
    count_ = next_ = 0;
    const std::exception_ptr failure = std::exchange(failure_, nullptr);
    hold.unlock();
    tick(count);
    if (failure)
        std::rethrow_exception(failure);
}

void pool::run_thread() {
    std::unique_lock hold{lock_};
    while (true) {
        more_.wait(hold, [this] { return ending_ || next_ < count_; });
        if (ending_)
            return;
        const std::size_t index = next_++;
        const std::function<void(std::size_t)>* work = work_;
        hold.unlock();
        std::exception_ptr failure;
        try {
            (*work)(index);
        } catch (...) {
            failure = std::current_exception();
        }
        hold.lock();
        if (failure && !failure_)
            failure_ = failure;
        if (++done_ == count_)
            less_.notify_all();
    }
}

} // namespace lua_host
