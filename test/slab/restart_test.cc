// SPDX-License-Identifier: MIT
//
// restart_test: a section of the fast path that is interrupted begins anew, whoever interrupts it.
//
// Idea.        Signals as dense as the machine sends them, handlers that allocate and free, and a revoker that takes all slabs
//              away, on top of threads that do nothing but allocate and free. Each block carries a stamp while it is in use, so a
//              block that is handed out twice, or lost, is found. That sections are interrupted at all is seen from where the
//              handler is to return to: the kernel has put the way back there.
#include "support/core.hpp"

#include "slab/fast_path.hpp"
#include "slab/obj_cgroup.hpp"
#include "slab/slab_ops.hpp"
#include "support/threads.hpp"

#include <csignal>
#include <ctime>
#include <pthread.h>
#include <unistd.h>

#if ALLOT_RSEQ
#include <ucontext.h>

/// A section's description, as the kernel reads it; the linker names the ends of their table.
struct section_description {
    std::uint32_t version;
    std::uint32_t flags;
    std::uint64_t start;
    std::uint64_t bytes;
    std::uint64_t way_back;
};
extern "C" {
// NOLINTBEGIN: the linker's names
extern const section_description __start___rseq_cs[] __attribute__((visibility("hidden")));
extern const section_description __stop___rseq_cs[] __attribute__((visibility("hidden")));
// NOLINTEND
}
#endif

namespace {

using allot_test::ms;
using allot_test::stopwatch;
namespace slab = allot::slab;
namespace sync = allot::sync;

constexpr int interruption = SIGUSR1;
constexpr std::size_t block_bytes = 64;
constexpr std::uint64_t run_ns = 700 * ms;

/// What a handler does while the test runs.
std::atomic<void (*)(const ucontext_t&)> on_interruption{nullptr};

void handler(int, siginfo_t*, void* context) {
    const int saved = errno;
    if (auto* const action = on_interruption.load())
        action(*static_cast<const ucontext_t*>(context));
    errno = saved;
}

/// Interrupts threads by timers of their own and by signals of another thread, until it is destroyed.
class interruptions {
  public:
    explicit interruptions(void (*action)(const ucontext_t&)) {
        on_interruption = action;
        struct sigaction how {};
        how.sa_sigaction = handler;
        how.sa_flags = SA_RESTART | SA_SIGINFO;
        sigaction(interruption, &how, &before_);
    }
    ~interruptions() {
        on_interruption = nullptr;
        sigaction(interruption, &before_, nullptr);
    }
    interruptions(const interruptions&) = delete;
    interruptions& operator=(const interruptions&) = delete;

    /// Interrupts the calling thread over a scope.
    class here {
      public:
        here() {
            sender_ = std::thread{[this, target = pthread_self()] {
                for (unsigned turn = 0; !done_.load(); ++turn) {
                    pthread_kill(target, interruption);
                    for (unsigned spin = 0; spin < 500 + turn % 97 * 40; ++spin)
                        allot::cpu_relax();
                }
            }};
        }
        ~here() {
            done_ = true;
            sender_.join();
        }
        here(const here&) = delete;
        here& operator=(const here&) = delete;

      private:
        std::atomic<bool> done_{false};
        std::thread sender_;
    };

