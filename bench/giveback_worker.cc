// SPDX-License-Identifier: MIT
//
// giveback_worker: makes a peak in many groups, frees everything, and watches resident memory while nobody calls the library.
//
// Idea.        Usage: WORKER own|other|polled PEAK_MIB GROUPS. Two threads fill half of the groups each with objects of mixed sizes and
//              write to all of them; half of the objects are freed in random order, all groups are closed, and the rest is freed.
//              The threads then live on and do nothing, so that what their heaps hold has to be fetched. `other`: each thread
//              frees what the other one allocated. `polled`: the library has no thread, and the main thread calls allot_poll. The
//              lists of objects are made before the first reading and are left out of all of them.
// Concurrency. two threads in step by a barrier; the main thread takes part in every step to read in between.
#include "sample.hpp"

#include <allot/allot.h>

#include <algorithm>
#include <barrier>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace allot_bench;

constexpr std::size_t nr_threads = 2;
constexpr std::size_t sizes[] = {64, 1024, 8 * 1024, 256 * 1024}; // each has a quarter of a group's bytes

struct plan {
    bool crossed; // objects are freed by the other thread
    bool polled;
    std::size_t groups;          // of one thread
    std::size_t bytes_of_a_size; // in one group

    [[nodiscard]] std::size_t objects() const {
        std::size_t count = 0;
        for (const std::size_t size : sizes)
            count += bytes_of_a_size / size;
        return count * groups;
    }
};

/// What one thread made.
struct share {
    std::vector<void*> objects;
    std::vector<allot_group*> groups;
};

using step_barrier = std::barrier<>;

void fill(const plan& what, share& mine, std::size_t self) {
    std::size_t made = 0;
    for (std::size_t i = 0; i < what.groups; ++i) {
        const std::string name = "group-" + std::to_string(self) + "-" + std::to_string(i);
        if (allot_group_create(allot_root(), name.c_str(), nullptr, &mine.groups[i]) != 0)
            fail("cannot create a group");
        allot_scope scope;
        allot_enter(mine.groups[i], &scope);
        for (const std::size_t size : sizes)
            for (std::size_t n = 0; n < what.bytes_of_a_size / size; ++n)
                std::memset(mine.objects[made++] = allot_malloc(size), 1, size);
        allot_leave(&scope);
    }
}

void free_some(const share& theirs, std::size_t first, std::size_t end) {
    for (std::size_t i = first; i < end; ++i)
        allot_free(theirs.objects[i]);
}

/// One of the two threads. The main thread reads after the first step and after the last but one.
void work(const plan& what, std::vector<share>& shares, std::size_t self, step_barrier& steps) {
    share& mine = shares[self];
    share& to_free = shares[what.crossed ? nr_threads - 1 - self : self];
    fill(what, mine, self);
    std::shuffle(mine.objects.begin(), mine.objects.end(), std::mt19937_64{self});
    steps.arrive_and_wait();
    steps.arrive_and_wait(); // the peak has been read
    free_some(to_free, 0, to_free.objects.size() / 2);
    steps.arrive_and_wait();
    for (allot_group* const group : mine.groups) {
        allot_group_close(group, nullptr);
        allot_group_put(group);
    }
    steps.arrive_and_wait();
    free_some(to_free, to_free.objects.size() / 2, to_free.objects.size());
    steps.arrive_and_wait();
    steps.arrive_and_wait(); // everything has been read
}

/// Watches for two seconds. Samples: what is resident at the end, and seconds until it was under the bar.
void watch(const plan& what, double lists, double bar) {
    constexpr double watch_s = 2;
    const steady::time_point start = steady::now();
    double left = resident_bytes() - lists;
    double under = left <= bar ? seconds_since(start) : -1;
    while (seconds_since(start) < watch_s) {
        std::this_thread::sleep_for(std::chrono::milliseconds{5});
        if (what.polled)
            allot_poll();
        left = resident_bytes() - lists;
        if (left <= bar && under < 0)
            under = seconds_since(start);
    }
    print("left", left);
    print("under_bar_s", under < 0 ? watch_s : under);
}

void measure(const plan& what) {
    std::vector<share> shares(nr_threads);
    double lists = 0;
    for (share& one : shares) {
        one.objects.resize(what.objects());
        one.groups.resize(what.groups);
        lists += static_cast<double>(one.objects.size() * sizeof(void*));
    }
    const double base = resident_bytes() - lists;
    const double bar = base * 1.05 + 16 * 1024 * 1024;
    step_barrier steps{nr_threads + 1};
    std::vector<std::thread> threads;
    for (std::size_t self = 0; self < nr_threads; ++self)
        threads.emplace_back([&, self] { work(what, shares, self, steps); });
    steps.arrive_and_wait();
    print("base", base);
    print("bar", bar);
    print("peak", resident_bytes() - lists);
    for (int step = 0; step < 4; ++step)
        steps.arrive_and_wait();
    watch(what, lists, bar);
    steps.arrive_and_wait();
    for (std::thread& one : threads)
        one.join();
}

} // namespace

int main(int argc, char** argv) {
    const std::string way = argc == 4 ? argv[1] : "";
    if (way != "own" && way != "other" && way != "polled")
        fail("allot_bench starts this program");
    // The library reads the variable when it starts, which was before main.
    const char* const threads = std::getenv("ALLOT_THREADS");
    if (way == "polled" && (threads == nullptr || std::string{threads} != "0")) {
        setenv("ALLOT_THREADS", "0", 1);
        execv("/proc/self/exe", argv);
        fail("cannot start again without the library's thread");
    }
    const std::size_t groups = std::strtoul(argv[3], nullptr, 10) / nr_threads;
    const std::size_t peak = std::strtoul(argv[2], nullptr, 10) << 20;
    measure({way == "other", way == "polled", groups, peak / (groups * nr_threads) / std::size(sizes)});
    return 0;
}
