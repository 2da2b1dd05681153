// SPDX-License-Identifier: MIT
//
// run_command: checks, environment, the wait, the report.
//
// Idea.        A mistake is an exception of one type with the line and the exit status, caught in one place.
// Concurrency. one thread.
#include "run_command.hpp"

#include "process.hpp"
#include "program_check.hpp"
#include "report.hpp"
#include "stat_files.hpp"

#include "base/bytes.hpp"
#include "front/rules.hpp"

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string_view>
#include <unistd.h>

extern char** environ;

namespace allot::tool {

namespace {

namespace fs = std::filesystem;

constexpr double every_seconds_min = 0.01;

/// Why the program is not started.
struct refusal {
    int status;
    std::string line;
};

[[noreturn]] void bad_use(std::string line) { throw refusal{status_bad_use, std::move(line)}; }

/// A directory that goes away at the end.
class temporary_folder {
  public:
    temporary_folder() {
        std::string pattern = parent() + "/allot.XXXXXX";
        if (::mkdtemp(pattern.data()) == nullptr)
            bad_use("cannot make the folder " + pattern + ": " + std::strerror(errno));
        path_ = pattern;
    }
    ~temporary_folder() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    temporary_folder(const temporary_folder&) = delete;
    temporary_folder& operator=(const temporary_folder&) = delete;
    const std::string& path() const { return path_; }

  private:
    /// Shared memory if there is enough: the counters are written all the time and need no disk behind them.
    static std::string parent() {
        constexpr const char* memory = "/dev/shm";
        constexpr std::uintmax_t enough_bytes = 128 << 20; // a file that grows where there is no room kills its process
        if (const char* chosen = std::getenv("TMPDIR"); chosen != nullptr && *chosen != '\0')
            return chosen;
        std::error_code failed;
        const fs::space_info room = fs::space(memory, failed);
        return !failed && room.available >= enough_bytes && ::access(memory, W_OK | X_OK) == 0 ? memory : "/tmp";
    }
    std::string path_;
};

/// Where the report goes. Opened before the program starts, so that a bad path costs nothing.
class output {
  public:
    explicit output(const std::string& path) {
        if (path.empty())
            return;
        fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (fd_ < 0)
            bad_use("cannot write " + path + ": " + std::strerror(errno));
    }
    ~output() {
        if (fd_ != STDERR_FILENO)
            ::close(fd_);
    }
    output(const output&) = delete;
    output& operator=(const output&) = delete;

    void write(std::string_view text) const {
        while (!text.empty()) {
            const ssize_t written = ::write(fd_, text.data(), text.size());
            if (written < 0 && errno != EINTR)
                return; // nobody listens any more; the program's status is what counts
            text.remove_prefix(written > 0 ? static_cast<std::size_t>(written) : 0);
        }
    }

