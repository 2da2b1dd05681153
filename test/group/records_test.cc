// SPDX-License-Identifier: MIT
//
// records_test: what a process publishes can be read from outside through stat_file.h alone, at any time and after its end.
//
// Idea.        Each case publishes in a child process, since a process does so once and for all.
#include "support/core.hpp"

#include "group/records.hpp"
#include "group/runtime.hpp"

#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using allot_test::blocks;

/// A stat file, mapped and read as a foreign process would.
class stat_file {
  public:
    stat_file(const std::string& directory, pid_t pid) {
        const int file = ::open((directory + "/" + std::to_string(pid) + ".stat").c_str(), O_RDONLY | O_CLOEXEC);
        if (file < 0)
            return;
        struct stat about {};
        ::fstat(file, &about);
        bytes_ = static_cast<std::size_t>(about.st_size);
        void* const at = bytes_ != 0 ? ::mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, file, 0) : MAP_FAILED;
        ::close(file);
        if (at != MAP_FAILED)
            at_ = static_cast<const char*>(at);
    }
    ~stat_file() {
        if (at_ != nullptr)
            ::munmap(const_cast<char*>(at_), bytes_);
    }
    stat_file(const stat_file&) = delete;
    stat_file& operator=(const stat_file&) = delete;

    bool exists() const { return at_ != nullptr; }
    std::size_t bytes() const { return bytes_; }
    const allot_stat_header& header() const { return *reinterpret_cast<const allot_stat_header*>(at_); }
    const allot_stat_record& record(std::uint32_t i) const {
        return *reinterpret_cast<const allot_stat_record*>(at_ + sizeof(allot_stat_header) + i * header().record_bytes);
    }
    /// The open record with this name; null if there is none.
    const allot_stat_record* find(const std::string& name) const {
        for (std::uint32_t i = 0; i < header().used; ++i)
            if (record(i).state == ALLOT_RECORD_OPEN && record(i).name == name)
                return &record(i);
        return nullptr;
    }
    static std::int64_t own_bytes(const allot_stat_record& of) {
        return of.slab + of.shared + of.large + of.external + of.metadata;
    }

  private:
    const char* at_ = nullptr;
    std::size_t bytes_ = 0;
};

class records : public allot_test::core_test {
  protected:
    void SetUp() override {
        core_test::SetUp();
        char pattern[] = "/tmp/allot-records-XXXXXX";
        ASSERT_NE(::mkdtemp(pattern), nullptr);
        directory = pattern;
    }
    void TearDown() override {
        for (const pid_t pid : pids)
            ::unlink((directory + "/" + std::to_string(pid) + ".stat").c_str());
        EXPECT_EQ(::rmdir(directory.c_str()), 0) << "files that nobody expected";
        core_test::TearDown();
    }
    /// Runs `work` in a child that publishes. Returns its process id once it has ended.
    pid_t publisher(const std::function<void()>& work) {
        std::fflush(nullptr);
        const pid_t pid = ::fork();
        if (pid == 0) {
            ::alarm(20);
            allot::sync::allow_worker(false);
            if (allot::memcg::publish_figures(directory.c_str()) != 0)
                ::_exit(9);
            work();
            ::_exit(0);
        }
        pids.push_back(pid);
        ::waitpid(pid, &status, 0);
        return pid;
    }

    std::string directory;
    std::vector<pid_t> pids;
    int status = 0;
};

