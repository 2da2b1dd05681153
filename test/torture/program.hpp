// SPDX-License-Identifier: MIT
//
// program: what every torture program is: options, a seed that is printed first, one verdict, faults put in on purpose.
//
//     torture_NAME [--seconds N] [--seed N] [--no-membarrier] [the program's own]
//
// Idea.        A check that fails ends the process at once, with the seed. A mode that puts a fault in runs in a child, which has to
//              end that way: then the fault was caught, and only then the program passes.
//              --no-membarrier runs as on a machine that has none; the library looks before main, so the program starts again.
// Concurrency. fail(): any thread. The rest: main, before there are threads.
#pragma once

#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <random>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace torture {

inline const char* program_name = "torture";
inline const char* verdict_on_failure = "FAIL";
inline std::uint64_t seed = 0;
inline unsigned round_number = 0;

inline constexpr int failed_status = 1;
inline constexpr int hung_status = 4;

/// Prints a verdict with the seed, and ends the program. By write(2): a forked child and a handler may call it, too.
[[noreturn]] inline void end_with(int status, const char* verdict, const char* text) {
    char line[560];
    const int length = std::snprintf(line, sizeof line, "%s %s: seed %llu, round %u: %s\n", verdict, program_name,
                                     static_cast<unsigned long long>(seed), round_number, text);
    if (::write(STDOUT_FILENO, line, static_cast<std::size_t>(length)) != length)
        std::_Exit(3);
    std::_Exit(status);
}

/// Says what is wrong, and ends the program.
[[noreturn, gnu::format(printf, 1, 2)]] inline void fail(const char* format, ...) {
    char text[400];
    va_list values;
    va_start(values, format);
    std::vsnprintf(text, sizeof text, format, values);
    va_end(values);
    end_with(failed_status, verdict_on_failure, text);
}

[[gnu::format(printf, 1, 2)]] inline void say(const char* format, ...) {
    va_list values;
    va_start(values, format);
    std::printf("%s: ", program_name);
    std::vprintf(format, values);
    std::printf("\n");
    va_end(values);
    std::fflush(stdout);
}

inline int pass() {
    std::printf("PASS %s: seed %llu\n", program_name, static_cast<unsigned long long>(seed));
    std::fflush(stdout);
    return 0;
}

/// An option of a program: a switch, or one that takes a text.
struct option {
    const char* name;
    bool* is_given = nullptr;
    std::string* text = nullptr;
};

namespace detail {

[[noreturn]] inline void bad_use(std::initializer_list<option> own) {
    std::fprintf(stderr, "usage: %s [--seconds N] [--seed N] [--no-membarrier]", program_name);
    for (const option& each : own)
        std::fprintf(stderr, each.text != nullptr ? " [%s NAME]" : " [%s]", each.name);
    std::fprintf(stderr, "\n");
    std::exit(2);
}

inline bool read_number(const char* text, std::uint64_t& out) {
    char* rest = nullptr;
    out = std::strtoull(text, &rest, 0);
    return rest != text && *rest == '\0';
}

/// Takes one of the program's own options. Returns the count of arguments that it used; 0 if it is none of them.
inline int take_own(std::initializer_list<option> own, char** argument, int left) {
    for (const option& each : own) {
        if (std::strcmp(each.name, *argument) != 0)
            continue;
        if (each.text == nullptr) {
            *each.is_given = true;
            return 1;
        }
        if (left < 2)
            return 0;
        *each.text = argument[1];
        return 2;
    }
    return 0;
}

} // namespace detail

/// Reads the options, prints the seed, and sets the alarm that ends a hang. Returns the seconds to run.
inline std::uint64_t begin(const char* name, int argc, char** argv, std::initializer_list<option> own) {
    program_name = name;
    std::uint64_t seconds = 5;
    bool has_membarrier = true;
    seed = std::random_device{}();
    for (int i = 1; i < argc;) {
        const bool has_value = i + 1 < argc;
        if (has_value && std::strcmp(argv[i], "--seconds") == 0 && detail::read_number(argv[i + 1], seconds))
            i += 2;
        else if (has_value && std::strcmp(argv[i], "--seed") == 0 && detail::read_number(argv[i + 1], seed))
            i += 2;
        else if (std::strcmp(argv[i], "--no-membarrier") == 0)
            ++i, has_membarrier = false;
        else if (const int used = detail::take_own(own, argv + i, argc - i))
            i += used;
        else
            detail::bad_use(own);
    }
    if (!has_membarrier && std::getenv("ALLOT_MEMBARRIER") == nullptr) {
        ::setenv("ALLOT_MEMBARRIER", "0", 1);
        ::execv("/proc/self/exe", argv);
        fail("the program could not be started again");
    }
    std::printf("%s: --seed %llu", name, static_cast<unsigned long long>(seed));
    for (int i = 1; i < argc; ++i)
        std::printf(" %s", argv[i]);
    std::printf("\n");
    std::fflush(stdout);
    std::signal(SIGALRM, [](int) { end_with(hung_status, "FAIL", "it hangs"); });
    ::alarm(static_cast<unsigned>(seconds) + 60);
    return seconds;
}

/// Runs `work` in a child, which also ends a hang by itself. Returns what waitpid says.
template <class F> int in_child(std::uint64_t seconds, F&& work) {
    std::fflush(stdout);
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::alarm(static_cast<unsigned>(seconds) + 50);
        work();
        std::fflush(stdout);
        std::_Exit(0);
    }
    int status = -1;
    while (pid > 0 && ::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

/// Fails unless a child ended well. If it said itself what was wrong, that is the verdict.
inline void must_end_well(const char* what, int status) {
    if (status == 0)
        return;
    if (WIFEXITED(status) && (WEXITSTATUS(status) == failed_status || WEXITSTATUS(status) == hung_status))
        std::_Exit(failed_status);
    fail("%s ended with status 0x%x", what, static_cast<unsigned>(status));
}

/// Runs `work`, in which the fault is, in a child, and fails unless that notices it: by fail(), by an assertion of the library, or
/// by a sanitizer's report. A hang or a wild access is not a notice.
template <class F> void must_be_caught(const char* fault, std::uint64_t seconds, F&& work) {
    const int status = in_child(seconds, [&] {
        verdict_on_failure = "CAUGHT";
        work();
    });
    const bool says_so = WIFEXITED(status) && WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != hung_status;
    const bool caught = says_so || (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    if (!caught)
        fail("the fault '%s' was not caught (status %d)", fault, status);
}

} // namespace torture

/// The programs fork with threads running, on purpose.
extern "C" const char* __tsan_default_options();
extern "C" [[gnu::used]] inline const char* __tsan_default_options() { return "die_after_fork=0"; }
