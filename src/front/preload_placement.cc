// SPDX-License-Identifier: MIT
//
// preload_placement: the tables behind the two questions, and how they are filled.
//
// Idea.        Caller -> page -> target -> group. A page belongs to one object, so one word of a direct-mapped cache holds the page
//              and the index of its target; a miss asks _dl_find_object(), which takes no lock and is async-signal-safe, for
//              the object, and the rules for its name. A library that is seen for the first time under ALLOT_GROUP_BY=library
//              gets a target without a group; the executor makes the group, and the thread's group serves meanwhile.
//              Nothing here is ever freed: groups and tables are a bounded number.
// Invariants.  I1  Target 0 means "the thread's group". A target's name and order are constant once its `wanted` is set.
//              I2  `settings` is constant after placement_init().
// Concurrency. see preload_placement.hpp. Tables grow by fetch_add and are published entry by entry.
// Lock order.  takes none.
#include "front/preload_placement.hpp"

#include "front/rules.hpp"

#include "base/bytes.hpp"
#include "platform/memory.hpp"
#include "platform/os.hpp"
#include "slab/heap.hpp"
#include "sync/executor.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <initializer_list>
#include <link.h>
#include <new>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#pragma weak _dl_find_object

namespace allot::front {

constinit std::atomic<std::size_t> placement_small_end{slab::small_table_max_bytes + 1};

namespace {

constexpr std::size_t targets_max = 1024;
constexpr std::size_t thread_groups_max = 256;
constexpr std::size_t cache_entries = 1024;
constexpr std::uint16_t no_order = UINT16_MAX;
constexpr std::uint16_t group_by_order = no_order - 1;

struct target {
    std::atomic<allot_group*> group;
    std::atomic<bool> wanted;
    std::uint16_t order; // the rule's number; a smaller one wins
    char name[ALLOT_NAME_MAX + 1];
};

struct thread_group {
    std::atomic<allot_group*> group; // set last; null while the entry is being filled
    char name[thread_name_max + 1];
};

struct thread_place {
    std::uint32_t renames_seen; // of `renames`
    std::uint16_t order;        // number of the rule that placed this thread, plus one so that zero is "not placed yet"
};

struct {
    rule_set* rules;
    allot_group** rule_groups; // by number of the rule
    bool by_thread;            // groups by thread name, on first sight
    bool by_library;
    bool threads_matter; // by_thread, or a rule for threads, or a default
    bool libraries_matter;
    const link_map* own_object;
    char program_file[ALLOT_NAME_MAX + 1];    // file name of the program
    char program_thread[thread_name_max + 1]; // name of its first thread
} settings;                                   // I2

constinit target targets[targets_max] = {};
constinit std::atomic<std::uint32_t> target_count{1}; // I1
constinit std::uint16_t rule_targets[rules_max] = {};
constinit thread_group thread_groups[thread_groups_max] = {};
constinit std::atomic<std::uint32_t> thread_group_count{0};
// A page number above 16 bits of target index; zero: empty.
constinit std::atomic<std::uint64_t> cache[cache_entries] = {};
// Relaxed: a thread may see a renaming one malloc late.
constinit std::atomic<std::uint32_t> renames{0};
// The process that this state belongs to. A child of vfork shares it but is not it. Relaxed: written in forked children only.
constinit std::atomic<pid_t> home_pid{0};
__thread thread_place self __attribute__((tls_model("initial-exec"))) = {};

// --- Failing ----------------------------------------------------------------------------------------------------------------

void print_line(std::initializer_list<std::string_view> parts) noexcept {
    char line[1400];
    std::size_t used = 0;
    for (const std::string_view part : parts)
        for (const char c : part)
            if (used + 1 < sizeof line)
                line[used++] = c;
    line[used++] = '\n';
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line, used);
}

[[noreturn]] void refuse(std::initializer_list<std::string_view> parts) noexcept {
    print_line(parts);
    ::_exit(2);
}

std::string_view error_text(int error) noexcept {
    const char* const text = ::strerrordesc_np(error); // strerror() may allocate to translate
    return text != nullptr ? text : "unknown error";
}

// --- Groups -----------------------------------------------------------------------------------------------------------------

void copy_name(char* to, std::size_t size, std::string_view from) noexcept {
    const std::size_t length = from.size() < size ? from.size() : size - 1;
    for (std::size_t i = 0; i < length; ++i) {
        const auto c = static_cast<unsigned char>(from[i]);
        to[i] = c == '/' || c < 0x20 || c == 0x7f ? '_' : static_cast<char>(c); // what a group's name may not hold
    }
    to[length] = '\0';
}

/// Makes the child `name` of `parent`, or finds it, and stores a reference. Limits are set in either case.
int make_child(allot_group* parent, const char* name, const allot_limits* limits, allot_group** out) noexcept {
    const int made = ::allot_group_create(parent, name, limits, out);
    if (made != -EEXIST)
        return made;
    char path[ALLOT_PATH_MAX + 1];
    const std::size_t length = ::allot_group_path(parent, path, sizeof path);
    const std::size_t root = length == 1 ? 0 : length; // the root's path is the '/' itself
    const std::size_t name_length = std::strlen(name);
    if (root + 1 + name_length >= sizeof path)
        return -EINVAL;
    path[root] = '/';
    std::memcpy(path + root + 1, name, name_length + 1);
    const int found = ::allot_group_find(path, out);
    return found != 0 || limits == nullptr ? found : ::allot_group_set(*out, limits);
}

/// Makes the groups along `path` and stores a reference to the last. An empty path is the root.
int make_path(std::string_view path, const allot_limits* limits, allot_group** out) noexcept {
    allot_group* group = ::allot_root();
    if (path.empty() && limits != nullptr) {
        *out = group;
        return ::allot_group_set(group, limits);
    }
    while (!path.empty()) {
        const std::size_t slash = path.find('/');
        const std::size_t length = slash == std::string_view::npos ? path.size() : slash;
        char name[ALLOT_NAME_MAX + 1];
        copy_name(name, sizeof name, {path.data(), length});
        path.remove_prefix(slash == std::string_view::npos ? length : length + 1);
        allot_group* child = nullptr;
        const int made = make_child(group, name, path.empty() ? limits : nullptr, &child);
        ::allot_group_put(group);
        if (made != 0)
            return made;
        group = child;
    }
    *out = group;
    return 0;
}

// --- Threads ----------------------------------------------------------------------------------------------------------------

/// worker-12 and worker-7 are both "worker"; the program's own name keeps its number (python3). Never empty.
void thread_group_name(std::string_view thread, char (&name)[thread_name_max + 1]) noexcept {
    std::size_t length = thread.size();
    if (thread != settings.program_thread) {
        while (length > 0 && thread[length - 1] >= '0' && thread[length - 1] <= '9')
            --length;
        if (length < thread.size())
            while (length > 0 && std::strchr("-_#:. /", thread[length - 1]) != nullptr)
                --length;
    }
    copy_name(name, sizeof name, length == 0 ? std::string_view("thread") : std::string_view(thread.data(), length));
}

/// The group of a thread of this name under ALLOT_GROUP_BY=thread; null if there is none (yet). Context: any.
allot_group* find_thread_group(const char* name) noexcept {
    const std::uint32_t claimed = thread_group_count.load(std::memory_order_relaxed); // relaxed: (1) publishes entries
    for (std::uint32_t i = 0; i < claimed && i < thread_groups_max; ++i) {
        // (1) acquire: pairs with (2): who sees the group sees its name.
        allot_group* const group = thread_groups[i].group.load(std::memory_order_acquire);
        if (group != nullptr && std::strcmp(thread_groups[i].name, name) == 0)
            return group;
    }
    return nullptr;
}

/// The same, made on first sight. Two threads that race make two entries for the one group. Context: task.
allot_group* make_thread_group(const char* name) noexcept {
    allot_group* group = find_thread_group(name);
    if (group != nullptr)
        return group;
    if (thread_group_count.load(std::memory_order_relaxed) >= thread_groups_max || // relaxed: a bound, tested again
        make_child(::allot_root(), name, nullptr, &group) != 0)
        return nullptr;
    const std::uint32_t index = thread_group_count.fetch_add(1, std::memory_order_relaxed); // relaxed: (2) publishes
    if (index >= thread_groups_max)
        return group;
    std::memcpy(thread_groups[index].name, name, std::strlen(name) + 1);
    // (2) release: pairs with (1).
    thread_groups[index].group.store(group, std::memory_order_release);
    return group;
}

struct thread_decision {
    allot_group* group;  // null: nothing is said about this thread
    std::uint16_t order; // as thread_place::order
};

thread_decision decide_thread(std::string_view name, bool may_create) noexcept {
    const int rule = settings.rules != nullptr ? settings.rules->find_thread(name) : -1;
    if (rule >= 0)
        return {settings.rule_groups[rule], static_cast<std::uint16_t>(rule + 1)};
    if (!settings.by_thread)
        return {nullptr, no_order};
    char group_name[thread_name_max + 1];
    thread_group_name(name, group_name);
    return {may_create ? make_thread_group(group_name) : find_thread_group(group_name), no_order};
}

/// The calling thread's name, in `name`.
std::string_view own_name(char (&name)[thread_name_max + 1]) noexcept {
    name[0] = '\0';
    ::syscall(SYS_prctl, PR_GET_NAME, name, 0, 0, 0);
    name[thread_name_max] = '\0';
    return name;
}

void place_thread(bool may_create) noexcept {
    char buffer[thread_name_max + 1];
    const std::string_view name = own_name(buffer);
    if (name == "allot-worker")
        return; // the library's own thread does not allocate; it needs no group
    const platform::errno_guard keep;
    const bool was_placed = self.order != 0;
    const thread_decision decision = decide_thread(name, may_create);
    self.order = decision.order;
    if (decision.group != nullptr)
        ::allot_thread_set_group(decision.group);
    else if (was_placed)
        ::allot_thread_set_group(::allot_root());
}

/// Some thread was renamed by another, this one perhaps. The group is there: the other one made it. Context: any; a handler on
/// top of the library leaves it to a later malloc.
ALLOT_COLD void notice_renames(std::uint32_t seen) noexcept {
    if (self.order == 0 || slab::nested())
        return; // not placed yet: placement_thread_start() will look at the name
    self.renames_seen = seen;
    place_thread(false);
}

// --- Libraries --------------------------------------------------------------------------------------------------------------

/// Makes the groups of targets that have none. On the executor.
void make_wanted_groups(sync::work&) noexcept {
    const std::uint32_t count = target_count.load(std::memory_order_relaxed); // relaxed: (3) publishes entries
    for (std::uint32_t i = 1; i < count && i < targets_max; ++i) {
        target& t = targets[i];
        // (3) acquire: pairs with (4): the name is complete. The group itself is written here only: relaxed.
        if (!t.wanted.load(std::memory_order_acquire) || t.group.load(std::memory_order_relaxed) != nullptr)
            continue;
        allot_group* group = nullptr;
        if (make_child(::allot_root(), t.name, nullptr, &group) == 0)
            t.group.store(group, std::memory_order_release); // (5) release: pairs with (6): the group is complete.
    }
}

constinit sync::work create_work{make_wanted_groups};

/// The target of a library under ALLOT_GROUP_BY=library; claims one on first sight; 0 if there are too many. Context: any.
std::uint32_t claim_target(const char* name) noexcept {
    const std::uint32_t claimed = target_count.load(std::memory_order_relaxed); // relaxed: (3) publishes entries
    for (std::uint32_t i = 1; i < claimed && i < targets_max; ++i)
        if (targets[i].wanted.load(std::memory_order_acquire) && std::strcmp(targets[i].name, name) == 0) // as (3)
            return i;
    if (claimed >= targets_max)
        return 0;
    const std::uint32_t index = target_count.fetch_add(1, std::memory_order_relaxed); // relaxed: (4) publishes
    if (index >= targets_max)
        return 0;
    target& t = targets[index];
    t.order = group_by_order;
    std::memcpy(t.name, name, std::strlen(name) + 1);
    // (4) release: pairs with (3).
    t.wanted.store(true, std::memory_order_release);
    sync::queue_work(sync::stage::create, create_work);
    return index;
}

std::uint32_t target_of_object(const link_map* object) noexcept {
    if (object == settings.own_object)
        return 0;
    std::string_view file = settings.program_file;
    if (object->l_name != nullptr && object->l_name[0] != '\0')
        file = file_name_of(object->l_name);
    const int rule = settings.rules != nullptr ? settings.rules->find_library(file) : -1;
    if (rule >= 0)
        return rule_targets[rule]; // 0 for `default`: the thread's group
    if (!settings.by_library)
        return 0;
    char name[ALLOT_NAME_MAX + 1];
    copy_name(name, sizeof name, file);
    return claim_target(name);
}

std::atomic<std::uint64_t>& cache_entry(std::uintptr_t page) noexcept { return cache[page % cache_entries]; }

/// The target of a page that is not in the cache. Code that is in no object (a JIT's) is not cached: objects may come there.
ALLOT_COLD std::uint32_t look_up(const void* address, std::uintptr_t page) noexcept {
    const platform::errno_guard keep;
    dl_find_object found;
    if (::_dl_find_object(const_cast<void*>(address), &found) != 0)
        return 0;
    const std::uint32_t index = target_of_object(found.dlfo_link_map);
    // (7) release: pairs with (8): who reads the index reads a complete target.
    cache_entry(page).store(std::uint64_t{page} << 16 | index, std::memory_order_release);
    return index;
}

// --- The environment --------------------------------------------------------------------------------------------------------

/// Maps the text of the rules file. An unreadable file is a warning: a child that has dropped its privileges must go on.
bool read_file(const char* path, std::string_view& text) noexcept {
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == EACCES) {
        print_line({"allot: cannot read ", path, ": ", error_text(errno), "; running without rules"});
        return false;
    }
    if (fd < 0)
        refuse({"allot: cannot read ", path, ": ", error_text(errno)});
    const std::size_t size = rules_text_max + 1; // one more than is legal, so that too long a file shows
    auto* const memory = static_cast<char*>(platform::map(size));
    std::size_t used = 0;
    while (memory != nullptr && used < size) {
        const ssize_t got = ::read(fd, memory + used, size - used);
        if (got < 0 && errno != EINTR)
            refuse({"allot: cannot read ", path, ": ", error_text(errno)});
        if (got == 0)
            break;
        used += got > 0 ? static_cast<std::size_t>(got) : 0;
    }
    ::close(fd);
    if (memory == nullptr)
        refuse({"allot: out of memory"});
    text = {memory, used};
    return true;
}

