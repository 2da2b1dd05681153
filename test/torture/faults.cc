// SPDX-License-Identifier: MIT
//
// torture_faults: everything that can be refused is refused once: the 1st, 2nd, ... mapping, alone and with all that follow it, and
// the library's thread.
//
//     torture_faults [--seconds N] [--seed N]
//
// Idea.        A script (script.hpp) runs in a process of its own for each n, from before the library comes up. A call that fails must
//              say so; afterwards the script runs again without failures and must succeed, the books must agree, and a census
//              must be that of a process in which nothing failed. The sweep ends with the first n that is never reached.
//              Only builds with ALLOT_DEBUG can let a mapping fail. The thread is refused in all builds.
// Concurrency. the library has no thread in the sweep, so the n-th mapping is always the same one.
#include "script.hpp"

#include "platform/memory.hpp"
#include "platform/os.hpp"
#include "sync/executor.hpp"

#include <chrono>
#include <fcntl.h>
#include <pthread.h>
#include <thread>

namespace {

using namespace torture;

std::atomic<bool> refuse_threads{false};

} // namespace

// What the library calls for pthread_create here; the program's own threads come from libstdc++, which calls the real one.
extern "C" int __real_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                                     void* data);
extern "C" int __wrap_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                                     void* data);
extern "C" int __wrap_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                                     void* data) {
    return refuse_threads ? EAGAIN : __real_pthread_create(thread, attributes, run, data);
}