  private:
    int fd_ = STDERR_FILENO;
};

void check_rules(const std::string& path) {
    if (!fs::is_regular_file(path))
        bad_use("cannot read the rules file " + path + ": " +
                (fs::exists(path) ? "it is no regular file" : std::strerror(ENOENT)));
    std::ifstream in(path, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    if (!in)
        bad_use("cannot read the rules file " + path);
    const auto rules = std::make_unique<front::rule_set>();
    front::rule_error error;
    if (front::parse_rules(text, *rules, error))
        return;
    std::string message(front::format_rule_error(path, error, nullptr, 0) + 1, '\0');
    front::format_rule_error(path, error, message.data(), message.size());
    message.pop_back();
    bad_use(message);
}

/// "512M" as a decimal number, or empty for empty.
std::string checked_max(const std::string& text) {
    std::uint64_t bytes = 0;
    if (text.empty())
        return {};
    if (!base::parse_bytes(text, bytes))
        bad_use("--max is '" + text + "'; it has to be a size such as 512M, 1.5G or max");
    return bytes == base::bytes_unlimited ? "max" : std::to_string(bytes);
}

std::string checked_group_by(const run_options& options) {
    if (options.group_by.empty())
        return options.rules.empty() ? "thread" : "none";
    if (options.group_by != "thread" && options.group_by != "library" && options.group_by != "none")
        bad_use("--group-by is '" + options.group_by + "'; it can be thread, library or none");
    return options.group_by;
}

fs::path own_folder() {
    std::error_code ignored;
    return fs::read_symlink("/proc/self/exe", ignored).parent_path();
}

/// The preload library: what ALLOT_MALLOC_LIBRARY says, or beside this program as built or as installed.
std::string find_library() {
    constexpr const char* name = "liballot_malloc.so";
    std::string found;
    if (const char* chosen = std::getenv("ALLOT_MALLOC_LIBRARY"); chosen != nullptr && *chosen != '\0') {
        found = fs::absolute(chosen);
        if (::access(found.c_str(), R_OK) != 0)
            bad_use("ALLOT_MALLOC_LIBRARY names " + found + ": " + std::strerror(errno));
    } else {
        const fs::path here = own_folder();
        const fs::path libraries = ALLOT_LIBRARY_FOLDER;
        for (const fs::path& folder :
             {here, here / ".." / "lib", libraries.is_absolute() ? libraries : here / ".." / libraries})
            if (found.empty() && ::access((folder / name).c_str(), R_OK) == 0)
                found = (folder / name).lexically_normal();
        if (found.empty())
            bad_use(std::string("cannot find ") + name + " beside " + here.string() + " or in ../" +
                    libraries.string() + "; ALLOT_MALLOC_LIBRARY can name it");
    }
    if (found.find_first_of(": ") != std::string::npos)
        bad_use("the path " + found +
                " holds a space or a colon, which LD_PRELOAD cannot carry; ALLOT_MALLOC_LIBRARY can name "
                "a link to it");
    return found;
}

/// Our environment with `changes`; an empty value takes a variable away.
std::vector<std::string> changed_environment(const std::vector<std::pair<std::string, std::string>>& changes) {
    std::vector<std::string> result;
    for (char** variable = environ; *variable != nullptr; ++variable) {
        const std::string_view text = *variable;
        bool replaced = false;
        for (const auto& [name, value] : changes)
            replaced = replaced || text.starts_with(name + "=");
        if (!replaced)
            result.emplace_back(text);
    }
    for (const auto& [name, value] : changes)
        if (!value.empty())
            result.push_back(name + "=" + value);
    return result;
}

std::string preload_value(const std::string& library) {
    const char* const others = std::getenv("LD_PRELOAD");
    return others == nullptr || *others == '\0' ? library : library + ":" + others;
}

int run_checked(const run_options& options) {
    if (options.command.empty())
        bad_use("which program? allot run [OPTIONS] -- PROGRAM [ARGUMENTS]");
    if (options.every_seconds < 0 || (options.every_seconds > 0 && options.every_seconds < every_seconds_min))
        bad_use("--every has to be at least " + std::to_string(every_seconds_min).substr(0, 4) + " seconds");
    const std::string max = checked_max(options.max);
    const std::string group_by = checked_group_by(options);
    if (!options.rules.empty())
        check_rules(options.rules);
    const program_check program = check_program(options.command.front());
    if (program.status != 0)
        throw refusal{program.status, program.refusal};
    const std::string library = find_library();
    const output out(options.output);
    const temporary_folder folder;

    process child;
    const int error = child.start(
        program.path, options.command,
        changed_environment({{"LD_PRELOAD", preload_value(library)},
                             {"ALLOT_STAT_DIR", folder.path()},
                             {"ALLOT_RULES", options.rules.empty() ? "" : fs::absolute(options.rules).string()},
                             {"ALLOT_GROUP_BY", group_by},
                             {"ALLOT_MAX", max}}));
    if (error != 0)
        throw refusal{error == ENOENT ? status_not_found : status_not_executable,
                      options.command.front() + ": " + std::strerror(error)};

    stat_folder files(folder.path());
    run_report report;
    report.command = options.command;
    report.pid = child.pid();
    const bool repeated = options.every_seconds > 0;
    const auto print = [&] {
        report.program = files.read_program(child.pid());
        report.children = files.read_children(child.pid());
        out.write(options.json ? to_json(report, !repeated) : to_text(report));
    };
    const auto tick = [&] {
        files.fold_ended(child.pid());
        report.seconds = child.seconds();
        if (repeated)
            print();
    };
    const std::chrono::duration<double> interval(repeated ? options.every_seconds : 1.0);
    report.end = child.wait(std::chrono::ceil<std::chrono::milliseconds>(interval), tick);
    print();
    return report.end->shell_status();
}

} // namespace

int run_command(const run_options& options) {
    try {
        return run_checked(options);
    } catch (const refusal& r) {
        std::fprintf(stderr, "allot: %s\n", r.line.c_str());
        return r.status;
    }
}

} // namespace allot::tool
