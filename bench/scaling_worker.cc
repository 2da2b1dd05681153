// SPDX-License-Identifier: MIT
//
// scaling_worker: times calls of the library under one number of threads, groups, levels or bytes; "SAMPLE_NUMBER,NS" for each.
//
// Idea.        Usage: WORKER threads|groups|depth|size NUMBER MILLISECONDS; the driver (scaling.cc) starts it. A time is what one
//              call takes of a core: what passes from the start of the first thread to the end of the last, times the cores
//              that they can use, divided by all calls. Where threads do not disturb each other it does not grow with
//              their number, also beyond the cores. Every thread makes as many calls as one alone makes in MILLISECONDS.
// Concurrency. the threads of a crew, in step by a barrier at the start and the end; and the library's own.
#include "groups.hpp"

#include <barrier>
#include <cstring>
#include <functional>
#include <thread>

namespace {

using namespace allot_bench;

constexpr std::size_t small_bytes = 64;
constexpr std::size_t batch_objects = 1000;
constexpr std::size_t handed_objects = 4096; // by one thread to the next, between two barriers
constexpr std::size_t run_bytes = std::size_t{2} << 20;

struct question {
    std::string number;
    unsigned long value;
    double ns; // that a measurement takes, about

    /// Prints a sample.
    void say(const char* sample, double ns_of_a_call) const {
        print((std::string{sample} + "_" + number).c_str(), ns_of_a_call);
    }
};

/// Makes calls, at least so many as take the question's time. Returns ns of one; `*made` is how many were made.
template <class Calls> double time_calls(const question& asked, Calls calls, std::size_t* made = nullptr) {
    for (std::size_t count = 1;; count *= 2) {
        const steady::time_point start = steady::now();
        calls(count);
        const double taken = ns_since(start);
        if (taken < asked.ns)
            continue;
        if (made != nullptr)
            *made = count;
        return taken / static_cast<double>(count);
    }
}

// --- Threads --------------------------------------------------------------------------------------------------------------------

/// Takes the time when all threads have come.
struct stamp {
    steady::time_point* next;
    void operator()() noexcept { *next++ = steady::now(); }
};

/// What one thread does: what comes before the clock, then the calls.
struct job {
    std::function<void()> prepare;
    std::function<void()> run;
};

/// Runs a job on each thread. Returns ns of a core for one of `calls`, all threads' together.
double crew_ns(const std::vector<job>& jobs, double calls) {
    steady::time_point times[2];
    const auto count = static_cast<std::ptrdiff_t>(jobs.size());
    std::barrier<stamp> step{count, stamp{times}};
    std::vector<std::thread> threads;
    for (const job& mine : jobs)
        threads.emplace_back([&] {
            if (mine.prepare)
                mine.prepare();
            step.arrive_and_wait();
            mine.run();
            step.arrive_and_wait();
        });
    for (std::thread& one : threads)
        one.join();
    const std::size_t cores = std::min<std::size_t>(jobs.size(), std::max(1u, std::thread::hardware_concurrency()));
    const double taken = std::chrono::duration<double, std::nano>(times[1] - times[0]).count();
    return taken * static_cast<double>(cores) / calls;
}

/// All threads make calls in one group. `calls(count, self)` makes them; `each` is what one of them counts for.
template <class Calls>
void ask_crew(const question& asked, allot_group* group, const char* sample, double each, Calls calls) {
    std::size_t count = 0;
    {
        const group_scope here{group};
        time_calls(
            asked, [&](std::size_t wanted) { calls(wanted, 0ul); }, &count);
    }
    std::vector<job> jobs;
    for (unsigned long self = 0; self < asked.value; ++self)
        jobs.push_back({[=] {
                            const group_scope here{group};
                            calls(1, self);
                        },
                        [=] {
                            const group_scope here{group};
                            calls(count, self);
                        }});
    asked.say(sample, crew_ns(jobs, each * static_cast<double>(count * asked.value)));
    allot_quiesce();
}

/// Pairs in cold groups, which each thread has its own of.
void ask_cold_crew(const question& asked) {
    const cold_piece piece = cold_piece_of(small_bytes);
    constexpr std::size_t groups = 100;
    allot_group* const parent = make_chain("cold", 1);
    const std::vector<allot_group*> made = make_children(parent, groups * asked.value);
    const auto in_each = [&made](unsigned long self, std::size_t count) {
        for (std::size_t index = self * groups; index < (self + 1) * groups; ++index) {
            const group_scope here{made[index]};
            pairs(small_bytes, count);
        }
    };
    std::vector<job> jobs;
    for (unsigned long self = 0; self < asked.value; ++self)
        jobs.push_back({[=] { in_each(self, piece.touched); }, [=] { in_each(self, piece.timed); }});
    asked.say("cold", crew_ns(jobs, static_cast<double>(piece.timed * made.size())));
}

/// Each thread allocates, and frees what the one before it in a ring has allocated.
void ask_ring(const question& asked, allot_group* group) {
    if (asked.value < 2)
        return;
    constexpr std::size_t turns = 20;
    std::vector<std::vector<void*>> blocks(asked.value, std::vector<void*>(handed_objects));
    std::barrier<> step{static_cast<std::ptrdiff_t>(asked.value)};
    const auto turn = [&](unsigned long self) {
        for (void*& block : blocks[self])
            block = touch(small_bytes);
        step.arrive_and_wait();
        for (void* const block : blocks[(self + 1) % asked.value])
            allot_free(block);
        step.arrive_and_wait();
    };
    std::vector<job> jobs;
    for (unsigned long self = 0; self < asked.value; ++self)
        jobs.push_back({[&turn, group, self] {
                            const group_scope here{group};
                            turn(self);
                        },
                        [&turn, group, self] {
                            const group_scope here{group};
                            for (std::size_t i = 0; i < turns; ++i)
                                turn(self);
                        }});
    asked.say("remote", crew_ns(jobs, static_cast<double>(turns * handed_objects * asked.value)));
}

void ask_threads(const question& asked) {
    allot_group* const group = make_chain("tenant", 3);
    warm(group, small_bytes);
    ask_crew(asked, group, "pair", 1, [](std::size_t count, unsigned long) { pairs(small_bytes, count); });
    ask_crew(asked, group, "batch", batch_objects, [](std::size_t count, unsigned long) {
        std::vector<void*> blocks(batch_objects);
        for (std::size_t i = 0; i < count; ++i)
            batch(small_bytes, blocks);
    });
    ask_crew(asked, allot_root(), "scope", 1, [group](std::size_t count, unsigned long) {
        for (std::size_t i = 0; i < count; ++i)
            const group_scope here{group};
    });
    ask_cold_crew(asked);
    ask_ring(asked, group);
    ask_crew(asked, group, "pages", 1, [](std::size_t count, unsigned long) { pairs(run_bytes, count); });
    ask_crew(asked, allot_root(), "group", 1, [group](std::size_t count, unsigned long self) {
        for (std::size_t i = 0; i < count; ++i) {
            allot_group* const made = make_group(group, "empty-" + std::to_string(self));
            allot_group_close(made, nullptr);
            allot_group_put(made);
        }
    });
}

// --- Groups, depth, size ----------------------------------------------------------------------------------------------------------

void ask_groups(const question& asked) {
    const std::vector<allot_group*> groups = make_children(make_chain("tenants", 1), asked.value);
    for (int round = 0; round < 2; ++round) {
        std::vector<void*> blocks(300);
        for (allot_group* const group : groups) {
            const group_scope here{group};
            batch(small_bytes, blocks);
        }
        allot_quiesce(); // what has become hot gets slabs of its own in the second round
    }
    const auto through = [&](auto step) {
        return time_calls(asked,
                          [&](std::size_t passes) {
                              for (std::size_t pass = 0; pass < passes; ++pass)
                                  for (allot_group* const group : groups) {
                                      const group_scope here{group};
                                      step();
                                  }
                          }) /
               static_cast<double>(groups.size());
    };
    asked.say("scope", through([] {}));
    asked.say("scope_pair", through([] { pairs(small_bytes, 1); }));
}

/// A slab with one block of 64 KiB is made and charged at each call. Returns ns of one.
double new_slab_ns(allot_group* group, int rounds) {
    constexpr std::size_t bytes = 65'536;
    warm(group, bytes);
    const group_scope here{group};
    std::vector<void*> blocks(100); // less than what is given back to the system by itself
    double taken = 0;
    for (int round = 0; round <= rounds; ++round) {
        allot_group_reclaim(group, 1); // all slabs that are empty
        const steady::time_point start = steady::now();
        for (void*& block : blocks)
            block = allot_malloc(bytes);
        taken += round == 0 ? 0 : ns_since(start);
        for (void* const block : blocks) {
            if (block == nullptr)
                fail("out of memory");
            allot_free(block);
        }
    }
    return taken / rounds / static_cast<double>(blocks.size());
}

void ask_depth(const question& asked) {
    allot_group* const hot = make_chain("hot", asked.value);
    warm(hot, small_bytes);
    {
        const group_scope here{hot};
        asked.say("hot", time_calls(asked, [](std::size_t count) { pairs(small_bytes, count); }));
    }
    allot_group* const above = make_chain("cold", asked.value - 1);
    const auto make_cold = [&](const char* name) {
        std::vector<allot_group*> made(500);
        for (std::size_t index = 0; index < made.size(); ++index)
            made[index] = make_group(above, name + std::to_string(index));
        return made;
    };
    piece_ns(make_cold("first-"), small_bytes); // warms the path up
    asked.say("cold", piece_ns(make_cold("second-"), small_bytes));
    asked.say("slab", new_slab_ns(hot, 50));
}

void ask_size(const question& asked) {
    allot_group* const hot = make_chain("hot", 3);
    warm(hot, asked.value);
    {
        const group_scope here{hot};
        asked.say("hot", time_calls(asked, [&](std::size_t count) { pairs(asked.value, count); }));
    }
    piece_ns(make_children(make_chain("first", 2), 500), asked.value); // warms the path up
    asked.say("cold", piece_ns(make_children(make_chain("second", 2), 500), asked.value));
}

struct known_question {
    const char* name;
    void (*ask)(const question& asked);
};

constexpr known_question known_questions[] = {
    {"threads", ask_threads}, {"groups", ask_groups}, {"depth", ask_depth}, {"size", ask_size}};

} // namespace

int main(int argc, char** argv) {
    if (argc != 4)
        fail("allot_bench starts this program");
    const question asked{argv[2], std::strtoul(argv[2], nullptr, 10), std::strtod(argv[3], nullptr) * 1e6};
    if (asked.value == 0)
        fail("a number is 1 at least");
    for (const known_question& one : known_questions)
        if (std::strcmp(argv[1], one.name) == 0) {
            one.ask(asked);
            return 0;
        }
    fail("there is no such question");
}