namespace {

// --- Mappings ---------------------------------------------------------------------------------------------------------------

#if ALLOT_DEBUG

constexpr const char* plan_name = "TORTURE_FAULTS_PLAN";
constexpr int census_fd = 9;
constexpr int never_reached = 10;
constexpr int never_came_up = 11;

struct plan {
    unsigned long long nth = 0; // 0: nothing fails
    int sticky = 0;
};
plan read_plan(const char* text) {
    plan out;
    if (std::sscanf(text, "%llu %d", &out.nth, &out.sticky) != 2)
        out = {};
    return out;
}

/// Runs before all constructors, so that the library's coming up can fail, too.
void arm(int, char**, char** environment) {
    const std::size_t length = std::strlen(plan_name);
    for (; *environment != nullptr; ++environment)
        if (std::strncmp(*environment, plan_name, length) == 0 && (*environment)[length] == '=') {
            const plan mine = read_plan(*environment + length + 1);
            allot::platform::fail_nth_map(mine.nth, mine.sticky != 0);
        }
}
[[gnu::section(".preinit_array"), gnu::used]] void (*const arm_before_all)(int, char**, char**) = arm;

/// What the process of one n does. Returns its exit status.
int run_plan(const plan& mine) {
    script play{seed};
    const bool is_up = play.run(true);
    const std::uint64_t seen = allot::platform::fail_nth_map(0, false);
    if (!is_up)
        return never_came_up;
    settle_library();
    if (const allot::verify_report books = allot::verify(); !books)
        fail("mapping %llu: %s", mine.nth, books.first_error);
    play.run(false);
    settle_library();
    allot_purge();
    const census left = take_census("after the script");
    if (::write(census_fd, &left, sizeof left) != static_cast<ssize_t>(sizeof left))
        fail("the census could not be written");
    return mine.nth != 0 && seen >= mine.nth ? 0 : never_reached;
}

/// Starts this program again with a plan. Returns its exit status.
int run_process(const plan& with, census& out) {
    int ends[2];
    if (::pipe(ends) != 0)
        fail("no pipe");
    char text[64];
    std::snprintf(text, sizeof text, "%llu %d", with.nth, with.sticky);
    std::fflush(stdout);
    const std::string own_seed = std::to_string(seed);
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::setenv(plan_name, text, 1);
        ::setenv("ALLOT_THREADS", "0", 1);
        ::dup2(ends[1], census_fd);
        ::close(ends[0]);
        ::close(ends[1]);
        ::execl("/proc/self/exe", "torture_faults", "--seed", own_seed.c_str(), static_cast<char*>(nullptr));
        std::_Exit(3);
    }
    ::close(ends[1]);
    const ssize_t got = ::read(ends[0], &out, sizeof out);
    ::close(ends[0]);
    int status = -1;
    while (pid > 0 && ::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    char what[64];
    std::snprintf(what, sizeof what, "the process of mapping %llu%s", with.nth, with.sticky != 0 ? " and later" : "");
    if (!WIFEXITED(status) || WEXITSTATUS(status) < never_reached)
        must_end_well(what, status);
    if (WEXITSTATUS(status) != never_came_up && got != static_cast<ssize_t>(sizeof out))
        fail("mapping %llu: no census", with.nth);
    return WEXITSTATUS(status);
}

void sweep(bool sticky, const census& whole) {
    unsigned not_up = 0;
    for (unsigned long long nth = 1;; ++nth) {
        round_number = static_cast<unsigned>(nth);
        census left;
        const int status = run_process({nth, sticky ? 1 : 0}, left);
        not_up += status == never_came_up ? 1 : 0;
        if (status != never_came_up)
            must_equal(sticky ? "after failures" : "after a failure", left, whole, true);
        if (status == never_reached) {
            say("%s mapping fails: %llu of them, %u before the library was up",
                sticky ? "from the n-th on every" : "the n-th", nth - 1, not_up);
            if (nth < 10 || not_up == 0)
                fail("the sweep met %llu mappings only", nth - 1);
            return;
        }
    }
}

void refuse_mappings() {
    census whole;
    if (run_process({}, whole) != never_reached)
        fail("the script does not run without failures");
    sweep(false, whole);
    sweep(true, whole);
}

#else

void refuse_mappings() { say("no mapping fails: that needs a build with ALLOT_DEBUG"); }

#endif

// --- The thread -------------------------------------------------------------------------------------------------------------

std::uint32_t nr_dying() { return allot::memcg::root_group->nr_dying.load(); }

/// Removes a group that has all there is to give back.
void remove_busy_group() {
    const allot::group group = allot::root().create("busy");
    void* blocks[600];
    for (void*& block : blocks)
        block = group.malloc(64);
    allot_group_close(group.get(), nullptr);
    for (void* block : blocks)
        allot_free(block);
}

/// Without the thread the work is done by who polls, by who waits for it, or by any slow call; with it, by nobody's doing.
void refuse_the_thread() {
    allot::sync::allow_worker(true);
    const auto work_is_done_by = [](const char* whom, auto&& act) {
        remove_busy_group();
        if (nr_dying() != 0 && std::strcmp(whom, "the thread") != 0 && allot::sync::worker_running())
            fail("a thread that was refused runs");
        for (int i = 0; i < 10'000 && nr_dying() != 0; ++i)
            act();
        if (nr_dying() != 0)
            fail("the work was not done by %s", whom);
    };
    refuse_threads = true;
    for (int round = 0; round < 20; ++round) {
        ++round_number;
        work_is_done_by("polls", [] { allot_poll(); });
        work_is_done_by("quiesce()", [] { allot_quiesce(); });
        work_is_done_by("slow calls", [] { allot_free(allot_malloc(std::size_t{4} << 20)); }); // more than any slab
    }
    settle_library();
    take_census("without a thread");
    refuse_threads = false;
    for (int round = 0; round < 20; ++round)
        work_is_done_by("the thread", [] { std::this_thread::sleep_for(std::chrono::milliseconds{1}); });
    if (!allot::sync::worker_running())
        fail("the thread is not tried again");
    settle_library();
    take_census("with a thread");
    say("without a thread others do its work, and it is tried again");
}

} // namespace

int main(int argc, char** argv) {
#if ALLOT_DEBUG
    if (const char* const text = std::getenv(plan_name)) {
        program_name = "torture_faults";
        seed = std::strtoull(argv[argc - 1], nullptr, 10);
        std::signal(SIGALRM, [](int) { end_with(hung_status, "FAIL", "it hangs"); });
        ::alarm(60);
        return run_plan(read_plan(text));
    }
#endif
    const std::uint64_t seconds = begin("torture_faults", argc, argv, {});
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{seconds};
    must_end_well("the part without a thread", in_child(30, refuse_the_thread));
    const std::uint64_t first = seed;
    do { // a whole sweep at least
        refuse_mappings();
        ++seed;
    } while (ALLOT_DEBUG && std::chrono::steady_clock::now() < end);
    seed = first;
    return pass();
}