void make_rule_group(const rule& r, std::size_t number) noexcept {
    allot_group* group = nullptr;
    const int made = make_path(r.group, r.has_limits ? &r.limits : nullptr, &group);
    if (made != 0)
        refuse({"allot: cannot make the group ", r.group, ": ", error_text(-made)});
    settings.rule_groups[number] = group;
    if (r.kind != rule_kind::library)
        return;
    const std::uint32_t index = target_count.fetch_add(1, std::memory_order_relaxed); // relaxed: init, one thread
    targets[index].order = static_cast<std::uint16_t>(number + 1);
    targets[index].group.store(group, std::memory_order_release); // as (5)
    rule_targets[number] = static_cast<std::uint16_t>(index);
}

void read_rules(const char* path) noexcept {
    std::string_view text;
    if (!read_file(path, text))
        return;
    void* const memory = platform::map(sizeof(rule_set) + rules_max * sizeof(allot_group*));
    if (memory == nullptr)
        refuse({"allot: out of memory"});
    auto* const rules = ::new (memory) rule_set;
    settings.rule_groups = reinterpret_cast<allot_group**>(rules + 1);
    rule_error error;
    if (!parse_rules(text, *rules, error)) {
        char message[1200];
        format_rule_error(path, error, message, sizeof message);
        refuse({"allot: ", message});
    }
    settings.rules = rules;
    std::size_t number = 0;
    for (const rule& r : rules->rules())
        make_rule_group(r, number++);
}