TEST_F(records, the_file_begins_with_what_its_header_promises) {
    const pid_t pid = publisher([] {});
    ASSERT_EQ(status, 0);
    const stat_file file{directory, pid};
    ASSERT_TRUE(file.exists());
    EXPECT_EQ(file.header().magic, ALLOT_STAT_MAGIC);
    EXPECT_EQ(std::memcmp(&file.header().magic, "ALLOT", 5), 0);
    EXPECT_EQ(file.header().version, ALLOT_STAT_VERSION);
    EXPECT_EQ(file.header().record_bytes, sizeof(allot_stat_record));
    EXPECT_EQ(file.header().capacity, ALLOT_STAT_CAPACITY);
    EXPECT_EQ(file.header().pid, pid);
    EXPECT_EQ(file.header().parent_pid, ::getpid());
    EXPECT_NE(file.header().command[0], '\0');
    EXPECT_GE(file.header().used, 2u);
    EXPECT_GE(file.bytes(), sizeof(allot_stat_header) + sizeof(allot_stat_record) * ALLOT_STAT_CAPACITY);
    EXPECT_EQ(file.record(0).parent, 0u);
    EXPECT_STREQ(file.record(0).name, "/");
}

TEST_F(records, what_a_killed_process_had_is_in_its_file_to_the_byte) {
    const pid_t pid = publisher([this] {
        const allot::group tenant = top.create("tenant", {.low = 4096, .high = 50'000, .max = 1'000'000});
        for (int i = 0; i < 10; ++i)
            (void)tenant.malloc(100);
        (void)tenant.malloc(60'000);
        (void)tenant.malloc(2'000'000); // fails
        allot_charge raw{};
        (void)allot_try_charge(tenant.get(), 321, &raw);
        ::kill(::getpid(), SIGKILL);
    });
    ASSERT_TRUE(WIFSIGNALED(status));
    const stat_file file{directory, pid};
    ASSERT_TRUE(file.exists());
    const allot_stat_record* const tenant = file.find("tenant");
    ASSERT_NE(tenant, nullptr);
    EXPECT_EQ(tenant->shared, 10 * 112);
    EXPECT_EQ(tenant->large, 61'440);
    EXPECT_EQ(tenant->external, 321);
    EXPECT_EQ(tenant->usage, 10u * 112 + 61'440 + 321);
    EXPECT_LE(tenant->peak, tenant->usage) << "usage has not fallen, and is the peak";
    EXPECT_EQ(tenant->allocations, 11u);
    EXPECT_EQ(tenant->failures, 1u);
    EXPECT_GE(tenant->max_events, 1u);
    EXPECT_EQ(tenant->high_events, 2u);
    EXPECT_EQ(tenant->low, 4096u);
    EXPECT_EQ(tenant->high, 50'000u);
    EXPECT_EQ(tenant->max, 1'000'000u);
    EXPECT_STREQ(file.record(tenant->parent).name, top.name().c_str());
    EXPECT_EQ(&file.record(tenant->id), tenant) << "a record's place is its group's id";
}

TEST_F(records, the_own_shares_in_the_file_add_up_to_the_root) {
    const pid_t pid = publisher([this] {
        for (int i = 0; i < 20; ++i) {
            const allot::group one = top.create("g" + std::to_string(i));
            for (std::size_t size = 8; size < 100'000; size *= 3)
                (void)one.malloc(size);
            if (i % 4 == 0)
                one.close();
        }
    });
    const stat_file file{directory, pid};
    ASSERT_TRUE(file.exists());
    std::int64_t sum = 0;
    for (std::uint32_t i = 0; i < file.header().used; ++i)
        if (file.record(i).state != ALLOT_RECORD_FREE)
            sum += stat_file::own_bytes(file.record(i));
    EXPECT_EQ(static_cast<std::uint64_t>(sum), file.record(0).usage);
    EXPECT_EQ(file.find("g0"), nullptr) << "closed";
    EXPECT_NE(file.find("g1"), nullptr);
}

TEST_F(records, changes_are_seen_outside_at_once) {
    int to_child[2];
    int to_parent[2];
    ASSERT_EQ(::pipe(to_child) | ::pipe(to_parent), 0);
    const auto step = [](int write_to, int read_from) {
        char byte = 'x';
        return ::write(write_to, &byte, 1) == 1 && ::read(read_from, &byte, 1) == 1;
    };
    std::fflush(nullptr);
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::alarm(20);
        ::close(to_child[1]);
        ::close(to_parent[0]);
        allot::sync::allow_worker(false);
        const allot::group tenant = top.create("watched");
        if (allot::memcg::publish_figures(directory.c_str()) != 0 || !step(to_parent[1], to_child[0]))
            ::_exit(1);
        void* const block = tenant.malloc(100'000);
        if (!step(to_parent[1], to_child[0]))
            ::_exit(2);
        allot::free(block);
        (void)step(to_parent[1], to_child[0]);
        ::_exit(0);
    }
    pids.push_back(pid);
    ::close(to_child[0]);
    ::close(to_parent[1]);
    char byte;
    ASSERT_EQ(::read(to_parent[0], &byte, 1), 1);
    {
        const stat_file file{directory, pid};
        ASSERT_TRUE(file.exists());
        const volatile allot_stat_record* const watched = file.find("watched");
        ASSERT_NE(watched, nullptr) << "a group from before";
        EXPECT_EQ(watched->usage, 0u);
        ASSERT_TRUE(step(to_child[1], to_parent[0]));
        EXPECT_EQ(watched->usage, 102'400u);
        ASSERT_TRUE(step(to_child[1], to_parent[0]));
        EXPECT_EQ(watched->usage, 0u);
        EXPECT_EQ(watched->peak, 102'400u);
    }
    ASSERT_EQ(::write(to_child[1], &byte, 1), 1);
    ::waitpid(pid, nullptr, 0);
    ::close(to_child[1]);
    ::close(to_parent[0]);
}

TEST_F(records, a_forked_child_has_a_file_of_its_own_and_leaves_its_parents_alone) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t pid = publisher([&] {
        const allot::group tenant = top.create("tenant");
        (void)tenant.malloc(100'000);
        const pid_t child = ::fork();
        if (child == 0) {
            (void)tenant.malloc(200'000);
            ::_exit(0);
        }
        ::waitpid(child, nullptr, 0);
        (void)!::write(ends[1], &child, sizeof child);
    });
    pid_t child = 0;
    ASSERT_EQ(::read(ends[0], &child, sizeof child), static_cast<ssize_t>(sizeof child));
    ::close(ends[0]);
    ::close(ends[1]);
    pids.push_back(child);
    const stat_file of_parent{directory, pid};
    const stat_file of_child{directory, child};
    ASSERT_TRUE(of_parent.exists() && of_child.exists());
    EXPECT_EQ(of_child.header().pid, child);
    EXPECT_EQ(of_child.header().parent_pid, pid);
    const allot_stat_record* const before = of_parent.find("tenant");
    const allot_stat_record* const after = of_child.find("tenant");
    ASSERT_TRUE(before != nullptr && after != nullptr);
    EXPECT_EQ(before->usage, 102'400u);
    EXPECT_EQ(after->usage, 102'400u + 200'704);
    EXPECT_EQ(before->allocations, 1u);
    EXPECT_EQ(after->allocations, 1u) << "events count from the fork on";
}

TEST_F(records, a_directory_that_cannot_be_had_is_an_error_and_changes_nothing) {
    EXPECT_TRUE(allot_test::child_lives(20, [this] {
        const allot::group tenant = top.create("tenant");
        if (allot::memcg::publish_figures("/nowhere/at/all") != -ENOENT)
            return 1;
        if (allot::memcg::publish_figures(std::string(600, 'x').c_str()) != -ENAMETOOLONG)
            return 2;
        ::signal(SIGXFSZ, SIG_DFL);
        const rlimit small{1 << 20, 1 << 20};
        ::setrlimit(RLIMIT_FSIZE, &small);
        if (allot::memcg::publish_figures(directory.c_str()) != -EFBIG)
            return 3;
        void* const block = tenant.malloc(100'000);
        const bool counts = block != nullptr && tenant.stat().current == 102'400u;
        allot::free(block);
        return counts && allot::verify() ? 0 : 4;
    }));
}

} // namespace
