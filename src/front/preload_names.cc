// SPDX-License-Identifier: MIT
//
// preload_names: the calls of libc that change what placement goes by: names of threads, and mapped libraries.
//
// Idea.        Do what libc does, then tell placement. prctl() and a thread's own name are one system call each; another thread's
//              name needs the real function, since only libc knows that thread's id.
// Concurrency. any thread. Context: task; a handler that calls prctl(PR_SET_NAME) is on its own.
// Checked by.  test/programs/group_by.sh
// Source.      prctl(2), pthread_setname_np(3), dlclose(3).
#include "front/preload_placement.hpp"

#include "platform/os.hpp"

#include <atomic>
#include <cstdarg>
#include <cstring>
#include <dlfcn.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace allot::front {
namespace {

/// A function of libc behind ours. dlsym() does not allocate when it finds the name.
template <class F> class real_function {
  public:
    explicit constexpr real_function(const char* name) noexcept : name_(name) {}
    F* get() noexcept {
        F* function = found_.load(std::memory_order_relaxed); // relaxed: the same value whoever writes it
        if (function == nullptr) {
            function = reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name_));
            found_.store(function, std::memory_order_relaxed); // relaxed: as above
        }
        return function;
    }

  private:
    const char* name_;
    std::atomic<F*> found_{nullptr};
};

constinit real_function<int(pthread_t, const char*)> real_setname{"pthread_setname_np"};
constinit real_function<int(void*)> real_dlclose{"dlclose"};

constexpr std::size_t name_size = 16; // TASK_COMM_LEN

} // namespace
} // namespace allot::front

extern "C" {

ALLOT_API int pthread_setname_np(pthread_t thread, const char* name) noexcept {
    using namespace allot::front;
    if (::pthread_equal(thread, ::pthread_self()) != 0) {
        if (::strnlen(name, name_size) >= name_size)
            return ERANGE;
        const allot::platform::errno_guard keep;
        if (::syscall(SYS_prctl, PR_SET_NAME, name, 0, 0, 0) != 0)
            return errno;
        placement_thread_renamed();
        return 0;
    }
    auto* const real = real_setname.get();
    const int status = real != nullptr ? real(thread, name) : ENOSYS;
    if (status == 0)
        placement_other_renamed(name);
    return status;
}

ALLOT_API int prctl(int option, ...) noexcept {
    va_list list;
    va_start(list, option);
    unsigned long argument[4];
    for (unsigned long& a : argument)
        a = va_arg(list, unsigned long);
    va_end(list);
    const long status = ::syscall(SYS_prctl, option, argument[0], argument[1], argument[2], argument[3]);
    if (option == PR_SET_NAME && status == 0)
        allot::front::placement_thread_renamed();
    return static_cast<int>(status);
}

ALLOT_API int dlclose(void* handle) noexcept {
    using namespace allot::front;
    auto* const real = real_dlclose.get();
    const int status = real != nullptr ? real(handle) : -1;
    placement_library_closed();
    return status;
}

} // extern "C"