void read_max(const char* text) noexcept {
    allot_limits limits = ALLOT_LIMITS_INIT;
    if (!base::parse_bytes(text, limits.max))
        refuse({"allot: ALLOT_MAX is '", text, "'; it has to be a size such as 512M or max"});
    const int set = ::allot_group_set(::allot_root(), &limits);
    if (set != 0)
        refuse({"allot: cannot set the limit of the root to ", text, ": ", error_text(-set)});
}

void read_group_by(std::string_view text) noexcept {
    settings.by_thread = text == "thread";
    settings.by_library = text == "library";
    if (!settings.by_thread && !settings.by_library && text != "none")
        refuse({"allot: ALLOT_GROUP_BY is '", text, "'; it can be thread, library or none"});
}

// --- Start ------------------------------------------------------------------------------------------------------------------

void note_program() noexcept {
    char path[4096];
    const ssize_t length = ::readlink("/proc/self/exe", path, sizeof path);
    const std::string_view file =
        length > 0 ? file_name_of({path, static_cast<std::size_t>(length)}) : std::string_view("program");
    copy_name(settings.program_file, sizeof settings.program_file, file);
    own_name(settings.program_thread);
}

int claim_loaded_object(dl_phdr_info* info, std::size_t, void*) noexcept {
    const std::string_view file = file_name_of(info->dlpi_name);
    dl_find_object found;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const auto& segment = info->dlpi_phdr[i];
        if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0)
            continue;
        const auto address = static_cast<std::uintptr_t>(info->dlpi_addr + segment.p_vaddr);
        if (file != "linux-vdso.so.1" && ::_dl_find_object(reinterpret_cast<void*>(address), &found) == 0)
            target_of_object(found.dlfo_link_map);
        break;
    }
    return 0;
}

