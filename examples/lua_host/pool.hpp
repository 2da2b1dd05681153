// SPDX-License-Identifier: MIT
//
// pool: threads that work off the indices 0 .. count-1, while the caller's thread watches.
//
// Invariants.  I1  Every index is worked on exactly once, and for_each returns only after all of them.
//              I2  What work(i) wrote is visible to the caller after for_each, and to every later work: all go through `lock_`.
// Concurrency. for_each: one caller at a time. The threads live as long as the pool, so memory that one phase allocated on one
//              thread is freed in the next phase on another.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace lua_host {

class pool {
  public:
    /// Starts the threads. Errors: throws std::system_error when the system has no more.
    explicit pool(unsigned threads);
    pool(const pool&) = delete;
    pool& operator=(const pool&) = delete;
    ~pool();

    /// Calls work(i) for every i below `count`, and tick(done) on this thread every tenth of a second and at the end.
    ///
    /// Errors: an exception of `work` is thrown from here, after the rest has been worked on.
    void for_each(std::size_t count, const std::function<void(std::size_t)>& work,
                  const std::function<void(std::size_t)>& tick);

  private:
    void stop() noexcept;
    void run_thread();

    std::mutex lock_;
    std::condition_variable more_; // there are indices to take, or the pool ends
    std::condition_variable less_; // the last index is done
    const std::function<void(std::size_t)>* work_ = nullptr;
    std::size_t next_ = 0;
    std::size_t count_ = 0;
    std::size_t done_ = 0;
    bool ending_ = false;
    std::exception_ptr failure_;
    std::vector<std::thread> threads_;
};

} // namespace lua_host
