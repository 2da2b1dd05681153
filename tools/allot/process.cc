// SPDX-License-Identifier: MIT
//
// process: posix_spawn and one wait loop.
//
// Idea.        The signals are blocked before the child exists and the child gets the old mask back, so none is lost on the way.
// Concurrency. one thread.
#include "process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <spawn.h>
#include <sys/wait.h>

namespace allot::tool {

namespace {

constexpr std::array forwarded{SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM};

sigset_t waited_for() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (const int signal : forwarded)
        sigaddset(&set, signal);
    return set;
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
    std::vector<char*> result;
    for (const std::string& s : strings)
        result.push_back(const_cast<char*>(s.c_str()));
    result.push_back(nullptr);
    return result;
}

timespec to_timespec(std::chrono::nanoseconds time) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
    return {static_cast<time_t>(seconds.count()), static_cast<long>((time - seconds).count())};
}

} // namespace

int process::start(const std::string& path, const std::vector<std::string>& arguments,
                   const std::vector<std::string>& environment) {
    // An ignored SIGCHLD is inherited and would make the child's end invisible.
    std::signal(SIGCHLD, SIG_DFL);
    const sigset_t wanted = waited_for();
    sigset_t inherited;
    pthread_sigmask(SIG_BLOCK, &wanted, &inherited);

    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes, &inherited);
    started_ = std::chrono::steady_clock::now();
    const int error = ::posix_spawn(&pid_, path.c_str(), nullptr, &attributes, pointers(arguments).data(),
                                    pointers(environment).data());
    posix_spawnattr_destroy(&attributes);
    // The program has its own SIGPIPE by now; ours must not end us while we print.
    std::signal(SIGPIPE, SIG_IGN);
    return error;
}

double process::seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
}

process_end process::wait(std::chrono::milliseconds interval, const std::function<void()>& tick) {
    const sigset_t wanted = waited_for();
    auto next_tick = std::chrono::steady_clock::now() + interval;
    for (;;) {
        int state = 0;
        const pid_t ended = ::waitpid(pid_, &state, WNOHANG);
        if (ended == pid_ || (ended < 0 && errno != EINTR)) {
            process_end end;
            end.seconds = seconds();
            end.status = WIFEXITED(state) ? WEXITSTATUS(state) : 0;
            end.signal = WIFSIGNALED(state) ? WTERMSIG(state) : 0;
            end.core_dumped = end.signal != 0 && WCOREDUMP(state);
            return end;
        }
        const auto now = std::chrono::steady_clock::now();
        if (now >= next_tick) {
            tick();
            next_tick = now + interval;
        }
        const timespec timeout = to_timespec(std::max(next_tick - now, std::chrono::steady_clock::duration::zero()));
        siginfo_t info{};
        const int signal = ::sigtimedwait(&wanted, &info, &timeout);
        if (signal > 0 && signal != SIGCHLD && info.si_code <= 0) // si_code > 0: from the kernel, as of the terminal
            ::kill(pid_, signal);
    }
}

std::string signal_name(int signal) {
    const char* const name = ::sigabbrev_np(signal);
    return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(signal);
}

} // namespace allot::tool