void init_libraries() noexcept {
    settings.libraries_matter =
        settings.by_library || (settings.rules != nullptr && settings.rules->has(rule_kind::library));
    if (!settings.libraries_matter)
        return;
    if (_dl_find_object == nullptr)
        refuse({"allot: groups by library need glibc 2.35 or newer"});
    dl_find_object own;
    if (::_dl_find_object(reinterpret_cast<void*>(&placement_init), &own) == 0)
        settings.own_object = own.dlfo_link_map;
    if (settings.by_library) {
        // What is there already gets its groups now; what dlopen brings gets them from the executor.
        ::dl_iterate_phdr(claim_loaded_object, nullptr);
        make_wanted_groups(create_work);
    }
    placement_small_end.store(0, std::memory_order_relaxed); // relaxed: see there
}

} // namespace

void placement_init() noexcept {
    const platform::errno_guard keep;
    home_pid.store(::getpid(), std::memory_order_relaxed); // relaxed: see home_pid
    ::pthread_atfork(nullptr, nullptr,
                     [] { home_pid.store(::getpid(), std::memory_order_relaxed); }); // relaxed: as above
    note_program();
    if (const char* text = ::secure_getenv("ALLOT_MAX"))
        read_max(text);
    if (const char* text = ::secure_getenv("ALLOT_GROUP_BY"))
        read_group_by(text);
    if (const char* path = ::secure_getenv("ALLOT_RULES"))
        read_rules(path);
    settings.threads_matter =
        settings.by_thread || (settings.rules != nullptr &&
                               (settings.rules->has(rule_kind::thread) || settings.rules->has(rule_kind::fallback)));
    init_libraries();
    placement_thread_start();
}

