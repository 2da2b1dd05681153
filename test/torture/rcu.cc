// SPDX-License-Identifier: MIT
//
// torture_rcu: readers of every kind against updaters that age what they remove, over this library's RCU and over liburcu's.
//
//     torture_rcu [--seconds N] [--seed N] [--flavour allot|liburcu|both] [--no-worker] [--leak-pointer]
//
// Idea.        The pipe of rcutorture: an element that was removed becomes older by one with each grace period, and is used again at
//              the age of ten. A reader that sees an age above one at the end of its section was inside for a whole grace period,
//              so that was none. Beside it threads post callbacks and count after a barrier.
//              The same random choices run over liburcu, as a check of the oracle: it must let a right implementation pass.
//              --leak-pointer makes grace periods that do not wait; both flavours must then be caught.
// Concurrency. readers, threads that read after their exit hook, updaters, posters, one that sends signals; main joins them.
// Source.      Linux kernel/rcu/rcutorture.c.
#include "flavours.hpp"

#include <barrier>
#include <chrono>
#include <csignal>
#include <mutex>
#include <pthread.h>
#include <thread>
#include <vector>

namespace {

using namespace torture;

constexpr int storm_signal = SIGUSR1;
constexpr unsigned pipe_length = 10;
constexpr std::size_t element_count = 256;
constexpr unsigned place_count = 2; // an updater each
constexpr unsigned reader_count = 4;
constexpr unsigned poster_count = 2;
constexpr std::uint64_t alive = 0x600d0b1ec7;

template <class F> struct element : F::head {
    std::atomic<unsigned> age{0};
    std::atomic<bool> whole{false};
    std::uint64_t value = 0; // plain, so that the thread sanitizer has a say too
    element* next = nullptr;
};

/// Elements that nobody can see, oldest first.
template <class F> class pool {
  public:
    pool() {
        for (element<F>& each : all_)
            give(each);
    }
    element<F>* take() {
        const std::lock_guard hold{lock_};
        element<F>* const out = first_;
        if (out == nullptr)
            return nullptr;
        first_ = out->next;
        --count_;
        return out;
    }
    void give(element<F>& back) {
        const std::lock_guard hold{lock_};
        back.next = nullptr;
        (first_ == nullptr ? first_ : last_->next) = &back;
        last_ = &back;
        ++count_;
    }
    std::size_t count() {
        const std::lock_guard hold{lock_};
        return count_;
    }

  private:
    std::mutex lock_;
    element<F> all_[element_count];
    element<F>* first_ = nullptr;
    element<F>* last_ = nullptr;
    std::size_t count_ = 0;
};

template <class F> class torture_test {
  public:
    void run(std::uint64_t seconds, bool with_worker) {
        test = this;
        F::start(with_worker);
        pthread_key_create(&late_key, late_reader);
        struct sigaction how {};
        how.sa_handler = [](int) { test->look(test->handler_seed_.fetch_add(0x9e3779b97f4a7c15), true); };
        how.sa_flags = SA_RESTART;
        sigaction(storm_signal, &how, nullptr);
        for (std::size_t i = 0; i < place_count; ++i)
            places_[i] = make();
        start_threads();
        std::this_thread::sleep_for(std::chrono::seconds{seconds});
        stop_ = true;
        while (!threads_.empty()) { // who sends signals is the last, and goes first
            threads_.back().join();
            threads_.pop_back();
        }
        settle();
        say("%s: %llu looks (%llu in handlers, %llu after the exit hook), %llu removed, %llu barriers; ages 0: %llu, "
            "1: %llu",
            F::name, number(looks_), number(handler_looks_), number(late_looks_), number(removed_), number(barriers_),
            number(ages_[0]), number(ages_[1]));
        if (looks_ == 0 || handler_looks_ == 0 || late_looks_ == 0 || removed_ == 0 || barriers_ == 0)
            fail("%s: a part of the test never ran", F::name);
    }

  private:
    using item = element<F>;
    static inline torture_test* test = nullptr;
    static inline pthread_key_t late_key;

    static unsigned long long number(const std::atomic<std::uint64_t>& count) { return count.load(); }

    // --- Readers ----------------------------------------------------------------------------------------------------------

    static void dawdle(std::uint64_t choice, bool in_handler) {
        if (choice % 256 == 0 && !in_handler)
            std::this_thread::sleep_for(std::chrono::microseconds{500});
        else if (choice % 16 == 0)
            std::this_thread::yield();
        else
            for (std::uint64_t spin = 0; spin < choice % 128; ++spin)
                allot::cpu_relax();
    }
    /// One section, perhaps with another inside. Context: any.
    void look(std::uint64_t choice, bool in_handler = false) {
        const auto way = static_cast<unsigned>(choice >> 8);
        F::section(way, [&] {
            const item& seen = *places_[(choice >> 12) % place_count].load(std::memory_order_acquire);
            const bool whole = seen.whole.load(std::memory_order_relaxed);
            const bool alive_before = seen.value == alive;
            dawdle(choice >> 16, in_handler);
            if ((choice >> 40) % 4 == 0)
                F::section(way + 1, [&] { dawdle(choice >> 24, in_handler); });
            if ((choice >> 44) % 8 == 0 && way % F::ways == 1 && !in_handler)
                F::allocate(1 + (choice >> 48) % 2000);
            const unsigned age = seen.age.load(std::memory_order_relaxed);
            if (age > 1 || !whole || !alive_before || seen.value != alive)
                fail("%s: a reader saw an element of age %u%s", F::name, age, whole ? "" : " that was free");
            ages_[age].fetch_add(1, std::memory_order_relaxed);
        });
        (in_handler ? handler_looks_ : looks_).fetch_add(1, std::memory_order_relaxed);
    }
    void read(unsigned index) {
        F::begin_thread(index % 2 == 0);
        std::mt19937_64 random{seed + 10 + index};
        readers_[index] = pthread_self();
        ready_.fetch_add(1);
        while (!stop_)
            look(random());
        for (ready_.fetch_sub(1); !signals_over_;) // it may still be signalled
            std::this_thread::yield();
        F::end_thread();
    }
    /// A key's destructor, which asks to be run again until the library's own has run.
    static void late_reader(void* data) {
        static thread_local unsigned calls = 0;
        if (++calls < 3) {
            pthread_setspecific(late_key, data);
            return;
        }
        F::begin_thread(false);
        if (F::is_bare && F::has_slot())
            fail("%s: a thread has its slot after its exit hook", F::name);
        std::mt19937_64 random{reinterpret_cast<std::uintptr_t>(data)};
        for (unsigned i = 0; i < 20; ++i, ++test->late_looks_)
            test->look(random());
        F::end_thread();
    }
    void churn() {
        for (std::uint64_t i = 1; !stop_; ++i)
            std::thread{[this, i] {
                F::begin_thread(true);
                look(seed * i);
                F::end_thread();
                pthread_setspecific(late_key, reinterpret_cast<void*>(seed * 64 + i));
            }}.join();
    }
    void send_signals() {
        while (ready_.load() < reader_count)
            std::this_thread::yield();
        for (unsigned i = 0; !stop_; ++i) {
            pthread_kill(readers_[i % reader_count], storm_signal);
            std::this_thread::sleep_for(std::chrono::microseconds{50});
        }
        signals_over_ = true;
    }

    // --- Updaters ---------------------------------------------------------------------------------------------------------

    item* make() {
        for (;;) {
            if (item* const out = free_.take()) {
                out->value = alive;
                out->age.store(0, std::memory_order_relaxed);
                out->whole.store(true, std::memory_order_relaxed);
                return out;
            }
            F::poll();
            std::this_thread::yield();
        }
    }
    /// One grace period older. True if that was the last one.
    bool grow_older(item& it) {
        if (it.age.fetch_add(1, std::memory_order_relaxed) + 1 < pipe_length)
            return false;
        it.whole.store(false, std::memory_order_relaxed);
        it.value = 0;
        free_.give(it);
        return true;
    }
    static void after_grace_period(typename F::head& head) noexcept {
        if (!test->grow_older(static_cast<item&>(head)))
            F::call(head, after_grace_period);
    }
    static void grow_all_older(std::vector<item*>& pipe) {
        F::synchronize();
        std::erase_if(pipe, [](item* it) { return test->grow_older(*it); });
    }
    void update(unsigned index) {
        F::begin_thread(true);
        std::mt19937_64 random{seed + 20 + index};
        std::vector<item*> pipe;
        while (!stop_) {
            item* const old = places_[index].exchange(make(), std::memory_order_acq_rel);
            old->age.fetch_add(1, std::memory_order_relaxed);
            removed_.fetch_add(1, std::memory_order_relaxed);
            if (random() % 2 == 0) {
                F::call(*old, after_grace_period);
            } else {
                pipe.push_back(old);
                grow_all_older(pipe);
            }
            if (random() % 64 == 0)
                F::barrier();
        }
        while (!pipe.empty())
            grow_all_older(pipe);
        F::end_thread();
    }
    /// Every element comes back.
    void settle() {
        for (unsigned i = 0; i <= pipe_length; ++i)
            F::barrier();
        if (const std::size_t back = free_.count() + place_count; back != element_count)
            fail("%s: %zu elements of %zu came back", F::name, back, element_count);
    }

    // --- Barriers ---------------------------------------------------------------------------------------------------------

    struct post : F::head {};

    void post_and_count(unsigned index) {
        F::begin_thread(true);
        std::mt19937_64 random{seed + 30 + index};
        std::vector<post> mine(32);
        for (;;) {
            const auto count = 1 + random() % mine.size();
            for (std::size_t i = 0; i < count; ++i)
                F::call(mine[i], [](typename F::head&) noexcept { ++test->ran_; });
            posted_ += count;
            posters_.arrive_and_wait();
            F::barrier();
            if (ran_ != posted_)
                fail("%s: %llu of %llu callbacks had run after a barrier", F::name, number(ran_), number(posted_));
            ++barriers_;
            if (index == 0)
                posters_stop_ = stop_.load();
            posters_.arrive_and_wait();
            if (posters_stop_)
                break;
        }
        F::end_thread();
    }

    void start_threads() {
        for (unsigned i = 0; i < place_count; ++i)
            threads_.emplace_back([this, i] { update(i); });
        for (unsigned i = 0; i < poster_count; ++i)
            threads_.emplace_back([this, i] { post_and_count(i); });
        for (unsigned i = 0; i < reader_count; ++i)
            threads_.emplace_back([this, i] { read(i); });
        threads_.emplace_back([this] { churn(); });
        threads_.emplace_back([this] { send_signals(); });
    }

    pool<F> free_;
    std::atomic<item*> places_[place_count]{};
    std::atomic<bool> stop_{false};
    std::atomic<bool> signals_over_{false};
    std::atomic<unsigned> ready_{0};
    pthread_t readers_[reader_count]{};
    std::vector<std::thread> threads_;
    std::barrier<> posters_{poster_count};
    bool posters_stop_ = false;
    std::atomic<std::uint64_t> handler_seed_{1};
    std::atomic<std::uint64_t> posted_{0}, ran_{0}, barriers_{0};
    std::atomic<std::uint64_t> looks_{0}, handler_looks_{0}, late_looks_{0}, removed_{0};
    std::atomic<std::uint64_t> ages_[2]{};
};

/// Each run in a process of its own.
template <class F> void run_flavour(std::uint64_t seconds, bool with_worker, bool leak_pointer) {
    const auto work = [&] {
        F::broken = leak_pointer;
        static torture_test<F> test;
        test.run(seconds, with_worker);
    };
    if (leak_pointer)
        must_be_caught("grace periods that do not wait", seconds, work);
    else
        must_end_well(F::name, in_child(seconds, work));
}

} // namespace

int main(int argc, char** argv) {
    bool no_worker = false;
    bool leak_pointer = false;
    std::string flavour = "both";
    std::uint64_t seconds = begin("torture_rcu", argc, argv,
                                  {{.name = "--no-worker", .is_given = &no_worker},
                                   {.name = "--leak-pointer", .is_given = &leak_pointer},
                                   {.name = "--flavour", .text = &flavour}});
    const bool both = flavour == "both" && ALLOT_HAVE_LIBURCU;
    seconds = both && seconds > 1 ? seconds / 2 : seconds;
    if (flavour != "liburcu")
        run_flavour<allot_rcu>(seconds, !no_worker, leak_pointer);
#if ALLOT_HAVE_LIBURCU
    if (flavour != "allot")
        run_flavour<liburcu>(seconds, !no_worker, leak_pointer);
#else
    if (flavour != "allot")
        say("built without liburcu: liburcu-dev was missing, or the build is for the thread sanitizer");
#endif
    return pass();
}
