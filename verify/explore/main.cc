// SPDX-License-Identifier: MIT
//
// explore: runs the suites: the correct sources, then every mutant of them.
//
// Idea.        Mutants of orders need no list: the engine has met every place that has an order; each is weakened by one step, and
//              from a weakening that survives further. Barriers are left out. A mutant that survives has to be in the suite's
//              list, with the reason; one that is in the list and does not survive is reported, too. Mutants that drop a step
//              of an algorithm are in steps.txt and were built into a copy of the sources (run.sh).
// Checked by.  litmus.cc
#include "litmus.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>

namespace explore {

extern const suite rcu_suite, work_queue_suite, page_counter_suite, remote_suite, gate_suite, percpu_ref_suite,
    cache_gate_suite, obj_cgroup_suite;

namespace {

const suite* const suites[] = {&rcu_suite,  &work_queue_suite, &page_counter_suite, &remote_suite,
                               &gate_suite, &percpu_ref_suite, &cache_gate_suite,   &obj_cgroup_suite};

using engine::mutation;
using engine::site_info;
using clock_type = std::chrono::steady_clock;

struct options {
    double seconds = 45;
    std::string suite, scenario, mutant, replay, strategy, steps;
    std::uint64_t seed = 0;
    bool verbose = false, litmus_only = false, list = false;
} given;

struct verdict {
    bool failed = false;
    std::string scenario, error, again;
    std::uint64_t runs = 0;
    bool complete = false; ///< the exhaustive search came to its end
};

/// Runs up to `runs` and `seconds`. True if a run failed.
bool explore_with(engine::strategy& s, const scenario& what, std::uint64_t runs, clock_type::time_point until,
                  verdict& v) {
    for (std::uint64_t i = 0; i < runs; ++i) {
        if (i % 64 == 0 && clock_type::now() >= until)
            return false;
        if (engine::run(what.body, s)) {
            ++v.runs;
            continue;
        }
        if (engine::error().empty()) {
            v.complete = true;
            return false;
        }
        ++v.runs;
        v.failed = true;
        v.scenario = what.name;
        v.error = engine::error();
        v.again = "--scenario " + v.scenario + " --replay " + engine::schedule();
        if (!s.name().empty())
            v.again += "   (or " + s.name() + ")";
        return true;
    }
    return false;
}

clock_type::time_point in(double seconds) {
    return clock_type::now() + std::chrono::duration_cast<clock_type::duration>(std::chrono::duration<double>(seconds));
}

/// The correct sources: exhaustively for a while, then at random.
verdict explore_correct(const scenario& what, double seconds) {
    verdict v;
    engine::exhaustive all(what.exhaustive);
    if (explore_with(all, what, ~0ull, in(seconds * 0.5), v))
        return v;
    const bool complete = v.complete;
    engine::random_walk walk(given.seed + 1);
    if (explore_with(walk, what, ~0ull, in(seconds * 0.25), v))
        return v;
    engine::pct priorities(given.seed + 1);
    explore_with(priorities, what, ~0ull, in(seconds * 0.25), v);
    v.complete = complete;
    return v;
}

/// A mutant: all scenarios in turn, with growing bounds, until one run fails.
verdict explore_mutant(const suite& in_suite, const mutation& m, double seconds) {
    engine::set_mutation(m);
    verdict v;
    const auto until = in(seconds);
    static constexpr bounds growing[] = {{0, 1}, {1, 0}, {1, 1}, {2, 1}, {2, 2}, {3, 3}};
    std::uint64_t runs = 500;
    for (unsigned round = 0; round < 6 && !v.failed; ++round, runs *= 4)
        for (const scenario& what : in_suite.scenarios) {
            if (v.failed)
                break;
            engine::exhaustive all(growing[round]);
            engine::random_walk walk(given.seed + 1 + round * 1000003);
            engine::pct priorities(given.seed + 1 + round * 1000003);
            static_cast<void>(explore_with(all, what, runs, until, v) || explore_with(walk, what, runs, until, v) ||
                              explore_with(priorities, what, runs, until, v));
        }
    engine::set_mutation({});
    return v;
}

const char* name_of(order o) {
    switch (o) {
    case order::relaxed:
        return "relaxed";
    case order::acquire:
        return "acquire";
    case order::release:
        return "release";
    case order::acq_rel:
        return "acq_rel";
    default:
        return "seq_cst";
    }
}

std::vector<order> one_step_weaker(site_info::kind_t kind, order o) {
    if (o == order::seq_cst)
        return {kind == site_info::load ? order::acquire : kind == site_info::store ? order::release : order::acq_rel};
    if (o == order::acq_rel)
        return {order::acquire, order::release};
    if (o == order::relaxed)
        return {};
    return {order::relaxed};
}

struct tally {
    unsigned killed = 0, survived = 0, problems = 0;
    std::uint64_t runs = 0, most_runs = 0;
    std::vector<std::string> used; ///< survivors that were met
};

const survivor* expected_survivor(const suite& s, const std::string& site, const std::string& name) {
    for (const survivor& known : s.survivors)
        if (site == known.site && name == known.mutant)
            return &known;
    return nullptr;
}

/// True if the mutant survived.
bool try_mutant(const suite& s, const mutation& m, const std::string& site, const std::string& name, tally& t) {
    const std::string full = site.empty() ? name : site + ":" + name;
    if (!given.mutant.empty() && given.mutant != full)
        return false;
    const survivor* const expected = expected_survivor(s, site, name);
    const verdict v = explore_mutant(s, m, expected != nullptr ? 0.3 : 8);
    t.runs += v.runs;
    if (v.failed) {
        ++t.killed;
        t.most_runs = std::max(t.most_runs, v.runs);
        if (given.list)
            std::printf("     %s: %s killed in run %llu by %s: %s\n", s.name, full.c_str(),
                        static_cast<unsigned long long>(v.runs), v.scenario.c_str(), v.error.c_str());
        if (expected != nullptr) {
            std::printf("FAIL %s: mutant %s is listed as a survivor, but is killed: %s\n", s.name, full.c_str(),
                        v.error.c_str());
            ++t.problems;
        }
        return false;
    }
    ++t.survived;
    if (expected == nullptr) {
        std::printf("FAIL %s: mutant %s survives %llu runs\n", s.name, full.c_str(),
                    static_cast<unsigned long long>(v.runs));
        ++t.problems;
    } else {
        t.used.push_back(full);
        if (given.list)
            std::printf("     %s: %s survives: %s\n", s.name, full.c_str(), expected->why);
    }
    return true;
}

void try_orders(const suite& s, int index, order declared, tally& t) {
    const site_info site = engine::sites()[static_cast<std::size_t>(index)];
    for (const order weaker : one_step_weaker(site.kind, declared))
        if (try_mutant(s, {index, weaker, nullptr}, site.label, name_of(weaker), t))
            try_orders(s, index, weaker, t);
}

bool is_source(const suite& s, const site_info& site) {
    const std::size_t slash = site.file.rfind('/');
    return slash != std::string::npos && site.file.find("/src/") != std::string::npos &&
           std::string(s.sources).find(site.file.substr(slash + 1) + " ") != std::string::npos;
}

bool report(const suite& s, const char* what, const tally& t) {
    if (t.problems == 0)
        std::printf("PASS %s %s: %u killed (the slowest in run %llu), %u survive as listed\n", s.name, what, t.killed,
                    static_cast<unsigned long long>(t.most_runs), t.survived);
    return t.problems == 0;
}

/// Every order of the suite's sources, weakened.
bool check_orders(const suite& s, const std::vector<std::uint64_t>& hits_before) {
    tally t;
    engine::label_sites();
    const std::size_t count = engine::sites().size();
    for (std::size_t i = 0; i < count; ++i) {
        const site_info site = engine::sites()[i];
        const std::uint64_t before = i < hits_before.size() ? hits_before[i] : 0;
        if (!is_source(s, site) || site.hits == before)
            continue;
        if (site.kind == site_info::barrier)
            try_mutant(s, {static_cast<int>(i), order::relaxed, nullptr}, site.label, "drop", t);
        else
            try_orders(s, static_cast<int>(i), site.declared, t);
    }
    for (const survivor& known : s.survivors) {
        if (!given.mutant.empty())
            break;
        const std::string full = std::string(known.site) + ":" + known.mutant;
        bool met = false;
        for (const std::string& used : t.used)
            met = met || used == full;
        if (!met) {
            std::printf("FAIL %s: no such survivor: %s\n", s.name, full.c_str());
            ++t.problems;
        }
    }
    return report(s, "orders", t);
}

/// The steps of the driver.
bool check_driver_steps(const suite& s) {
    tally t;
    for (const step& left_out : s.steps)
        try_mutant(s, {-1, order::relaxed, left_out.name}, "", left_out.name, t);
    return s.steps.empty() || report(s, "driver's steps", t);
}

/// The steps of the sources, from steps.txt: lines "suite name file"; what follows a line is run.sh's.
bool check_steps(const suite& s) {
    tally t;
    std::ifstream in_file(given.steps);
    for (std::string line; std::getline(in_file, line);) {
        if (line.empty() || std::strchr("#-+", line[0]) != nullptr)
            continue;
        const std::size_t blank = line.find(' ');
        const std::string name = line.substr(blank + 1, line.find(' ', blank + 1) - blank - 1);
        if (line.substr(0, blank) == s.name)
            try_mutant(s, {-1, order::relaxed, name.c_str()}, "", name, t);
    }
    return report(s, "steps", t);
}

bool check_correct(const suite& s, double seconds) {
    bool good = true;
    for (const scenario& what : s.scenarios) {
        const verdict v = explore_correct(what, seconds / static_cast<double>(s.scenarios.size()));
        if (v.failed) {
            std::printf("FAIL %s: %s\n     run %llu, again with: %s\n", what.name, v.error.c_str(),
                        static_cast<unsigned long long>(v.runs), v.again.c_str());
            good = false;
        } else {
            std::printf("PASS %s: %llu runs%s\n", what.name, static_cast<unsigned long long>(v.runs),
                        v.complete ? ", all within the bounds" : "");
        }
        std::fflush(stdout);
    }
    return good;
}

/// One run, or one strategy, of one scenario.
int repeat(const suite& s, const scenario& what) {
    mutation m;
    if (!given.mutant.empty()) {
        engine::random_walk warm_up(1); // the sites have to be met before they have names
        for (unsigned i = 0; i < 2000; ++i)
            engine::run(what.body, warm_up);
        engine::label_sites();
        m.step = given.mutant.c_str();
        for (std::size_t i = 0; i < engine::sites().size(); ++i)
            for (const char* name : {"relaxed", "acquire", "release", "acq_rel", "drop"})
                if (engine::sites()[i].label + ":" + name == given.mutant) {
                    m = {static_cast<int>(i), order::relaxed, nullptr};
                    for (const order o : {order::acquire, order::release, order::acq_rel})
                        if (std::string(name) == name_of(o))
                            m.weaker = o;
                }
    }
    engine::set_mutation(m);
    std::unique_ptr<engine::strategy> how;
    if (!given.replay.empty())
        how = std::make_unique<engine::replay>(given.replay);
    else if (given.strategy == "pct")
        how = std::make_unique<engine::pct>(given.seed, true);
    else
        how = std::make_unique<engine::random_walk>(given.seed, true);
    engine::set_verbose(given.verbose);
    if (engine::run(what.body, *how)) {
        std::printf("PASS %s: this run\n", what.name);
        return 0;
    }
    std::printf("FAIL %s: %s\n     suite %s, schedule %s\n", what.name, engine::error().c_str(), s.name,
                engine::schedule().c_str());
    return 1;
}

int usage() {
    std::fprintf(stderr, "usage: explore [--seconds N] [--suite NAME] [--mutant NAME] [--list] [--steps FILE]\n"
                         "       explore --scenario NAME (--replay SCHEDULE | [--strategy random|pct] --seed N)\n"
                         "               [--mutant NAME] [--verbose]\n");
    return 2;
}

bool parse(int count, char** words) {
    for (int i = 1; i < count; ++i) {
        const std::string word = words[i];
        if (word == "--verbose") {
            given.verbose = true;
            continue;
        }
        if (word == "--list") {
            given.list = true;
            continue;
        }
        if (i + 1 == count)
            return false;
        const char* const value = words[++i];
        if (word == "--seconds")
            given.seconds = std::atof(value);
        else if (word == "--seed")
            given.seed = std::strtoull(value, nullptr, 10);
        else if (std::string* text = word == "--suite"      ? &given.suite
                                     : word == "--scenario" ? &given.scenario
                                     : word == "--mutant"   ? &given.mutant
                                     : word == "--replay"   ? &given.replay
                                     : word == "--strategy" ? &given.strategy
                                     : word == "--steps"    ? &given.steps
                                                            : nullptr)
            *text = value;
        else
            return false;
    }
    return true;
}

int main(int count, char** words) {
    setvbuf(stdout, nullptr, _IOLBF, 1 << 12);
    if (!parse(count, words))
        return usage();
    if (!given.scenario.empty()) {
        for (const suite* s : suites)
            for (const scenario& what : s->scenarios)
                if (given.scenario == what.name)
                    return repeat(*s, what);
        std::fprintf(stderr, "explore: no scenario '%s'\n", given.scenario.c_str());
        return 2;
    }
    bool good = true;
    std::size_t scenarios = 0;
    for (const suite* s : suites)
        scenarios += s->scenarios.size();
    if (given.suite.empty() && given.steps.empty() && given.mutant.empty())
        good = check_litmus() & check_flaws();
    for (const suite* s : suites) {
        if (!given.suite.empty() && given.suite != s->name)
            continue;
        if (!given.steps.empty()) {
            good &= check_steps(*s);
            continue;
        }
        std::vector<std::uint64_t> hits;
        for (const site_info& site : engine::sites())
            hits.push_back(site.hits);
        const double share = given.seconds * static_cast<double>(s->scenarios.size()) / static_cast<double>(scenarios);
        const bool correct = check_correct(*s, given.mutant.empty() ? share : 0.2);
        good &= correct;
        if (correct) {
            good &= check_orders(*s, hits);
            good &= check_driver_steps(*s);
        }
    }
    return good ? 0 : 1;
}

} // namespace

} // namespace explore

int main(int count, char** words) { return explore::main(count, words); }
