// SPDX-License-Identifier: MIT
//
// stat_files: the reader.
//
// Idea.        Records name their parents by index; the tree is put together from that, each record visited once, so a file with
//              cycles or wild indices gives a strange tree but an end.
// Concurrency. one thread.
#include "stat_files.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

namespace allot::tool {

namespace {

static_assert(sizeof(allot_stat_header) == 256 && sizeof(allot_stat_record) == 256);

class file {
  public:
    explicit file(const std::string& path)
        : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)) {}
    ~file() {
        if (fd_ >= 0)
            ::close(fd_);
    }
    file(const file&) = delete;
    file& operator=(const file&) = delete;

    bool is_regular() const {
        struct stat info {};
        return fd_ >= 0 && ::fstat(fd_, &info) == 0 && S_ISREG(info.st_mode);
    }
    /// Fills `to`, with zeros where the file ends. False on an error.
    bool read(void* to, std::size_t size, off_t offset) const {
        auto* at = static_cast<char*>(to);
        while (size != 0) {
            const ssize_t got = ::pread(fd_, at, size, offset);
            if (got < 0 && errno != EINTR)
                return false;
            if (got == 0) {
                std::memset(at, 0, size);
                return true;
            }
            if (got > 0) {
                at += got;
                offset += got;
                size -= static_cast<std::size_t>(got);
            }
        }
        return true;
    }

  private:
    int fd_;
};

std::string text(const char* chars, std::size_t size) {
    std::string result(chars, ::strnlen(chars, size));
    for (char& c : result) // it goes to a terminal
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            c = '?';
    return result;
}

group_figures figures_of(const allot_stat_record& record) {
    group_figures g;
    g.name = text(record.name, sizeof record.name);
    g.dying = record.state == ALLOT_RECORD_DYING;
    g.own = record.slab + record.shared + record.large + record.external + record.metadata;
    g.current = record.usage;
    g.peak = std::max(record.peak, record.usage);
    g.min = record.min;
    g.low = record.low;
    g.high = record.high;
    g.max = record.max;
    g.allocations = record.allocations;
    g.failures = record.failures;
    g.max_events = record.max_events;
    g.high_events = record.high_events;
    g.slab = record.slab;
    g.shared = record.shared;
    g.large = record.large;
    g.external = record.external;
    g.metadata = record.metadata;
    return g;
}

/// Puts the records in tree order into `out`: depth first from the root, then what hangs on nothing.
class tree {
  public:
    tree(const std::vector<allot_stat_record>& records, std::vector<group_figures>& out)
        : records_(records), out_(out), children_(records.size()), visited_(records.size()) {
        for (std::size_t i = 1; i < records.size(); ++i)
            if (present(i))
                children_[present(records[i].parent) ? records[i].parent : 0].push_back(i);
        visit_from(0);
        for (std::size_t i = 1; i < records.size(); ++i)
            if (present(i) && !visited_[i])
                visit_from(i);
    }

  private:
    struct place {
        std::size_t index;
        std::string parent_path;
        unsigned depth;
    };

    bool present(std::size_t i) const {
        return i < records_.size() && (i == 0 || records_[i].state != ALLOT_RECORD_FREE);
    }

    void visit_from(std::size_t start) {
        std::vector<place> waiting{{start, "", start == 0 ? 0u : 1u}};
        while (!waiting.empty()) {
            const place here = std::move(waiting.back());
            waiting.pop_back();
            if (visited_[here.index])
                continue;
            visited_[here.index] = true;
            group_figures g = figures_of(records_[here.index]);
            g.depth = here.depth;
            g.path = here.depth == 0 ? "/" : here.parent_path + "/" + g.name;
            const std::string prefix = here.depth == 0 ? "" : g.path;
            out_.push_back(std::move(g));
            const auto& below = children_[here.index];
            for (auto child = below.rbegin(); child != below.rend(); ++child)
                waiting.push_back({*child, prefix, here.depth + 1});
        }
    }

    const std::vector<allot_stat_record>& records_;
    std::vector<group_figures>& out_;
    std::vector<std::vector<std::size_t>> children_;
    std::vector<bool> visited_;
};

bool is_running(pid_t pid) { return ::kill(pid, 0) == 0 || errno != ESRCH; }

} // namespace

bool group_figures::worth_a_line() const {
    return depth == 0 || peak != 0 || own != 0 || allocations != 0 || failures != 0 || min != 0 || low != 0 ||
           max != UINT64_MAX || high != UINT64_MAX;
}

std::uint64_t process_figures::allocations() const {
    std::uint64_t sum = 0;
    for (const group_figures& g : groups)
        sum += g.allocations;
    return sum;
}

std::uint64_t process_figures::failures() const {
    std::uint64_t sum = 0;
    for (const group_figures& g : groups)
        sum += g.failures;
    return sum;
}

std::optional<process_figures> read_stat_file(const std::string& path) {
    const file in(path);
    allot_stat_header header{};
    if (!in.is_regular() || !in.read(&header, sizeof header, 0) || header.magic != ALLOT_STAT_MAGIC ||
        header.version != ALLOT_STAT_VERSION || header.record_bytes != sizeof(allot_stat_record) || header.used == 0 ||
        header.used > ALLOT_STAT_CAPACITY)
        return std::nullopt;
    std::vector<allot_stat_record> records(header.used);
    if (!in.read(records.data(), records.size() * sizeof records[0], sizeof header))
        return std::nullopt;
    process_figures result;
    result.pid = header.pid;
    result.command = text(header.command, sizeof header.command);
    result.unpublished = header.unpublished;
    const tree sorted(records, result.groups);
    std::int64_t shares = 0;
    for (const group_figures& g : result.groups)
        shares += g.own;
    result.in_flight = static_cast<std::int64_t>(result.total()) - shares;
    return result;
}

std::optional<process_figures> stat_folder::read_program(pid_t pid) const {
    return read_stat_file(path_ + "/" + std::to_string(pid) + ".stat");
}

std::vector<stat_folder::child_file> stat_folder::child_files(pid_t program) const {
    std::vector<child_file> found;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(path_, ignored)) {
        const std::string name = entry.path().filename();
        const pid_t pid = std::atoi(name.c_str());
        if (pid > 0 && pid != program && name == std::to_string(pid) + ".stat")
            found.push_back({entry.path(), pid});
    }
    return found;
}

void stat_folder::add(const process_figures& process, children& sums) {
    ++sums.processes;
    for (const group_figures& g : process.groups) {
        if (g.peak == 0 && g.own == 0 && g.allocations == 0 && g.failures == 0)
            continue;
        child_group& sum = sums.groups[g.path];
        ++sum.processes;
        sum.own += g.own + (g.depth == 0 ? process.in_flight : 0);
        sum.peak = std::max(sum.peak, g.peak);
        sum.allocations += g.allocations;
        sum.failures += g.failures;
    }
}

void stat_folder::fold_ended(pid_t program) {
    for (const child_file& child : child_files(program)) {
        if (is_running(child.pid))
            continue;
        if (const auto figures = read_stat_file(child.path))
            add(*figures, ended_);
        ::unlink(child.path.c_str());
    }
}

stat_folder::children stat_folder::read_children(pid_t program) const {
    children sums = ended_;
    for (const child_file& child : child_files(program))
        if (const auto figures = read_stat_file(child.path))
            add(*figures, sums);
    return sums;
}

} // namespace allot::tool
