// SPDX-License-Identifier: MIT
//
// core: see core.hpp.
#include "support/core.hpp"

#include "group/runtime.hpp"
#include "sync/executor.hpp"

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

// Children of threads' parents start threads of their own here; by default a thread sanitizer ends them for it.
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "die_after_fork=0"; }

namespace allot_test {

namespace memcg = allot::memcg;
namespace platform = allot::platform;
namespace slab = allot::slab;
namespace sync = allot::sync;

std::size_t empty_slabs() {
    std::size_t count = 0;
    const auto end = static_cast<std::uint32_t>(slab::pages_committed());
    for (std::uint32_t page = 1; page < end; ++page) {
        const slab::slab& s = slab::slab_at(page);
        if ((s.kind == slab::slab_kind::owned || s.kind == slab::slab_kind::shared) &&
            s.live() == slab::remote_count(slab::remote_of(s).word.load(std::memory_order_relaxed)))
            ++count;
    }
    return count;
}

void empty_bins(const allot::group& group) {
    slab::cold_section here;
    slab::thread_heaps& heaps = here.heaps();
    for (slab::heap* h = heaps.all.front(); h != nullptr; h = heaps.all.next(*h))
        for (std::uint32_t i = 0; h->owner == &inside(group) && h->partial != nullptr && i < h->capacity; ++i)
            slab::flush(*h, i, 0);
}

void settle_all() {
    for (int round = 0; round < 2; ++round) {
        allot_quiesce();
        allot_group_reclaim(allot_root(), ALLOT_UNLIMITED);
    }
    allot_quiesce();
}

void expect_books_agree(const char* when) {
    const allot::verify_report books = allot::verify();
    EXPECT_TRUE(books) << when << ": " << books.errors << " differences, the first: " << books.first_error;
}

bool is_hot(const allot::group& group, std::size_t size) {
    allot::sync::rcu_guard section;
    return slab::child_of(inside(group), slab::class_of(size)) != nullptr;
}

void heat(const allot::group& group, std::size_t size) {
    blocks some;
    for (int i = 0; i < 1000 && !is_hot(group, size); ++i) {
        some.make(group, size, 16);
        allot_quiesce();
    }
    ASSERT_TRUE(is_hot(group, size)) << size;
}

namespace {
void set_timer_to(void* at_ns) noexcept {
    sync::hints.timer_at_ns.store(*static_cast<const std::uint64_t*>(at_ns), std::memory_order_seq_cst);
}
} // namespace

no_decay::no_decay() {
    constexpr std::uint64_t hour_ns = 3'600'000'000'000;
    std::uint64_t at_ns = platform::now_ns() + hour_ns;
    sync::run_exclusive(set_timer_to, &at_ns); // waits for one that runs; while a timer is set, nobody sets another
}

no_decay::~no_decay() {
    std::uint64_t at_ns = 0;
    sync::run_exclusive(set_timer_to, &at_ns);
    memcg::note_idle_memory();
}

std::uint64_t test_seed(const char* name) {
    const char* const given = std::getenv("ALLOT_TEST_SEED");
    const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
    std::printf("%s: ALLOT_TEST_SEED=%llu\n", name, static_cast<unsigned long long>(seed));
    return seed;
}

namespace {

/// Reads what `child` writes until it ends; ends it with SIGALRM when the time is over, since it may hang inside fork().
std::string read_all(int from, pid_t child, unsigned seconds) {
    std::string text;
    char part[512];
    pollfd ready{from, POLLIN, 0};
    while (::poll(&ready, 1, static_cast<int>(seconds) * 1000) > 0) {
        const ssize_t length = ::read(from, part, sizeof part);
        if (length <= 0)
            return text;
        text.append(part, static_cast<std::size_t>(length));
    }
    ::kill(child, SIGALRM);
    return text;
}

} // namespace

outcome in_child(unsigned seconds, const std::function<int()>& work) {
    int ends[2];
    outcome ended;
    if (::pipe(ends) != 0)
        return ended;
    std::fflush(nullptr);
    ::signal(SIGALRM, SIG_DFL);
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::dup2(ends[1], STDERR_FILENO);
        ::close(ends[0]);
        ::close(ends[1]);
        ::_exit(work());
    }
    ::close(ends[1]);
    ended.text = read_all(ends[0], pid, seconds);
    ::close(ends[0]);
    int status = 0;
    ::waitpid(pid, &status, 0);
    if (WIFEXITED(status))
        ended.exit_status = WEXITSTATUS(status);
    if (WIFSIGNALED(status))
        ended.signal = WTERMSIG(status);
    return ended;
}

testing::AssertionResult child_lives(unsigned seconds, const std::function<int()>& work) {
    const outcome ended = in_child(seconds, work);
    if (ended.exit_status == 0)
        return testing::AssertionSuccess();
    testing::AssertionResult failed = testing::AssertionFailure();
    if (ended.signal == SIGALRM)
        failed << "the child hung";
    else if (ended.signal != 0)
        failed << "signal " << ended.signal << " ended the child";
    else
        failed << "the child's result is " << ended.exit_status;
    return failed << "; it wrote: " << ended.text;
}

bool wait_until(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{10};
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end)
            return false;
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    return true;
}

void core_test::SetUp() {
    settle_all();
    const testing::TestInfo* const test = testing::UnitTest::GetInstance()->current_test_info();
    before_ = allot::root().stat();
    top = allot::root().create(std::string{test->name()}.substr(0, ALLOT_NAME_MAX));
}

void core_test::TearDown() {
    top.close();
    top = {};
    settle_all();
    const allot::stat after = allot::root().stat();
    EXPECT_EQ(after.nr_dying, before_.nr_dying) << "a closed group without handles is freed";
    EXPECT_EQ(after.slab, before_.slab);
    EXPECT_EQ(after.shared, before_.shared);
    EXPECT_EQ(after.large, before_.large);
    EXPECT_EQ(after.external, before_.external);
    EXPECT_EQ(empty_slabs(), 0u) << "slabs that nobody will ever give back";
    expect_books_agree("at the end");
}

} // namespace allot_test