  private:
    struct sigaction before_ {};
};

#if ALLOT_RSEQ
std::atomic<std::uint64_t> restarts{0};
std::atomic<std::uint64_t> seen_inside{0};

void look_where_it_was(const ucontext_t& context) {
    const auto at = static_cast<std::uint64_t>(context.uc_mcontext.gregs[REG_RIP]);
    for (const auto* section = __start___rseq_cs; section != __stop___rseq_cs; ++section) {
        restarts += at == section->way_back;
        seen_inside += at - section->start < section->bytes;
    }
    allot_free(allot_malloc(block_bytes));
}

class restarts_of_sections : public allot_test::core_test {};

TEST_F(restarts_of_sections, put_an_interrupted_thread_back_to_the_beginning) {
    if (!allot::platform::rseq_works_here())
        GTEST_SKIP() << "nobody restarts sections here";
    ASSERT_GT(__stop___rseq_cs - __start___rseq_cs, 1) << "one at least that takes a block and one that puts it back";
    const allot::scope in{top};
    allot_test::heat(top, block_bytes);
    restarts = seen_inside = 0;
    std::uint64_t rounds = 0;
    {
        const interruptions all{look_where_it_was};
        const interruptions::here by_signals;
        const stopwatch bound{3'000 * ms};
        while (restarts < 20 && bound.running()) {
            for (int i = 0; i < 1000; ++i)
                allot::free(allot::malloc(block_bytes));
            ++rounds;
        }
    }
    EXPECT_GE(restarts, 20u) << "in " << rounds << " rounds";
    EXPECT_EQ(seen_inside, 0u) << "a handler runs on top of whole lists only";
    EXPECT_EQ(slab::heaps_of(*sync::tls.slot).fast, true);
}
#endif

/// Blocks in use by one thread, or by the handlers on top of it, each with a stamp of its own.
struct keeper {
    static constexpr std::size_t room = 128;
    static constexpr std::size_t words = block_bytes / sizeof(std::uint64_t);
    std::uint64_t* block[room] = {};
    std::uint64_t stamp[room] = {};
    std::uint64_t turn = 0;
    std::uint64_t charged = 0; ///< blocks that the group's count has to know of

    /// Puts a block back that is older, and keeps another one in its place.
    void step(std::uint64_t who, const slab::cache_owner* payer) {
        const std::size_t place = turn * 7 % room;
        put(place);
        auto* const fresh = static_cast<std::uint64_t*>(allot_malloc(block_bytes));
        ++turn;
        if (fresh == nullptr)
            return; // a handler whose reserve is used up
        charged += slab::payer_of(fresh) == payer;
        stamp[place] = who << 48 | turn;
        for (std::size_t i = 0; i < words; ++i)
            fresh[i] = stamp[place];
        block[place] = fresh;
    }
    void put(std::size_t place);
    void put_all() {
        for (std::size_t i = 0; i < room; ++i)
            put(i);
    }
};

std::atomic<std::uint64_t> broken{0};
const slab::cache_owner* payer_of_test = nullptr;
thread_local keeper of_thread;
thread_local keeper of_handler;
thread_local std::uint64_t name_of_thread = 0;

void keeper::put(std::size_t place) {
    if (block[place] == nullptr)
        return;
    for (std::size_t i = 0; i < words; ++i)
        broken += block[place][i] != stamp[place];
    allot_free(block[place]);
    block[place] = nullptr;
}

void allocate_in_the_handler(const ucontext_t&) {
    if (name_of_thread != 0)
        of_handler.step(name_of_thread + 100, payer_of_test);
}

class interrupted_and_revoked : public allot_test::core_test {
  protected:
    static bool always(slab::thread_heaps&, void*) noexcept { return true; }
    /// Takes a thread's slabs away; every other time only its fast path.
    static void take_all(sync::thread_slot& slot, void* data) noexcept {
        if (++*static_cast<unsigned*>(data) % 2 == 0)
            return;
        slab::thread_heaps& heaps = slab::heaps_of(slot);
        for (slab::heap* h = heaps.all.front(); h != nullptr; h = heaps.all.next(*h))
            slab::park_all(*h);
        slab::park_all(heaps.shared);
    }
    /// One thread's part. Returns what it and its handlers allocated for the group.
    std::uint64_t work(std::uint64_t name) {
        const allot::scope in{top};
        EXPECT_TRUE(allot_test::attach_thread());
        {
            const interruptions::here by_signals;
            name_of_thread = name;
            const stopwatch bound{run_ns};
            while (bound.running())
                for (int i = 0; i < 100; ++i)
                    of_thread.step(name, payer_of_test);
            name_of_thread = 0;
        }
        of_thread.put_all();
        of_handler.put_all();
        return of_thread.charged + of_handler.charged;
    }
};

TEST_F(interrupted_and_revoked, threads_lose_no_block_and_no_count_and_get_none_twice) {
    allot_test::heat(top, block_bytes);
    payer_of_test = &allot_test::inside(top);
    broken = 0;
    const std::uint64_t before = top.stat().allocations;
    std::atomic<std::uint64_t> allocated{0};
    unsigned visits = 0;
    {
        const interruptions all{allocate_in_the_handler};
        std::atomic<bool> done{false};
        std::thread revoker{[&] {
            while (!done)
                slab::for_each_slot_closed(always, take_all, &visits);
        }};
        allot_test::on_threads(2, [&](unsigned index) { allocated += work(index + 1); });
        done = true;
        revoker.join();
    }
    EXPECT_GT(visits, 100u);
    EXPECT_EQ(broken, 0u) << "words of blocks in use that somebody else has written";
    EXPECT_EQ(top.stat().allocations - before, allocated);
    allot_test::settle_all();
    const allot::verify_report books = allot::verify();
    EXPECT_TRUE(books) << books.first_error;
    EXPECT_EQ(usage(), 0u);
}

} // namespace
