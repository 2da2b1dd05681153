// SPDX-License-Identifier: MIT
//
// snapshot: collecting and writing.
//
// Idea.        See snapshot.hpp. Text is put together in a buffer on the stack, a line at a time: nothing allocates.
// Concurrency. Context task.
#include "observe/snapshot.hpp"

#include "base/bytes.hpp"
#include "group/mem_cgroup.hpp"
#include "platform/memory.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace allot::observe {

namespace {

/// One figure of a group: how it is called, and whether the table shows it.
struct field {
    const char* name;
    std::uint64_t allot_stat::*value;
    bool in_table;
    bool is_bytes;
};

constexpr field fields[] = {
    {"current", &allot_stat::current, true, true},
    {"peak", &allot_stat::peak, true, true},
    {"local", &allot_stat::local, true, true},
    {"slab", &allot_stat::slab, false, true},
    {"shared", &allot_stat::shared, false, true},
    {"large", &allot_stat::large, false, true},
    {"external", &allot_stat::external, false, true},
    {"metadata", &allot_stat::metadata, false, true},
    {"allocations", &allot_stat::allocations, true, false},
    {"failures", &allot_stat::failures, true, false},
    {"max_events", &allot_stat::max_events, false, false},
    {"high_events", &allot_stat::high_events, false, false},
};

/// Length of the UTF-8 sequence at `text`, 0 if it is none (broken, overlong, a surrogate, or beyond U+10FFFF).
std::size_t utf8_length(const char* text) noexcept {
    const auto byte = [text](std::size_t i) noexcept { return static_cast<unsigned char>(text[i]); };
    if (byte(0) < 0x80)
        return 1;
    const std::size_t length = byte(0) < 0xc2 ? 0 : byte(0) < 0xe0 ? 2 : byte(0) < 0xf0 ? 3 : byte(0) < 0xf5 ? 4 : 0;
    for (std::size_t i = 1; i < length; ++i)
        if ((byte(i) & 0xc0) != 0x80)
            return 0;
    const bool overlong = (byte(0) == 0xe0 && byte(1) < 0xa0) || (byte(0) == 0xf0 && byte(1) < 0x90);
    const bool outside = (byte(0) == 0xed && byte(1) >= 0xa0) || (byte(0) == 0xf4 && byte(1) >= 0x90);
    return length != 0 && (overlong || outside) ? 0 : length;
}

struct output {
    write_function write;
    void* data;

    void text(const char* piece) noexcept { write(piece, std::strlen(piece), data); }
    template <class... T> void print(const char* format, T... values) noexcept {
        char line[256];
        const int length = std::snprintf(line, sizeof line, format, values...);
        if (length > 0)
            write(line,
                  static_cast<std::size_t>(length) < sizeof line ? static_cast<std::size_t>(length) : sizeof line - 1,
                  data);
    }
    /// Names may hold any bytes; what is no UTF-8 is written as U+FFFD.
    void json_string(const char* value) noexcept {
        text("\"");
        while (*value != '\0') {
            const std::size_t length = utf8_length(value);
            if (length == 0)
                text("\\ufffd");
            else if (*value == '"' || *value == '\\')
                print("\\%c", *value);
            else
                write(value, length, data);
            value += length != 0 ? length : 1;
        }
        text("\"");
    }
};

void write_limit(output& out, const char* name, std::uint64_t value, const char* end) noexcept {
    if (value == ALLOT_UNLIMITED)
        out.print("\"%s\":null%s", name, end);
    else
        out.print("\"%s\":%llu%s", name, static_cast<unsigned long long>(value), end);
}

void write_json(output& out, memcg::mem_cgroup& group, bool first) noexcept {
    char path[ALLOT_PATH_MAX + 1];
    allot_stat stat;
    allot_limits limits;
    memcg::path_of(group, path, sizeof path);
    memcg::read_stat(group, stat);
    memcg::read_limits(group.counter(), limits);
    out.text(first ? "\n{\"path\":" : ",\n{\"path\":");
    out.json_string(path);
    out.print(",\"id\":%u,", group.id);
    for (const field& f : fields)
        out.print("\"%s\":%llu,", f.name, static_cast<unsigned long long>(stat.*f.value));
    write_limit(out, "min", limits.min, ",");
    write_limit(out, "low", limits.low, ",");
    write_limit(out, "high", limits.high, ",");
    write_limit(out, "max", limits.max, ",");
    out.print("\"nr_children\":%u,\"nr_dying\":%u}", stat.nr_children, stat.nr_dying);
}

void write_line(output& out, memcg::mem_cgroup& group) noexcept {
    char path[ALLOT_PATH_MAX + 1];
    char bytes[base::bytes_text_size];
    allot_stat stat;
    memcg::path_of(group, path, sizeof path);
    memcg::read_stat(group, stat);
    out.print("%-40.200s", path);
    for (const field& f : fields) {
        if (!f.in_table)
            continue;
        if (f.is_bytes) {
            base::format_bytes(bytes, sizeof bytes, stat.*f.value);
            out.print(" %12s", bytes);
        } else {
            out.print(" %12llu", static_cast<unsigned long long>(stat.*f.value));
        }
    }
    base::format_bytes(bytes, sizeof bytes, group.counter().max.load(std::memory_order_relaxed)); // relaxed: a figure
    out.print(" %12s\n", bytes);
}

void write_heading(output& out) noexcept {
    out.print("%-40s", "group");
    for (const field& f : fields)
        if (f.in_table)
            out.print(" %12s", f.name);
    out.print(" %12s\n", "max");
}

} // namespace

int snapshot(allot_format format, write_function write, void* data) noexcept {
    if (format != ALLOT_FORMAT_TEXT && format != ALLOT_FORMAT_JSON)
        return -EINVAL;
    const std::size_t room = memcg::count_subtree(*memcg::root_group) + 64; // some may come meanwhile
    const std::size_t bytes = room * sizeof(memcg::mem_cgroup*);
    auto** groups = static_cast<memcg::mem_cgroup**>(platform::map(bytes));
    if (groups == nullptr)
        return -ENOMEM;
    const std::size_t count = memcg::collect_subtree(*memcg::root_group, groups, room);
    output out{write, data};
    const bool json = format == ALLOT_FORMAT_JSON;
    if (json)
        out.text("{\"groups\":[");
    else
        write_heading(out);
    for (std::size_t i = 0; i < count; ++i) {
        if (json)
            write_json(out, *groups[i], i == 0);
        else
            write_line(out, *groups[i]);
        memcg::put(*groups[i]);
    }
    if (json)
        out.text("]}\n");
    platform::unmap(groups, bytes);
    return 0;
}

} // namespace allot::observe
