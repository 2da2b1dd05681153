// SPDX-License-Identifier: MIT
//
// child: starts a program, reads its pipes until it ends, and kills it when it takes too long.
#include "child.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace allot_bench {

namespace {

std::vector<std::string> environment_with(const std::string& preload) {
    std::vector<std::string> variables;
    for (char** variable = environ; *variable != nullptr; ++variable)
        if (std::strncmp(*variable, "LD_PRELOAD=", 11) != 0)
            variables.emplace_back(*variable);
    if (!preload.empty())
        variables.push_back("LD_PRELOAD=" + preload);
    return variables;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
    std::vector<char*> result;
    for (std::string& string : strings)
        result.push_back(string.data());
    result.push_back(nullptr);
    return result;
}

struct pipe_pair {
    int read_end = -1;
    int write_end = -1;
    bool open() {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0)
            return false;
        read_end = ends[0];
        write_end = ends[1];
        return true;
    }
};

/// Reads both pipes to their ends. Returns: false if that took longer than `seconds`.
bool drain(int out, int err, std::string& output, std::string& errors, double seconds) {
    using clock = std::chrono::steady_clock;
    const auto deadline = clock::now() + std::chrono::duration<double>(seconds);
    std::array<pollfd, 2> watched{{{out, POLLIN, 0}, {err, POLLIN, 0}}};
    while (watched[0].fd >= 0 || watched[1].fd >= 0) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - clock::now()).count();
        const int ready = left > 0 ? poll(watched.data(), watched.size(), static_cast<int>(left)) : 0;
        if (ready == 0)
            return false;
        for (pollfd& one : watched) {
            if (ready < 0 || one.fd < 0 || one.revents == 0)
                continue;
            char text[4096];
            const ssize_t got = read(one.fd, text, sizeof text);
            if (got > 0)
                (one.fd == out ? output : errors).append(text, static_cast<std::size_t>(got));
            else if (got == 0 || errno != EINTR)
                one.fd = -1;
        }
    }
    return true;
}

std::string last_line(std::string text) {
    while (!text.empty() && text.back() == '\n')
        text.pop_back();
    return text.substr(text.rfind('\n') + 1);
}

std::string describe(int status, const std::string& errors) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return "";
    std::string text = WIFSIGNALED(status) ? std::string{"killed by "} + strsignal(WTERMSIG(status))
                                           : "ended with status " + std::to_string(WEXITSTATUS(status));
    if (const std::string line = last_line(errors); !line.empty())
        text += ": " + line;
    return text;
}

double seconds_of(const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

} // namespace

child::child(const command& what) {
    pipe_pair out;
    pipe_pair err;
    if (!out.open() || !err.open()) {
        trouble_ = std::string{"no pipe: "} + std::strerror(errno);
        return;
    }
    std::vector<std::string> words{what.program.string()};
    words.insert(words.end(), what.arguments.begin(), what.arguments.end());
    std::vector<std::string> variables = environment_with(what.preload);
    variables.insert(variables.begin(), what.variables.begin(), what.variables.end());

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out.write_end, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err.write_end, STDERR_FILENO);
    start_ = std::chrono::steady_clock::now();
    const int error =
        posix_spawn(&pid_, what.program.c_str(), &actions, nullptr, pointers(words).data(), pointers(variables).data());
    posix_spawn_file_actions_destroy(&actions);
    close(out.write_end);
    close(err.write_end);
    out_ = out.read_end;
    err_ = err.read_end;
    if (error != 0) {
        pid_ = -1;
        trouble_ = std::string{"cannot be started: "} + std::strerror(error);
    }
}

void child::ask_to_end() const {
    if (pid_ > 0)
        kill(pid_, SIGTERM);
}

outcome child::finish(double seconds) {
    outcome result;
    result.trouble = trouble_;
    if (pid_ > 0) {
        std::string errors;
        int status = 0;
        rusage used{};
        const bool ended = drain(out_, err_, result.output, errors, seconds);
        if (!ended)
            kill(pid_, SIGKILL);
        while (wait4(pid_, &status, 0, &used) < 0 && errno == EINTR) {
        }
        result.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
        result.cpu_s = seconds_of(used.ru_utime) + seconds_of(used.ru_stime);
        result.most_resident_bytes = static_cast<double>(used.ru_maxrss) * 1024;
        result.trouble =
            ended ? describe(status, errors) : "took longer than " + std::to_string(static_cast<int>(seconds)) + " s";
    }
    close(out_);
    close(err_);
    return result;
}

outcome run(const command& what, double seconds) { return child{what}.finish(seconds); }

outcome run(const std::filesystem::path& program, const std::vector<std::string>& arguments, const std::string& preload,
            double seconds) {
    return run(command{program, arguments, preload, {}}, seconds);
}

} // namespace allot_bench
