// SPDX-License-Identifier: MIT
//
// stat_files: reads the figures that processes publish (allot/stat_file.h) and adds them up.
//
// Idea.        A file is read with pread, not mapped, so that one that is cut meanwhile cannot kill the reader, and nothing in it is
//              believed before it is checked. A group's own share is the sum of its classes; what the root's usage says
//              beyond the sum of all shares was between two counters when the process was looked at or killed, and stands
//              in a line of its own: so the table always adds up, and an error of accounting would show.
// Concurrency. one thread; the writers are other processes, at any time.
// Checked by.  test/programs/table.sh
#pragma once

#include <allot/stat_file.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace allot::tool {

/// One group of one process. Bytes unless said; `own` and the classes are the group's alone, `current` and `peak` its subtree's.
struct group_figures {
    std::string path;
    std::string name;
    unsigned depth = 0; ///< 0: the root
    bool dying = false;
    std::int64_t own = 0;
    std::uint64_t current = 0;
    std::uint64_t peak = 0;
    std::uint64_t min = 0;
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    std::uint64_t max = 0;
    std::uint64_t allocations = 0; ///< count
    std::uint64_t failures = 0;    ///< count
    std::uint64_t max_events = 0;  ///< count
    std::uint64_t high_events = 0; ///< count
    std::int64_t slab = 0;
    std::int64_t shared = 0;
    std::int64_t large = 0;
    std::int64_t external = 0;
    std::int64_t metadata = 0;

    /// True if there is anything to say about it: it was used, or somebody gave it limits.
    bool worth_a_line() const;
};

struct process_figures {
    pid_t pid = 0;
    std::string command;
    std::vector<group_figures> groups; ///< parents first, children in the order of their records; [0] is the root
    std::int64_t in_flight = 0;        ///< the root's usage minus all shares
    std::uint64_t unpublished = 0;     ///< count: groups that are not in the file

    std::uint64_t total() const { return groups.front().current; }
    std::uint64_t allocations() const;
    std::uint64_t failures() const;
};

/// Reads one file. Nothing if it is missing, unfinished or not of this version.
std::optional<process_figures> read_stat_file(const std::string& path);

/// One group path over all child processes.
struct child_group {
    std::uint64_t processes = 0; ///< count: that used the group
    std::int64_t own = 0;        ///< sum of their shares at their ends
    std::uint64_t peak = 0;      ///< the largest of one process
    std::uint64_t allocations = 0;
    std::uint64_t failures = 0;
};

/// The directory of one run: the program's file and those of its children.
class stat_folder {
  public:
    explicit stat_folder(std::string path) : path_(std::move(path)) {}

    /// The figures of the program itself.
    std::optional<process_figures> read_program(pid_t pid) const;
    /// Adds the files of children that have ended to the sums and removes them, so that a long run does not fill the disk.
    void fold_ended(pid_t program);
    /// The sums with those of children that still run.
    struct children {
        std::uint64_t processes = 0;
        std::map<std::string, child_group> groups; // by path
    };
    children read_children(pid_t program) const;

  private:
    struct child_file {
        std::string path;
        pid_t pid;
    };
    std::vector<child_file> child_files(pid_t program) const;
    static void add(const process_figures& process, children& sums);

    std::string path_;
    children ended_;
};

} // namespace allot::tool
