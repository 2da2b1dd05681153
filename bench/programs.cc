// SPDX-License-Identifier: MIT
//
// programs: runs redis, python, sqlite, the compiler and Lua under each preloaded allocator, and compares time and peak memory.
//
// Idea.        Peak memory is what the system says of the process that ended, for the compiler the largest of its children. The system
//              begins that count with what this program has itself, a few megabytes, which is less than any of the programs needs.
//              Debian links redis-server to jemalloc, so glibc stands for itself there by a preload of libc.
#include "programs.hpp"

#include "answers.hpp"
#include "child.hpp"
#include "program_inputs.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <chrono>
#include <cstdlib>
#include <sstream>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace allot_bench {

namespace {

namespace fs = std::filesystem;

constexpr double time_bar = 1.0;
constexpr double memory_bar = 1.1;
constexpr double mib = 1 << 20;
constexpr double seconds_most = 120;

/// A program of the system, found where the distribution puts it before anything else in PATH; "" if it is not there.
fs::path find_program(const char* name) {
    std::istringstream path{std::string{"/usr/bin:/usr/local/bin:"} + (std::getenv("PATH") ? std::getenv("PATH") : "")};
    for (std::string folder; std::getline(path, folder, ':');)
        if (const fs::path found = fs::path{folder} / name; access(found.c_str(), X_OK) == 0)
            return found;
    return "";
}

/// A folder that is gone with its contents when the table is done.
struct work_folder {
    fs::path path;
    work_folder() {
        std::string name = fs::temp_directory_path() / "allot_bench_XXXXXX";
        if (mkdtemp(name.data()) != nullptr)
            path = name;
    }
    work_folder(const work_folder&) = delete;
    work_folder& operator=(const work_folder&) = delete;
    ~work_folder() {
        std::error_code error;
        if (!path.empty())
            fs::remove_all(path, error);
    }
};

// --- redis ---------------------------------------------------------------------------------------------------------------------

sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/// A port of the loopback that nobody uses; 0 if there is none.
std::uint16_t free_port() {
    const int socket_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    const bool bound = bind(socket_fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                       getsockname(socket_fd, reinterpret_cast<sockaddr*>(&address), &size) == 0;
    close(socket_fd);
    return bound ? ntohs(address.sin_port) : std::uint16_t{0};
}

bool answers_on(std::uint16_t port) {
    for (int attempt = 0; attempt < 1000; ++attempt) {
        const int socket_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const sockaddr_in address = loopback(port);
        const bool connected = connect(socket_fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
        close(socket_fd);
        if (connected)
            return true;
        std::this_thread::sleep_for(std::chrono::milliseconds{10});
    }
    return false;
}

/// The server is the one with the allocator; the time is that of the load, the memory that of the server.
outcome run_redis(const std::string& preload, const fs::path& folder) {
    const std::string port = std::to_string(free_port());
    child server{{find_program("redis-server"),
                  {"--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", folder.string(), "--activedefrag",
                   "no", "--loglevel", "warning"},
                  preload.empty() ? "libc.so.6" : preload,
                  {}}};
    const bool started = answers_on(static_cast<std::uint16_t>(std::stoul(port)));
    outcome load;
    if (started)
        load = run({find_program("redis-benchmark"),
                    {"-h", "127.0.0.1", "-p", port, "-q", "-n", "300000", "-r", "100000", "-d", "200", "-P", "16", "-t",
                     "set,get,lpush"},
                    "",
                    {}},
                   seconds_most);
    server.ask_to_end();
    outcome result = server.finish(10);
    result.wall_s = load.wall_s;
    if (result.trouble.empty())
        result.trouble = started ? load.trouble : "redis-server does not answer";
    return result;
}

// --- All of them ----------------------------------------------------------------------------------------------------------------

struct program {
    const char* name;
    std::vector<const char*> needs;
    std::vector<std::string> arguments; // of the first of `needs`; the inputs are in the folder at '@'
    std::vector<std::string> variables;
};

const std::vector<program>& programs() {
    static const std::vector<program> all{
        {"redis", {"redis-server", "redis-benchmark"}, {}, {}},
        {"python", {"python3"}, {"@/work.py"}, {}},
        {"python_malloc", {"python3"}, {"@/work.py"}, {"PYTHONMALLOC=malloc"}},
        {"sqlite", {"sqlite3"}, {":memory:", ".read @/work.sql"}, {}},
        {"compiler", {"g++"}, {"-std=c++20", "-O1", "-c", "@/work.cc", "-o", "@/work.o"}, {}},
        {"lua", {"lua5.4"}, {"@/work.lua"}, {}},
    };
    return all;
}

outcome run_program(const program& what, const std::string& preload, const fs::path& folder) {
    if (std::string{"redis"} == what.name)
        return run_redis(preload, folder);
    std::vector<std::string> arguments = what.arguments;
    for (std::string& one : arguments)
        if (const std::size_t place = one.find('@'); place != std::string::npos)
            one.replace(place, 1, folder.string());
    return run({find_program(what.needs[0]), arguments, preload, what.variables}, seconds_most);
}

/// The programs that are there; prints which are not.
std::vector<program> find_programs() {
    std::vector<program> found;
    for (const program& one : programs()) {
        const auto missing = std::find_if(one.needs.begin(), one.needs.end(),
                                          [](const char* name) { return find_program(name).empty(); });
        if (missing == one.needs.end())
            found.push_back(one);
        else
            std::printf("left out  %s: %s is not installed\n", one.name, *missing);
    }
    return found;
}

std::vector<variant> find_allocators(const std::vector<extra_peer>& extra) {
    std::vector<absence> absent;
    std::vector<variant> found = find_variants(extra, absent);
    std::erase_if(found, [](const variant& who) {
        return who.how != linkage::preloaded || (who.is != role::ours && who.is != role::peer);
    });
    for (const absence& one : absent)
        if (one.how == linkage::preloaded)
            std::printf("left out  %s: %s\n", one.name.c_str(), one.reason.c_str());
    return found;
}

std::string key(const program& what, const variant& who, const char* sample) {
    return std::string{what.name} + "_" + who.name + "_" + sample;
}

std::string measure(const programs_task& what, const std::vector<program>& found,
                    const std::vector<variant>& allocators, const fs::path& folder, answers& all) {
    for (std::size_t round = 0; round < what.rounds; ++round) {
        std::fprintf(stderr, "allot_bench: programs, round %zu of %zu\n", round + 1, what.rounds);
        for (const program& one : found)
            for (std::size_t turn = 0; turn < allocators.size(); ++turn) {
                const variant& who = allocators[(turn + round) % allocators.size()];
                const outcome ended = run_program(one, who.preload, folder);
                if (!ended.trouble.empty())
                    return std::string{one.name} + " with " + who.name + ": " + ended.trouble;
                all[key(one, who, "wall_s")].push_back(ended.wall_s);
                all[key(one, who, "cpu_s")].push_back(ended.cpu_s);
                all[key(one, who, "bytes")].push_back(ended.most_resident_bytes);
            }
    }
    return "";
}

/// Judges ours against the peer with the least median of that sample.
void judge_program(const program& what, const std::vector<variant>& allocators, const answers& all, const char* sample,
                   double bar, std::vector<verdict>& verdicts) {
    const auto samples = [&](const variant& who) { return samples_of(all, key(what, who, sample)); };
    const variant* mine = nullptr;
    const variant* best = nullptr;
    for (const variant& who : allocators)
        if (who.is == role::ours)
            mine = &who;
        else if (best == nullptr || sum_up(samples(who)).median < sum_up(samples(*best)).median)
            best = &who;
    if (mine == nullptr || best == nullptr)
        return;
    const char* const word = sample[0] == 'w' ? "time" : "peak memory";
    verdicts.push_back(judge(9, std::string{what.name} + ", " + word + " / best peer",
                             ratio_between(samples(*mine), samples(*best)), bar, "x"));
    verdicts.back().note = best->name;
}

void print_program(const program& what, const std::vector<variant>& allocators, const answers& all) {
    std::printf("\n%-16s %10s %7s %12s %14s %7s\n", what.name, "seconds", "+-", "processor s", "peak MiB", "+-");
    for (const variant& who : allocators) {
        const figure seconds = sum_up(samples_of(all, key(what, who, "wall_s")));
        const figure bytes = sum_up(samples_of(all, key(what, who, "bytes")));
        std::printf("%-16s %10.3f %6.1f%% %12.3f %14.1f %6.1f%%\n", who.name.c_str(), seconds.median,
                    seconds.spread_percent(), sum_up(samples_of(all, key(what, who, "cpu_s"))).median,
                    bytes.median / mib, bytes.spread_percent());
    }
}

plot picture_of(const std::vector<program>& found, const std::vector<variant>& allocators, const answers& all,
                const char* sample, const char* label, double unit) {
    plot picture{std::string{"programs_"} + sample, "whole programs under preload", "", label, {}, {}};
    for (const program& one : found)
        picture.x_names.emplace_back(one.name);
    for (const variant& who : allocators) {
        std::vector<std::string> names;
        for (const program& one : found)
            names.push_back(key(one, who, sample));
        picture.lines.push_back(line_through(all, who.name, names, unit, who.is == role::ours));
    }
    return picture;
}

} // namespace

std::string run_programs(const programs_task& what, const fs::path& folder, std::vector<verdict>& verdicts) {
    const work_folder place;
    if (place.path.empty())
        return "cannot make a folder for the inputs";
    if (std::string trouble = write_inputs(place.path); !trouble.empty())
        return trouble;
    const std::vector<program> found = find_programs();
    const std::vector<variant> allocators = find_allocators(what.peers);
    answers all;
    if (std::string trouble = measure(what, found, allocators, place.path, all); !trouble.empty())
        return trouble;
    std::printf("\nwhole programs under preload; medians of %zu rounds\n", what.rounds);
    for (const program& one : found) {
        print_program(one, allocators, all);
        judge_program(one, allocators, all, "wall_s", time_bar, verdicts);
        judge_program(one, allocators, all, "bytes", memory_bar, verdicts);
    }
    return write_and_draw(all,
                          {picture_of(found, allocators, all, "wall_s", "seconds", 1),
                           picture_of(found, allocators, all, "bytes", "peak resident MiB", mib)},
                          folder, "programs");
}

} // namespace allot_bench
