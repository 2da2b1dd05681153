// SPDX-License-Identifier: MIT
//
// context_test: a lock that is taken in a context on top of other code, and elsewhere with that context enabled, is reported with
// both places before anything hangs; so is blocking, reclaiming and returning where it must not be.
//
// Concurrency. A report jumps out of what provoked it; in a handler it stays inside the handler.
#include "sync/context.hpp"

#include "support/bugs.hpp"
#include "support/core.hpp"
#include "support/threads.hpp"
#include "sync/executor.hpp"
#include "sync/mutex.hpp"

#include <csignal>
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <thread>

namespace allot::sync {
namespace {

/// Runs `body` in a marked handler of a signal raised here.
void in_handler(const std::function<void()>& body) {
    static const std::function<void()>* running;
    running = &body;
    struct sigaction action {
    }, before{};
    action.sa_handler = [](int) {
        handler_scope here;
        (*running)();
    };
    ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
    std::raise(SIGUSR1);
    ::sigaction(SIGUSR1, &before, nullptr);
}

TEST(handler_scope, marks_the_thread_until_the_outermost_one_ends) {
    EXPECT_EQ(tls.flags & in_marked_handler, 0u);
    {
        handler_scope outer;
        { handler_scope inner; }
        EXPECT_NE(tls.flags & in_marked_handler, 0u);
    }
    EXPECT_EQ(tls.flags & in_marked_handler, 0u);
}

TEST(handler_scope, a_marked_handler_leaves_deferred_work_alone) {
    ASSERT_TRUE(allot_test::attach_thread());
    static bool ran;
    ran = false;
    work item{[](work&) noexcept { ran = true; }};
    allow_worker(false);
    in_handler([&] {
        queue_work(stage::free, item);
        if (!worker_running()) {
            EXPECT_EQ(try_run_ready(), 0u);
            EXPECT_FALSE(ran);
        }
    });
    drain();
    allow_worker(true);
    EXPECT_TRUE(ran);
}

/// The reclaimer's mutex may be waited for by a task only; debug builds would stop a handler that takes it.
TEST(handler_scope, an_allocation_at_the_limit_fails_rather_than_reclaims) {
    allot::group full = allot::root().create("full", {.max = 256 * 1024});
    {
        allot_test::blocks some;
        some.make(full, 1000, 1000);
        in_handler([&] { EXPECT_EQ(full.malloc(100'000), nullptr); });
        void* const block = allot::root().malloc(100);
        EXPECT_NE(block, nullptr);
        allot_free(block);
    }
    full.close();
}

#if ALLOT_DEBUG

using allot_test::bug_in;
using allot_test::in_child;

/// "context_test.cc:LINE", as a report names it.
std::string here(unsigned line) { return "context_test.cc:" + std::to_string(line); }

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Locks of two ranks, nothing noted of either.
class lock_context : public testing::Test {
  protected:
    void SetUp() override {
        for (std::size_t i = 0; i < rank_count; ++i)
            forget_lock_contexts(static_cast<lock_rank>(i));
    }
    void TearDown() override { SetUp(); }

    static bool noted(lock_fact fact) { return first_noted(lock_rank::owners, fact).line != 0; }

    static inline spinlock lock{lock_rank::owners};
    static inline spinlock same_rank{lock_rank::owners};
    static inline spinlock other_rank{lock_rank::metadata};
};

TEST_F(lock_context, costas_lock_taken_plainly_by_a_task_and_again_by_a_free_in_a_handler) {
    const unsigned plainly = __LINE__ + 1;
    lock.lock(); // handlers may come: one that frees the last object would wait for this lock for ever
    lock.unlock();
    std::string report;
    unsigned in_the_handler = 0;
    in_handler([&] {
        in_the_handler = __LINE__ + 1;
        report = bug_in([] { lock.lock(); });
    });
    EXPECT_TRUE(report.starts_with("allot: BUG: lock context: 'owners' "
                                   "inconsistent {HANDLER-ON} -> {IN-HANDLER}: "
                                   "taken in a handler at "))
        << report;
    EXPECT_TRUE(contains(report, here(in_the_handler) + ", and with handlers enabled at")) << report;
    EXPECT_TRUE(contains(report, here(plainly) + " (docs/contexts.md)")) << report;
}

TEST_F(lock_context, is_reported_the_other_way_round_too) {
    in_handler([] { irqsave_guard hold(lock); });
    const unsigned plainly = __LINE__ + 1;
    const std::string report = bug_in([] { lock.lock(); });
    EXPECT_TRUE(contains(report, "{IN-HANDLER} -> {HANDLER-ON}: taken in a handler at ")) << report;
    EXPECT_TRUE(contains(report, "and with handlers enabled at ")) << report;
    EXPECT_TRUE(contains(report, here(plainly))) << report;
    EXPECT_FALSE(holds_any_lock()) << "reported before it was taken";
}

TEST_F(lock_context, irqsave_cures_it) {
    const auto take = [] { irqsave_guard hold(lock); };
    EXPECT_EQ(bug_in(take), "");
    in_handler([&] { EXPECT_EQ(bug_in(take), ""); });
    EXPECT_EQ(bug_in(take), "");
    EXPECT_TRUE(noted(lock_fact::in_handler));
    EXPECT_FALSE(noted(lock_fact::handler_on));
}

TEST_F(lock_context, irqsave_in_the_handler_alone_does_not_cure_it) {
    lock.lock();
    lock.unlock();
    in_handler([] { EXPECT_NE(bug_in([] { lock_guard hold(lock); }), ""); });
}

TEST_F(lock_context, a_busy_thread_is_safe_from_handlers_that_interrupt_ordinary_code) {
    {
        busy_scope busy;
        lock_guard hold(lock);
    }
    in_handler([] {
        busy_scope busy;
        EXPECT_EQ(bug_in([] { lock_guard hold(lock); }), "");
    });
    EXPECT_TRUE(noted(lock_fact::in_handler));
    EXPECT_FALSE(noted(lock_fact::handler_on));
}

TEST_F(lock_context, a_handler_that_interrupted_the_library_takes_no_lock_that_its_thread_may_hold) {
    busy_scope busy;
    lock.lock();
    lock.unlock();
    std::string report;
    in_handler([&] { report = bug_in([] { lock.lock(); }); });
    EXPECT_TRUE(contains(report, "{NESTED-HANDLER-ON} -> {IN-NESTED-HANDLER}: "
                                 "taken in a handler that interrupted the "
                                 "library at "))
        << report;
    EXPECT_TRUE(contains(report, "and with signals enabled at ")) << report;
}

TEST_F(lock_context, a_read_side_section_is_inside_the_library_too) {
    ASSERT_TRUE(allot_test::attach_thread());
    {
        busy_scope busy;
        lock_guard hold(lock);
    }
    rcu_guard section;
    in_handler([] { EXPECT_TRUE(contains(bug_in([] { lock.lock(); }), "{IN-NESTED-HANDLER}")); });
}

TEST_F(lock_context, irqsave_cures_that_as_well) {
    busy_scope busy;
    { irqsave_guard hold(lock); }
    in_handler([] {
        irqsave_guard hold(lock);
        EXPECT_TRUE(noted(lock_fact::in_nested_handler));
    });
    EXPECT_FALSE(noted(lock_fact::nested_handler_on));
}

TEST_F(lock_context, a_handler_may_be_interrupted_by_another) {
    if (ALLOT_TSAN)
        GTEST_SKIP() << "TSan runs handlers with all signals blocked";
    std::string report;
    in_handler([&] { report = bug_in([] { lock.lock(); }); });
    EXPECT_TRUE(contains(report, "{IN-HANDLER} -> {HANDLER-ON}")) << report;
}

TEST_F(lock_context, a_mask_of_the_callers_own_counts_if_it_lets_nothing_through_but_faults) {
    sigset_t mask, before;
    sigfillset(&mask);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL})
        sigdelset(&mask, fault);
    pthread_sigmask(SIG_SETMASK, &mask, &before);
    { lock_guard hold(lock); }
    EXPECT_FALSE(noted(lock_fact::handler_on));
    sigdelset(&mask, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &mask, nullptr);
    { lock_guard hold(lock); }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    EXPECT_TRUE(noted(lock_fact::handler_on));
}

TEST_F(lock_context, who_only_tries_waits_for_nobody) {
    lock.lock();
    lock.unlock();
    in_handler([] {
        EXPECT_EQ(bug_in([] {
                      if (lock.try_lock())
                          lock.unlock();
                  }),
                  "");
    });
    EXPECT_FALSE(noted(lock_fact::in_handler));
}

TEST_F(lock_context, but_holds_what_it_got) {
    if (lock.try_lock())
        lock.unlock();
    in_handler([] { EXPECT_TRUE(contains(bug_in([] { lock.lock(); }), "{HANDLER-ON} -> {IN-HANDLER}")); });
}

TEST_F(lock_context, locks_of_one_rank_are_one_class_and_other_ranks_are_not) {
    lock.lock();
    lock.unlock();
    in_handler([] {
        EXPECT_EQ(bug_in([] { irqsave_guard hold(other_rank); }), "");
        EXPECT_NE(bug_in([] { same_rank.lock(); }), "");
    });
}

TEST_F(lock_context, can_be_forgotten) {
    lock.lock();
    lock.unlock();
    forget_lock_contexts(lock_rank::owners);
    in_handler([] { EXPECT_EQ(bug_in([] { irqsave_guard hold(lock); }), ""); });
}

TEST_F(lock_context, of_two_threads_that_note_both_facts_at_once_one_at_least_reports) {
    static std::atomic<unsigned> reports;
    static thread_local sigjmp_buf back;
    base::set_bug_handler([](const char*) {
        ++reports;
        siglongjmp(back, 1);
    });
    for (int round = 0; round < 200; ++round) {
        reports = 0;
        forget_lock_contexts(lock_rank::owners);
        allot_test::run_threads(2, [](unsigned index) {
            if (index == 0) {
                platform::signals_blocked blocked; // so that it notes the one fact only
                handler_entered(false);
                if (sigsetjmp(back, 0) == 0)
                    note_lock_context(lock_rank::owners, true, call_site::current());
                handler_left(false);
            } else if (sigsetjmp(back, 0) == 0) {
                note_lock_context(lock_rank::owners, true, call_site::current());
            }
        });
        EXPECT_GE(reports, 1u) << round;
    }
    base::set_bug_handler(nullptr);
}

// --- Callbacks -------------------------------------------------------------------------------------------------------------

TEST_F(lock_context, a_lock_of_callbacks_must_not_be_held_where_callbacks_may_run) {
    const unsigned plainly = __LINE__ + 1;
    lock.lock();
    lock.unlock();
    callback_scope callbacks;
    const unsigned in_the_callback = __LINE__ + 1;
    const std::string report = bug_in([] { lock.lock(); });
    EXPECT_TRUE(report.starts_with("allot: BUG: lock context: 'owners' "
                                   "inconsistent {CALLBACK-ON} -> {IN-CALLBACK}: "
                                   "taken in an RCU callback at "))
        << report;
    EXPECT_TRUE(contains(report, here(in_the_callback) + ", and with callbacks enabled at")) << report;
    EXPECT_TRUE(contains(report, here(plainly) + " (docs/contexts.md)")) << report;
}

TEST_F(lock_context, the_executor_marks_the_functions_given_to_call_rcu_and_no_others) {
    static work in_callback{[](work&) noexcept { lock_guard hold(lock); }};
    static work in_work{[](work&) noexcept { lock_guard hold(other_rank); }};
    call_rcu(in_callback);
    queue_work(stage::free, in_work);
    drain();
    EXPECT_TRUE(contains(bug_in([] { lock.lock(); }), "{IN-CALLBACK} -> {CALLBACK-ON}"));
    EXPECT_EQ(bug_in([] { lock_guard hold(other_rank); }), "");
}

TEST_F(lock_context, a_busy_thread_and_the_executor_run_no_callbacks_meanwhile) {
    {
        busy_scope busy;
        lock_guard hold(lock);
    }
    run_exclusive([](void*) noexcept { lock_guard hold(lock); }, nullptr);
    EXPECT_FALSE(noted(lock_fact::callback_on));
    callback_scope callbacks;
    EXPECT_EQ(bug_in([] { lock_guard hold(lock); }), "");
}

// --- might_block, might_reclaim --------------------------------------------------------------------------------------------

/// What blocking here is reported as.
std::string blocking() {
    return bug_in([] { might_block(); });
}

TEST_F(lock_context, a_task_may_block_and_so_may_who_holds_a_mutex_or_is_busy) {
    EXPECT_EQ(blocking(), "");
    mutex sleeping{lock_rank::executor};
    busy_scope busy;
    lock_guard hold(sleeping);
    EXPECT_EQ(blocking(), "");
}

TEST_F(lock_context, who_holds_a_spinlock_must_not_block) {
    const unsigned taken = __LINE__ + 1;
    lock_guard hold(lock);
    const std::string report = blocking();
    EXPECT_TRUE(report.starts_with("allot: BUG: might block: at ")) << report;
    EXPECT_TRUE(contains(report, "while 'owners', taken at ")) << report;
    EXPECT_TRUE(contains(report, here(taken) + ", is held (docs/contexts.md)")) << report;
}

TEST_F(lock_context, nobody_blocks_inside_a_section_of_the_library) {
    ASSERT_TRUE(allot_test::attach_thread());
    {
        rcu_guard section;
        EXPECT_TRUE(contains(blocking(), " inside a read-side section (docs/contexts.md)"));
    }
    EXPECT_EQ(blocking(), "");
}

TEST_F(lock_context, nor_without_a_slot) {
    std::thread([] {
        ASSERT_EQ(tls.slot, &no_slot);
        {
            rcu_guard section;
            EXPECT_TRUE(contains(blocking(), " inside a read-side section (docs/contexts.md)"));
        }
        EXPECT_EQ(blocking(), "");
    }).join();
}

TEST_F(lock_context, nobody_blocks_inside_a_section_of_the_user) {
    ASSERT_TRUE(allot_test::attach_thread());
    user_read_lock();
    EXPECT_TRUE(contains(blocking(), " inside a read-side section of the user (docs/contexts.md)"));
    user_read_unlock();
    EXPECT_EQ(blocking(), "");
}

TEST_F(lock_context, nobody_blocks_in_a_handler_or_in_a_callback) {
    in_handler([] { EXPECT_TRUE(contains(blocking(), " in a signal handler (docs/contexts.md)")); });
    EXPECT_EQ(blocking(), "");
    {
        callback_scope callbacks;
        EXPECT_TRUE(contains(blocking(), " in an RCU callback (docs/contexts.md)"));
    }
    EXPECT_EQ(blocking(), "");
}

TEST_F(lock_context, a_grace_period_blocks_and_so_does_running_deferred_work) {
    const auto is_stopped = [](void (*wait)()) {
        const allot_test::outcome ended = in_child(10, [wait] {
            lock.lock();
            wait();
            return 0;
        });
        return ended.signal == SIGABRT && contains(ended.text, "might block") && contains(ended.text, "'owners'");
    };
    EXPECT_TRUE(is_stopped([] { synchronize_rcu(); }));
    EXPECT_TRUE(is_stopped([] { run_pending(); }));
    EXPECT_TRUE(is_stopped([] { try_run_ready(); }));
    EXPECT_TRUE(is_stopped([] { run_exclusive([](void*) noexcept {}, nullptr); }));
}

TEST_F(lock_context, a_callback_that_waits_for_a_grace_period_is_stopped) {
    const allot_test::outcome ended = in_child(10, [] {
        static work waits{[](work&) noexcept { synchronize_rcu(); }};
        call_rcu(waits);
        drain();
        return 0;
    });
    EXPECT_EQ(ended.signal, SIGABRT);
    EXPECT_TRUE(contains(ended.text, "might block: at ")) << ended.text;
    EXPECT_TRUE(contains(ended.text, " in an RCU callback")) << ended.text;
}

/// What reclaiming here is reported as.
std::string reclaiming() {
    return bug_in([] { might_reclaim(); });
}

TEST_F(lock_context, nobody_reclaims_with_a_lock_that_reclaim_wants) {
    EXPECT_EQ(reclaiming(), "");
    {
        mutex first{lock_rank::reclaim};
        lock_guard hold(first);
        EXPECT_EQ(reclaiming(), "");
    }
    {
        mutex later{lock_rank::executor};
        lock_guard hold(later);
        EXPECT_TRUE(reclaiming().starts_with("allot: BUG: might reclaim: at "));
        EXPECT_TRUE(contains(reclaiming(), "while 'executor', taken at "));
    }
    lock_guard hold(other_rank);
    EXPECT_TRUE(contains(reclaiming(), "while 'metadata', taken at "));
}

TEST_F(lock_context, the_executor_does_not_reclaim) {
    tls.flags |= in_executor;
    EXPECT_TRUE(contains(reclaiming(), " on the executor (docs/contexts.md)"));
    tls.flags &= ~in_executor;
}

TEST_F(lock_context, who_reclaims_may_block) {
    ASSERT_TRUE(allot_test::attach_thread());
    rcu_guard section;
    EXPECT_TRUE(contains(reclaiming(), "might block"));
}

// --- What is left behind ---------------------------------------------------------------------------------------------------

/// What an item that does `left_over` is reported as.
template <class F> std::string report_of_item(const F& left_over) {
    static int stands_for_a_function;
    const std::string report = bug_in([&] {
        item_scope check(&stands_for_a_function);
        left_over();
    });
    char address[32];
    std::snprintf(address, sizeof address, "%p ", static_cast<void*>(&stands_for_a_function));
    EXPECT_TRUE(report.empty() || contains(report, address)) << report;
    return report;
}

TEST_F(lock_context, an_item_that_leaves_something_behind_is_named) {
    ASSERT_TRUE(allot_test::attach_thread());
    EXPECT_EQ(report_of_item([] { lock_guard hold(lock); }), "");

    const unsigned taken = __LINE__ + 1;
    const std::string report = report_of_item([] { lock.lock(); });
    EXPECT_TRUE(contains(report, "returned with a lock held: 'owners', taken at ")) << report;
    EXPECT_TRUE(contains(report, here(taken))) << report;
    EXPECT_TRUE(contains(report_of_item([] { lock.unlock(); }), "having released a lock that it had not taken"));

    EXPECT_TRUE(contains(report_of_item([] { tls.slot->reader.enter(); }), "inside a read-side section"));
    tls.slot->reader.leave();
    EXPECT_TRUE(contains(report_of_item([] { user_read_lock(); }), "inside a read-side section of the user"));
    user_read_unlock();

    EXPECT_TRUE(contains(report_of_item([] { ++tls.busy; }), "with the thread's busy count changed"));
    --tls.busy;
    EXPECT_EQ(report_of_item([] { rcu_guard section; }), "");
}

TEST_F(lock_context, the_executor_looks_after_every_item) {
    for (const stage where : {stage::rcu, stage::create, stage::offline, stage::release, stage::free}) {
        const allot_test::outcome ended = in_child(10, [where] {
            static work leaks{[](work&) noexcept { user_read_lock(); }};
            queue_work(where, leaks);
            run_pending();
            return 0;
        });
        EXPECT_EQ(ended.signal, SIGABRT);
        EXPECT_TRUE(contains(ended.text, "work item: the function at 0x")) << ended.text;
    }
}

TEST_F(lock_context, a_thread_must_not_end_with_a_lock_held) {
    const allot_test::outcome ended = in_child(10, [] {
        std::thread([] {
            if (allot_test::attach_thread())
                lock.lock();
        }).join();
        return 0;
    });
    EXPECT_EQ(ended.signal, SIGABRT);
    EXPECT_TRUE(contains(ended.text, "thread end: 'owners', taken at ")) << ended.text;
}

#endif

} // namespace
} // namespace allot::sync
