// SPDX-License-Identifier: MIT
//
// records: one mapping, header first; a file or not.
//
// Idea.        See records.hpp. mmap(MAP_FIXED) replaces the pages under the addresses that counters already have.
// Concurrency. see records.hpp. Relaxed stores: readers outside take what they see.
#include "group/records.hpp"

#include "platform/memory.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

namespace allot::memcg {

namespace {

constexpr std::size_t mapping_bytes = sizeof(allot_stat_header) + sizeof(counter::account_record) * ALLOT_STAT_CAPACITY;
constexpr std::size_t directory_max = 512;

allot_stat_header* header = nullptr;        // constant after init
counter::account_record* records = nullptr; // constant after init
std::uint32_t* free_indices = nullptr;
std::uint32_t free_count = 0;
char publish_directory[directory_max] = {};
char* fork_copy = nullptr;
std::size_t fork_copy_bytes = 0;

std::size_t used_bytes() noexcept { return sizeof(allot_stat_header) + sizeof(counter::account_record) * header->used; }

void fill_header() noexcept {
    header->magic = ALLOT_STAT_MAGIC;
    header->version = ALLOT_STAT_VERSION;
    header->record_bytes = sizeof(counter::account_record);
    header->capacity = ALLOT_STAT_CAPACITY;
    header->pid = ::getpid();
    header->parent_pid = ::getppid();
    if (const int file = ::open("/proc/self/comm", O_RDONLY | O_CLOEXEC); file >= 0) {
        const ssize_t length = ::read(file, header->command, sizeof header->command - 1);
        header->command[length > 0 ? length - 1 : 0] = '\0';
        ::close(file);
    }
}

/// "DIR/PID.stat" into `path`. The directory was checked to fit.
void stat_path(char* path) noexcept {
    std::size_t at = std::strlen(publish_directory);
    std::memcpy(path, publish_directory, at);
    path[at++] = '/';
    char digits[12];
    std::size_t count = 0;
    for (auto pid = static_cast<unsigned>(::getpid()); pid != 0 || count == 0; pid /= 10)
        digits[count++] = static_cast<char>('0' + pid % 10);
    while (count != 0)
        path[at++] = digits[--count];
    std::memcpy(path + at, ".stat", 6);
}

bool write_all(int file, const char* data, std::size_t bytes) noexcept {
    while (bytes != 0) {
        const ssize_t written = ::write(file, data, bytes);
        if (written <= 0)
            return false;
        data += written;
        bytes -= static_cast<std::size_t>(written);
    }
    return true;
}

/// Makes the file from `data` and maps it over the records. Errors: negative errno, nothing changed.
int map_file(const char* data, std::size_t bytes) noexcept {
    rlimit file_size{};
    if (::getrlimit(RLIMIT_FSIZE, &file_size) == 0 && file_size.rlim_cur < mapping_bytes)
        return -EFBIG; // ftruncate would not only fail but raise SIGXFSZ, which ends the program
    char path[directory_max + 24];
    stat_path(path);
    const int file = ::open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0)
        return -errno;
    int result = 0;
    if (!write_all(file, data, bytes) || ::ftruncate(file, static_cast<off_t>(mapping_bytes)) != 0 ||
        ::mmap(header, mapping_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED)
        result = errno != 0 ? -errno : -ENOSPC;
    ::close(file);
    return result;
}

void map_private(const char* data, std::size_t bytes) noexcept {
    void* const at = ::mmap(header, mapping_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    ALLOT_BUG_ON(at == MAP_FAILED);
    std::memcpy(at, data, bytes);
}

} // namespace

bool records_init() noexcept {
    header = static_cast<allot_stat_header*>(platform::map(mapping_bytes));
    free_indices = static_cast<std::uint32_t*>(platform::map(sizeof(std::uint32_t) * ALLOT_STAT_CAPACITY));
    if (header == nullptr || free_indices == nullptr)
        return false;
    records = reinterpret_cast<counter::account_record*>(header + 1);
    fill_header();
    return true;
}

counter::account_record* record_take() noexcept {
    std::uint32_t index = 0;
    if (free_count != 0)
        index = free_indices[--free_count];
    else if (header->used < ALLOT_STAT_CAPACITY)
        index = header->used++;
    else
        return nullptr;
    auto* record = new (&records[index]) counter::account_record;
    record->id = index;
    return record;
}

void record_give(counter::account_record& record) noexcept {
    record.state.store(ALLOT_RECORD_FREE, std::memory_order_relaxed); // relaxed: readers outside take what they see
    free_indices[free_count++] = record.id;
}

int records_publish(const char* directory) noexcept {
    if (std::strlen(directory) >= directory_max)
        return -ENAMETOOLONG;
    std::memcpy(publish_directory, directory, std::strlen(directory) + 1);
    fill_header();
    const int result = map_file(reinterpret_cast<const char*>(header), used_bytes());
    if (result != 0)
        publish_directory[0] = '\0';
    return result;
}

void records_before_fork() noexcept {
    if (publish_directory[0] == '\0')
        return;
    if (fork_copy == nullptr)
        fork_copy = static_cast<char*>(platform::map(mapping_bytes));
    fork_copy_bytes = used_bytes();
    if (fork_copy != nullptr)
        std::memcpy(fork_copy, header, fork_copy_bytes);
}

void records_after_fork_child() noexcept {
    if (publish_directory[0] == '\0')
        return;
    platform::errno_guard keep;
    ALLOT_BUG_ON(fork_copy == nullptr); // the copy failed: going on would corrupt the parent's figures
    if (map_file(fork_copy, fork_copy_bytes) != 0) {
        map_private(fork_copy, fork_copy_bytes);
        publish_directory[0] = '\0';
    }
    fill_header();
}

void records_restart_counts() noexcept {
    if (publish_directory[0] == '\0')
        return;
    for (std::uint32_t i = 0; i < header->used; ++i) {
        auto& counter = records[i].counter;
        // Relaxed, all of them: one thread.
        counter.watermark.store(0, std::memory_order_relaxed);
        counter.failures.store(0, std::memory_order_relaxed);    // relaxed: as above
        counter.max_events.store(0, std::memory_order_relaxed);  // relaxed: as above
        counter.high_events.store(0, std::memory_order_relaxed); // relaxed: as above
        counter.allocations.store(0, std::memory_order_relaxed); // relaxed: as above
    }
}

} // namespace allot::memcg
