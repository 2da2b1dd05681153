// SPDX-License-Identifier: MIT
//
// litmus: tests of the engine: small programs whose outcomes under C++20 are known.
//
// Idea.        Each program runs in all ways; the set of its outcomes has to be the expected one, no more and no less. A failed
//              run's outcome is the first word of its error. Then each flaw is built into the engine in turn, and some program
//              has to notice.
// Checked by.  the flaws
// Source.      Maranget, Sarkar, Sewell, A tutorial introduction to the ARM and POWER relaxed memory models; C++20
//              [atomics.order]; Lahav et al., Repairing sequential consistency in C/C++11.
#include "litmus.hpp"

#include <cstdio>
#include <set>

namespace explore {

namespace {

using engine::flaw;
template <class T> using atomic = sim::atomic<T>;
constexpr order rlx = order::relaxed, acq = order::acquire, rel = order::release, both = order::acq_rel,
                sc = order::seq_cst;

char outcome[16]; // one digit a register
void set(unsigned reg, int value) { outcome[reg] = static_cast<char>('0' + value); }

struct shared {
    atomic<int> x{0}, y{0}, z{0};
    sim::var<int> data{0};
    sim::lock lock;
};
shared& s() { return make<shared>(); }

// Store buffering: both read 0?
template <order W, order R> void store_buffering() {
    auto& m = s();
    thread([&m] { m.x.store(1, W), set(0, m.y.load(R)); });
    thread([&m] { m.y.store(1, W), set(1, m.x.load(R)); });
}
void store_buffering_fences() {
    auto& m = s();
    thread([&m] { m.x.store(1, rlx), engine::fence(sc, where::current()), set(0, m.y.load(rlx)); });
    thread([&m] { m.y.store(1, rlx), engine::fence(sc, where::current()), set(1, m.x.load(rlx)); });
}
void store_buffering_one_fence() {
    auto& m = s();
    thread([&m] { m.x.store(1, rlx), engine::fence(sc, where::current()), set(0, m.y.load(rlx)); });
    thread([&m] { m.y.store(1, rlx), set(1, m.x.load(rlx)); });
}
// A seq_cst fence on one side, seq_cst operations on the other.
void store_buffering_fence_and_operations() {
    auto& m = s();
    thread([&m] { m.x.store(1, rlx), engine::fence(sc, where::current()), set(0, m.y.load(rlx)); });
    thread([&m] { m.y.store(1, sc), set(1, m.x.load(sc)); });
}
// The membarrier: one side has nothing.
void store_buffering_all_barrier() {
    auto& m = s();
    thread([&m] { m.x.store(1, rlx), sim::reader_barrier(), set(0, m.y.load(rlx)); });
    thread([&m] { m.y.store(1, rlx), sim::all_barrier(), set(1, m.x.load(rlx)); });
}
void store_buffering_fallback() {
    without_membarrier();
    store_buffering_all_barrier();
}
// seq_cst exchanges of other locations are no fences.
void store_buffering_exchanges() {
    auto& m = s();
    auto& n = s();
    thread([&m, &n] { m.x.store(1, rlx), n.x.exchange(1, sc), set(0, m.y.load(rlx)); });
    thread([&m, &n] { m.y.store(1, rlx), n.y.exchange(1, sc), set(1, m.x.load(rlx)); });
}
// Sent message: 1 seen, old data?
template <order W, order R> void message_passing() {
    auto& m = s();
    thread([&m] { m.x.store(1, rlx), m.y.store(1, W); });
    thread([&m] { set(0, m.y.load(R)), set(1, m.x.load(rlx)); });
}
template <order W, order R> void message_passing_fences() {
    auto& m = s();
    thread([&m] { m.x.store(1, rlx), engine::fence(W, where::current()), m.y.store(1, rlx); });
    thread([&m] { set(0, m.y.load(rlx)), engine::fence(R, where::current()), set(1, m.x.load(rlx)); });
}
void message_passing_release_sequence() {
    auto& m = s();
    thread([&m] { m.x.store(1, rlx), m.y.store(1, rel); });
    thread([&m] { m.y.fetch_add(1, rlx); });
    thread([&m] { set(0, m.y.load(acq)), set(1, m.x.load(rlx)); });
}
// Writes in between by plain stores end it (since C++20 also the releaser's own).
void message_passing_no_sequence() {
    auto& m = s();
    thread([&m] { m.x.store(1, rlx), m.y.store(1, rel), m.y.store(2, rlx); });
    thread([&m] { set(0, m.y.load(acq)), set(1, m.x.load(rlx)); });
}
template <order W, order R> void message_passing_data() {
    auto& m = s();
    thread([&m] { m.data.set(1), m.y.store(1, W); });
    thread([&m] {
        const int seen = m.y.load(R);
        set(0, seen);
        if (seen != 0)
            set(1, m.data.get());
    });
}
void write_race() {
    auto& m = s();
    thread([&m] { set(0, m.data.get()); });
    thread([&m] { m.data.set(1); });
}
// Load buffering: out of reach (see Limits); expected here as it is.
void load_buffering() {
    auto& m = s();
    thread([&m] { set(0, m.y.load(rlx)), m.x.store(1, rlx); });
    thread([&m] { set(1, m.x.load(rlx)), m.y.store(1, rlx); });
}
void coherence_read_read() {
    auto& m = s();
    thread([&m] { m.x.store(1, rlx); });
    thread([&m] { set(0, m.x.load(rlx)), set(1, m.x.load(rlx)); });
}
void coherence_write_read() {
    auto& m = s();
    thread([&m] { m.x.store(1, rlx); });
    thread([&m] { m.x.store(2, rlx), set(0, m.x.load(rlx)); });
}
void coherence_over_threads() {
    auto& m = s();
    thread([&m] { m.x.store(1, rlx); });
    thread([&m] {
        if (m.x.load(rlx) == 1)
            m.y.store(1, rel);
    });
    thread([&m] { set(0, m.y.load(acq)), set(1, m.x.load(rlx)); });
}
template <order W, order R> void independent_reads() {
    auto& m = s();
    thread([&m] { m.x.store(1, W); });
    thread([&m] { m.y.store(1, W); });
    thread([&m] { set(0, m.x.load(R)), set(1, m.y.load(R)); });
    thread([&m] { set(2, m.y.load(R)), set(3, m.x.load(R)); });
    finally([] {
        const bool disagree = std::memcmp(outcome, "1010", 4) == 0;
        std::memset(outcome, 0, sizeof outcome);
        set(0, disagree);
    });
}
void write_to_read_causality() {
    auto& m = s();
    thread([&m] { m.x.store(1, rlx); });
    thread([&m] { set(0, m.x.load(rlx)), m.y.store(1, rel); });
    thread([&m] { set(1, m.y.load(acq)), set(2, m.x.load(rlx)); });
    finally([] {
        const bool broken = std::memcmp(outcome, "110", 3) == 0;
        std::memset(outcome, 0, sizeof outcome);
        set(0, broken);
    });
}
// A seq_cst load sees the last seq_cst store or a later one, and no two of them step back.
void seq_cst_loads_in_order() {
    auto& m = s();
    thread([&m] { m.x.store(1, rlx), m.y.store(1, sc); });
    thread([&m] { set(0, m.x.load(sc)), m.z.store(1, sc); });
    thread([&m] { set(1, m.z.load(sc)), set(2, m.x.load(sc)); });
    finally([] {
        const bool back = std::memcmp(outcome, "110", 3) == 0;
        std::memset(outcome, 0, sizeof outcome);
        set(0, back);
    });
}
void atomicity() {
    auto& m = s();
    thread([&m] { m.x.fetch_add(1, rlx); });
    thread([&m] { m.x.fetch_add(1, rlx); });
    finally([&m] { set(0, m.x.load(rlx)); });
}
void weak_exchange() {
    auto& m = s();
    thread([&m] {
        int expected = 0;
        set(0, m.x.compare_exchange_weak(expected, 1, sc, rlx));
    });
}
void strong_exchange() {
    auto& m = s();
    thread([&m] {
        int expected = 0;
        set(0, m.x.compare_exchange_strong(expected, 1, sc, rlx));
    });
    thread([&m] { m.x.store(2, rlx); });
}
void lock_excludes() {
    auto& m = s();
    for (int i = 0; i < 2; ++i)
        thread([&m] {
            locked hold(m.lock);
            m.data.set(m.data.get() + 1);
        });
    finally([&m] { set(0, m.data.get()); });
}
void lock_cycle() {
    auto& m = s();
    auto& n = s();
    thread([&m, &n] {
        locked a(m.lock);
        locked b(n.lock);
    });
    thread([&m, &n] {
        locked b(n.lock);
        locked a(m.lock);
    });
    finally([] { set(0, 1); });
}
void lock_in_handler() {
    auto& m = s();
    thread([&m] { locked hold(m.lock); });
    handler(1, [&m] { locked hold(m.lock); });
    finally([] { set(0, 1); });
}
void lock_in_blocked_handler() {
    auto& m = s();
    thread([&m] {
        signals_blocked none;
        locked hold(m.lock);
    });
    handler(1, [&m] { locked hold(m.lock); });
    finally([] { set(0, 1); });
}
void handler_between_load_and_store() {
    auto& m = s();
    thread([&m] { m.x.store(m.x.load(rlx) + 1, rlx); });
    handler(1, [&m] { m.x.store(m.x.load(rlx) + 1, rlx); });
    finally([&m] { set(0, m.x.load(rlx)); });
}
template <order Down> void last_one_frees() {
    auto& m = s();
    m.x.store(2, rlx);
    for (int i = 0; i < 2; ++i)
        thread([&m] {
            static_cast<void>(m.data.get());
            if (m.x.fetch_sub(1, Down) == 1)
                retire(m);
        });
    finally([] { set(0, 1); });
}
void use_after_free() {
    auto& m = s();
    auto& n = s();
    thread([&m, &n] { retire(m), n.x.store(1, rel); });
    thread([&m, &n] {
        if (n.x.load(acq) == 1)
            set(0, m.y.load(rlx));
        else
            set(0, 2);
    });
}
template <bool Wakes> void sleeper() {
    auto& m = s();
    thread([&m] {
        while (m.x.load(acq) == 0)
            sim::wait(m.x, 0);
        set(0, 1);
    });
    thread([&m] {
        m.x.store(1, rel);
        if (Wakes)
            sim::wake(m.x);
    });
}
template <bool Ends> void poller() {
    auto& m = s();
    thread([&m] {
        for (unsigned round = 0; m.x.load(rlx) == 0; ++round)
            sim::pause(round);
        set(0, 1);
    });
    thread([&m] {
        if (Ends)
            m.x.store(1, rlx);
    });
}

struct litmus {
    const char* name;
    void (*body)();
    const char* outcomes; ///< sorted, with blanks between
};
constexpr litmus all[] = {
    {"SB relaxed", store_buffering<rlx, rlx>, "00 01 10 11"},
    {"SB release acquire", store_buffering<rel, acq>, "00 01 10 11"},
    {"SB seq_cst", store_buffering<sc, sc>, "01 10 11"},
    {"SB seq_cst stores only", store_buffering<sc, rlx>, "00 01 10 11"},
    {"SB seq_cst loads only", store_buffering<rlx, sc>, "00 01 10 11"},
    {"SB fences", store_buffering_fences, "01 10 11"},
    {"SB one fence", store_buffering_one_fence, "00 01 10 11"},
    {"SB fence against operations", store_buffering_fence_and_operations, "01 10 11"},
    {"SB all_barrier", store_buffering_all_barrier, "01 10 11"},
    {"SB all_barrier, no membarrier", store_buffering_fallback, "01 10 11"},
    {"SB exchanges elsewhere", store_buffering_exchanges, "00 01 10 11"},
    {"MP relaxed", message_passing<rlx, rlx>, "00 01 10 11"},
    {"MP release relaxed", message_passing<rel, rlx>, "00 01 10 11"},
    {"MP relaxed acquire", message_passing<rlx, acq>, "00 01 10 11"},
    {"MP release acquire", message_passing<rel, acq>, "00 01 11"},
    {"MP seq_cst", message_passing<sc, sc>, "00 01 11"},
    {"MP fences", message_passing_fences<rel, acq>, "00 01 11"},
    {"MP seq_cst fences", message_passing_fences<sc, sc>, "00 01 11"},
    {"MP wrong fences", message_passing_fences<acq, rel>, "00 01 10 11"},
    {"MP release sequence", message_passing_release_sequence, "00 01 10 11 21"},
    {"MP no release sequence", message_passing_no_sequence, "00 01 11 20 21"},
    {"MP data release acquire", message_passing_data<rel, acq>, "0 11"},
    {"MP data relaxed", message_passing_data<rlx, acq>, "0 race"},
    {"MP data read relaxed", message_passing_data<rel, rlx>, "0 race"},
    {"race", write_race, "race"},
    {"LB", load_buffering, "00 01 10"},
    {"CoRR", coherence_read_read, "00 01 11"},
    {"CoWR", coherence_write_read, "1 2"},
    {"CoRR over threads", coherence_over_threads, "00 01 11"},
    {"IRIW acquire", independent_reads<rel, acq>, "0 1"},
    {"IRIW seq_cst", independent_reads<sc, sc>, "0"},
    {"IRIW seq_cst stores only", independent_reads<sc, acq>, "0 1"},
    {"WRC", write_to_read_causality, "0"},
    {"seq_cst loads do not step back", seq_cst_loads_in_order, "0"},
    {"atomicity", atomicity, "2"},
    {"weak exchange", weak_exchange, "0 1"},
    {"strong exchange", strong_exchange, "0 1"},
    {"lock", lock_excludes, "2"},
    {"lock cycle", lock_cycle, "1 deadlock"},
    {"lock in handler", lock_in_handler, "1 self-deadlock"},
    {"lock in blocked handler", lock_in_blocked_handler, "1"},
    {"handler", handler_between_load_and_store, "1 2"},
    {"last one frees", last_one_frees<both>, "1"},
    {"last one frees, release", last_one_frees<rel>, "race"},
    {"last one frees, acquire", last_one_frees<acq>, "race"},
    {"use after free", use_after_free, "2 use"},
    {"sleep", sleeper<true>, "1"},
    {"sleep without wake", sleeper<false>, "1 deadlock"},
    {"poll", poller<true>, "1"},
    {"poll for ever", poller<false>, "deadlock"},
};

std::string outcomes_of(const litmus& l, std::uint64_t* runs) {
    std::set<std::string> seen;
    engine::exhaustive everything({3, 4});
    for (;;) {
        std::memset(outcome, 0, sizeof outcome);
        const bool ok = engine::run(l.body, everything);
        if (!ok && engine::error().empty())
            break;
        ++*runs;
        const std::string& e = engine::error();
        seen.insert(ok ? outcome : e.substr(0, e.find_first_of(": ")));
    }
    std::string text;
    for (const std::string& o : seen)
        text += (text.empty() ? "" : " ") + o;
    return text;
}

} // namespace

bool check_litmus() {
    std::uint64_t runs = 0;
    bool good = true;
    for (const litmus& l : all) {
        const std::string seen = outcomes_of(l, &runs);
        if (seen != l.outcomes) {
            std::printf("FAIL litmus: %s: outcomes {%s}, expected {%s}\n", l.name, seen.c_str(), l.outcomes);
            good = false;
        }
    }
    if (good)
        std::printf("PASS litmus: %zu programs, %llu runs\n", std::size(all), static_cast<unsigned long long>(runs));
    return good;
}

bool check_flaws() {
    bool good = true;
    std::uint64_t runs = 0;
    for (unsigned f = 1; f < static_cast<unsigned>(flaw::count); ++f) {
        engine::set_flaw(static_cast<flaw>(f));
        const litmus* noticed = nullptr;
        for (const litmus& l : all)
            if (noticed == nullptr && outcomes_of(l, &runs) != l.outcomes)
                noticed = &l;
        engine::set_flaw(flaw::none);
        if (noticed == nullptr)
            std::printf("FAIL flaw %s: no litmus test notices\n", engine::name_of(static_cast<flaw>(f)));
        good = good && noticed != nullptr;
    }
    if (good)
        std::printf("PASS flaws: %u, all noticed, %llu runs\n", static_cast<unsigned>(flaw::count) - 1,
                    static_cast<unsigned long long>(runs));
    return good;
}

} // namespace explore
