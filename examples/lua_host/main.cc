// SPDX-License-Identifier: MIT
//
// lua_host: a thousand Lua interpreters in one process, each in a group with a limit. See README.md.
//
// Exit status. 0 every check held; 1 one did not, or the run failed; 2 bad options; 128 + signal after an interruption.
// Output.      Results on stdout, errors in one line on stderr; with --json exactly one document on stdout.

#include "format.hpp"
#include "host.hpp"

#include <CLI/CLI.hpp>

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <thread>

namespace {

using namespace lua_host;

constexpr std::uint64_t max_bytes_least = 4u << 10;
constexpr std::uint64_t max_bytes_most = std::uint64_t{1} << 40;

std::atomic<int> interrupted{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler writes it");

// The first signal asks for an end, the third one makes it: two may be one Ctrl-C, which a wrapper such as timeout passes on
// although the terminal has sent it to both.
void on_signal(int signal) {
    static volatile std::sig_atomic_t signals = 0;
    interrupted.store(signal, std::memory_order_relaxed);
    signals = signals + 1;
    if (signals < 3)
        return;
    std::signal(signal, SIG_DFL);
    raise(signal);
}

void catch_signals() {
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    for (const int signal : {SIGINT, SIGTERM})
        sigaction(signal, &action, nullptr);
}

int complain(std::string what, int status) {
    what.erase(what.find_last_not_of(" \n") + 1);
    std::ranges::replace(what, '\n', ' ');
    std::fprintf(stderr, "lua_host: %s\n", what.c_str());
    return status;
}

void define(CLI::App& app, options& wanted, std::string& max_text) {
    app.set_version_flag("--version", std::string{"lua_host of allot "} + allot::version() + ", " + LUA_RELEASE);
    app.add_option("--tenants", wanted.tenants, "How many")->check(CLI::Range(1u, 100'000u))->capture_default_str();
    app.add_option("--max", max_text, "Limit of each tenant: 8M, 8MiB, 512K, or bytes; 4K to 1T")
        ->capture_default_str();
    app.add_option("--threads", wanted.threads, "Threads of the pool")
        ->check(CLI::Range(1u, 256u))
        ->capture_default_str();
    app.add_option("--hostile", wanted.hostile_percent, "Hostile tenants, percent")
        ->check(CLI::Range(0.0, 100.0))
        ->capture_default_str();
    app.add_option("--scripts", wanted.scripts_dir,
                   "Directory with *.lua and hostile/*.lua; default: this program's own");
    app.add_flag("--json", wanted.json, "Print one JSON document and nothing else");
}

// Finishes what the parser leaves open; throws std::runtime_error with one line.
script_set complete(options& wanted, const std::string& max_text) {
    const std::optional<std::uint64_t> max_bytes = parse_bytes(max_text);
    if (!max_bytes || *max_bytes < max_bytes_least || *max_bytes > max_bytes_most)
        throw std::runtime_error("--max: '" + max_text + "' is no size from 4K to 1T (such as 8M, 8MiB, 512K)");
    wanted.max_bytes = *max_bytes;
    if (wanted.scripts_dir.empty())
        wanted.scripts_dir = default_scripts_dir();
    if (wanted.scripts_dir.empty())
        throw std::runtime_error(
            "--scripts: this program's own scripts are not where they were installed; name a directory");
    script_set scripts = load_scripts(wanted.scripts_dir);
    if (scripts.hostile.empty() && hostile_count(wanted) != 0)
        throw std::runtime_error("--hostile: no *.lua in " + wanted.scripts_dir + "/hostile");
    return scripts;
}

progress::style progress_style(const options& wanted) {
    if (wanted.json)
        return progress::style::none;
    return isatty(STDOUT_FILENO) != 0 ? progress::style::terminal : progress::style::plain;
}

int run(const options& wanted, const script_set& scripts) {
    catch_signals();
    if (!wanted.json)
        print_heading(wanted, hostile_count(wanted));
    progress shown{progress_style(wanted)};
    const summary result = host{wanted, scripts, shown, interrupted}.run();
    wanted.json ? print_json(wanted, result) : print_text(wanted, result);
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
        return complain("cannot write the report", 1);
    if (result.signal != 0)
        return complain("interrupted", 128 + result.signal);
    return result.passed() ? 0 : complain("not all checks hold", 1);
}

} // namespace

int main(int argc, char** argv) {
    options wanted;
    wanted.threads = std::clamp(std::thread::hardware_concurrency(), 1u, 256u);
    std::string max_text = "8MiB";
    script_set scripts;
    try {
        CLI::App app{
            "Runs Lua scripts of many tenants in one process, each tenant in a memory control group with a limit.",
            "lua_host"};
        define(app, wanted, max_text);
        try {
            app.parse(argc, argv);
        } catch (const CLI::ParseError& error) {
            if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success))
                return app.exit(error); // --help or --version
            throw;
        }
        scripts = complete(wanted, max_text);
    } catch (const std::exception& error) {
        return complain(error.what(), 2);
    }
    try {
        return run(wanted, scripts);
    } catch (const std::exception& error) {
        if (wanted.json)
            print_json_error(error.what());
        return complain(error.what(), 1);
    }
}