allot_group* placement_for_caller(const void* return_address) noexcept {
    // Relaxed: see `renames`.
    if (const std::uint32_t seen = renames.load(std::memory_order_relaxed); seen != self.renames_seen) [[unlikely]]
        notice_renames(seen);
    if (!settings.libraries_matter)
        return nullptr;
    const std::uintptr_t page = reinterpret_cast<std::uintptr_t>(return_address) >> page_shift;
    // (8) acquire: pairs with (7).
    const std::uint64_t word = cache_entry(page).load(std::memory_order_acquire);
    const std::uint32_t index =
        word >> 16 == page ? static_cast<std::uint32_t>(word & 0xffff) : look_up(return_address, page);
    const target& t = targets[index];
    // (6) acquire: pairs with (5).
    allot_group* const group = t.group.load(std::memory_order_acquire);
    return group != nullptr && (self.order == 0 || t.order <= self.order) ? group : nullptr;
}

void placement_thread_start() noexcept {
    if (!settings.threads_matter)
        return;
    self.renames_seen = renames.load(std::memory_order_relaxed); // relaxed: see `renames`
    place_thread(true);
}

void placement_thread_renamed() noexcept {
    // In a child of vfork the parent's memory is not to be touched. Relaxed: see home_pid.
    if (settings.threads_matter && ::getpid() == home_pid.load(std::memory_order_relaxed))
        place_thread(true);
}

void placement_other_renamed(const char* name) noexcept {
    if (!settings.threads_matter)
        return;
    const platform::errno_guard keep;
    decide_thread(name, true); // makes the group, here where it may be made
    // From now on every malloc asks. Written before the count, and a thread that misses it moves at a later malloc.
    placement_small_end.store(0, std::memory_order_relaxed); // relaxed: as said
    renames.fetch_add(1, std::memory_order_relaxed);         // relaxed: see `renames`
}

void placement_library_closed() noexcept {
    for (auto& entry : cache)
        entry.store(0, std::memory_order_relaxed); // relaxed: an old entry seen late is one misplaced block
}

} // namespace allot::front
