// SPDX-License-Identifier: MIT
//
// last_put_test: the last reference to a group, to an owner and to a child cache may be dropped in any context, and what it was
// to is then freed all the same.
//
// Idea.        Three things whose last reference one call drops, and for each context a test: the thing is there before the
//              call, the call returns, and the thing is gone after deferred work. Each runs in this process, where the library
//              has its thread, and again in a child that has none and polls.
// Source.      Costa 2012: the last put of a memcg may come from an RCU callback; docs/contexts.md
#include "support/core.hpp"
#include "support/threads.hpp"

#include <csignal>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <pthread.h>
#include <string>
#include <unistd.h>
#include <utility>

namespace {

using allot_test::inside;

// --- What is put ------------------------------------------------------------------------------------------------------------

/// A closed group of which a handle is all that is left.
struct of_a_group {
    static constexpr const char* name = "group";
    allot_group* last = nullptr;

    bool make(const allot::group& top) {
        allot_group_create(top.get(), "closed", nullptr, &last);
        allot_free(allot_group_malloc(last, 100, 0));
        allot_group_close(last, nullptr);
        return last != nullptr;
    }
    void put() { allot_group_put(std::exchange(last, nullptr)); }
    static std::size_t count(const allot::group& top) { return top.stat().nr_dying; }
};

/// The owner of a removed group, of whose objects one is left.
struct of_an_owner {
    static constexpr const char* name = "owner";
    void* last = nullptr;

    bool make(const allot::group& top) {
        const allot::group closed = top.create("closed");
        last = closed.malloc(100);
        closed.close();
        return last != nullptr;
    }
    void put() { allot_free(std::exchange(last, nullptr)); }
    static std::size_t count(const allot::group& top) {
        std::size_t owners = 0;
        allot::sync::busy_scope busy;
        allot::sync::lock_guard hold(allot::memcg::tree_lock());
        inside(top).owners.for_each([&](allot::slab::obj_cgroup& owner) { owners += &owner != inside(top).objects; });
        return owners;
    }
};

/// The child cache of a removed group, of whose slabs one is left, with one object.
struct of_a_child_cache {
    static constexpr const char* name = "child_cache";
    void* last = nullptr;

    bool make(const allot::group& top) {
        const allot::group closed = top.create("closed");
        allot_test::heat(closed, 64);
        for (int i = 0; i < 1000 && last == nullptr; ++i) {
            last = closed.malloc(64); // the first may still be one of a shared slab
            if (!is_in_a_slab_of_its_own(last))
                allot_free(std::exchange(last, nullptr));
        }
        closed.close();
        return last != nullptr;
    }
    void put() { allot_free(std::exchange(last, nullptr)); }
    static std::size_t count(const allot::group& top) {
        std::size_t caches = 0;
        allot::sync::busy_scope busy;
        allot::sync::lock_guard hold(allot::memcg::tree_lock());
        inside(top).own_caches.for_each([&](allot::slab::kmem_cache&) { ++caches; });
        return caches;
    }

  private:
    static bool is_in_a_slab_of_its_own(const void* block) {
        return allot::slab::slab_of(block)->kind == allot::slab::slab_kind::owned;
    }
};

// --- Where it is put --------------------------------------------------------------------------------------------------------

/// What the code below puts: one at a time, since handlers and callbacks have no argument.
void (*the_last_put)() = nullptr;
std::atomic<bool> it_was_put{false};

void put_it() {
    the_last_put();
    it_was_put = true;
}

class handler_of_usr1 {
  public:
    handler_of_usr1() {
        struct sigaction how {};
        how.sa_handler = [](int) { put_it(); };
        sigaction(SIGUSR1, &how, &before_);
    }
    ~handler_of_usr1() { sigaction(SIGUSR1, &before_, nullptr); }

  private:
    struct sigaction before_ {};
};

/// A thread sanitizer hands a signal over at the next call that it knows of, which is not always this one.
void raise_and_wait() {
    raise(SIGUSR1);
    EXPECT_TRUE(allot_test::soon([] { return it_was_put.load(); }));
}

void in_a_handler_on_top_of_nothing() {
    const handler_of_usr1 set;
    raise_and_wait();
}

/// The library runs the constructor in the middle of its slow path, with the slot's lock held.
void in_a_handler_on_top_of_an_allocation() {
    const handler_of_usr1 set;
    allot::kmem_cache cache{"interrupted", {.size = 72, .alignment = 0, .flags = 0, .constructor = [](void*) {
                                                if (!it_was_put)
                                                    raise_and_wait();
                                            }}};
    allot_free(cache.alloc());
}

void in_a_handler_on_top_of_a_section() {
    const handler_of_usr1 set;
    const allot::sync::rcu_guard section;
    raise_and_wait();
}

void in_an_rcu_callback() {
    static allot::sync::work callback;
    callback.run = [](allot::sync::work&) noexcept { put_it(); };
    EXPECT_TRUE(allot::sync::call_rcu(callback));
    allot::sync::rcu_barrier();
    EXPECT_TRUE(allot_test::soon([] { return it_was_put.load(); }));
}

/// A reader waits for the lock inside a section: a put that waited for a grace period would wait for itself.
template <class Lock> void under_a_lock_that_a_reader_waits_for() {
    Lock lock;
    std::atomic<bool> reading{false};
    bool reader_had_it = false;
    lock.lock();
    std::thread reader([&] {
        allot_rcu_read_lock();
        reading = true;
        reader_had_it = allot_test::wait_until([&] { return lock.try_lock(); });
        allot_rcu_read_unlock();
        if (reader_had_it)
            lock.unlock();
    });
    EXPECT_TRUE(allot_test::soon([&] { return reading.load(); }));
    put_it();
    lock.unlock();
    reader.join();
    EXPECT_TRUE(reader_had_it) << "the put came back before the reader lost patience";
}

struct user_spinlock {
    void lock() {
        while (!try_lock())
            allot::platform::yield();
    }
    bool try_lock() { return !flag.test_and_set(); }
    void unlock() { flag.clear(); }
    std::atomic_flag flag{};
};

void in_a_thread_keys_destructor() {
    pthread_key_t key;
    ASSERT_EQ(pthread_key_create(&key, [](void*) { put_it(); }), 0); // after the library's, so behind its exit hook
    std::thread([key] {
        allot_free(allot_malloc(10));
        pthread_setspecific(key, &it_was_put);
    }).join();
    pthread_key_delete(key);
}

void in_a_thread_locals_destructor() {
    struct puts_at_the_end {
        bool armed = false;
        ~puts_at_the_end() {
            if (armed)
                put_it();
        }
    };
    std::thread([] {
        static thread_local puts_at_the_end at_the_end;
        at_the_end.armed = true;
        allot_free(allot_malloc(10));
    }).join();
}

// --- The tests --------------------------------------------------------------------------------------------------------------

constexpr unsigned child_seconds = 15;

template <class Thing> class last_put : public allot_test::core_test {
  protected:
    void SetUp() override {
        core_test::SetUp();
        the_thing = &thing_;
        the_last_put = [] { the_thing->put(); };
    }

    /// Puts the thing in that context, here and in a child without the library's thread.
    void is_enough(void (*context)()) {
        if (allot::sync::worker_allowed()) {
            SCOPED_TRACE("with the library's thread");
            ASSERT_TRUE(is_there());
            context();
            EXPECT_TRUE(it_was_put);
            EXPECT_TRUE(allot_test::soon([&] { return Thing::count(top) == 0; })) << "nobody asks for it";
            expect_all_back();
        }
        EXPECT_TRUE(allot_test::child_lives(child_seconds, [&] {
            allot::sync::allow_worker(false);
            if (!is_there())
                return 10;
            context();
            return is_gone_by_polling();
        })) << "without the library's thread";
    }

    /// Makes the thing and lets everything happen that can, so that the reference that is left is the last.
    bool is_there() {
        it_was_put = false;
        if (!thing_.make(top))
            return false;
        allot_test::settle_all();
        return Thing::count(top) == 1;
    }
    /// The result of a child process that polls: 0 if the thing is gone, and nothing with it.
    int is_gone_by_polling() {
        if (!it_was_put)
            return 11;
        for (int i = 0; i < 20 && Thing::count(top) != 0; ++i)
            allot_poll();
        if (Thing::count(top) != 0)
            return 12;
        if (HasFailure())
            return 13;
        allot_test::settle_all();
        return top.stat().current == 0 && top.stat().nr_dying == 0 && allot::verify() ? 0 : 14;
    }
    void expect_all_back() {
        allot_test::settle_all();
        EXPECT_EQ(Thing::count(top), 0u);
        EXPECT_EQ(top.stat().nr_dying, 0u);
        EXPECT_EQ(usage(), 0u) << "its metadata too";
        allot_test::expect_books_agree("after the last put");
    }

    Thing thing_;
    static inline Thing* the_thing = nullptr;
};

struct names {
    template <class Thing> static std::string GetName(int) { return Thing::name; }
};

using things = testing::Types<of_a_group, of_an_owner, of_a_child_cache>;
TYPED_TEST_SUITE(last_put, things, names);

TYPED_TEST(last_put, in_a_handler_on_top_of_nothing) { this->is_enough(in_a_handler_on_top_of_nothing); }
TYPED_TEST(last_put, in_a_handler_on_top_of_an_allocation) { this->is_enough(in_a_handler_on_top_of_an_allocation); }
TYPED_TEST(last_put, in_a_handler_on_top_of_a_section) { this->is_enough(in_a_handler_on_top_of_a_section); }
TYPED_TEST(last_put, in_an_rcu_callback) { this->is_enough(in_an_rcu_callback); }
TYPED_TEST(last_put, under_a_users_mutex) { this->is_enough(under_a_lock_that_a_reader_waits_for<std::mutex>); }
TYPED_TEST(last_put, under_a_users_spinlock) { this->is_enough(under_a_lock_that_a_reader_waits_for<user_spinlock>); }
TYPED_TEST(last_put, in_a_thread_keys_destructor) { this->is_enough(in_a_thread_keys_destructor); }
TYPED_TEST(last_put, in_a_thread_locals_destructor) { this->is_enough(in_a_thread_locals_destructor); }

TYPED_TEST(last_put, in_a_forked_child_and_again_in_its_parent) {
    ASSERT_TRUE(this->is_there());
    EXPECT_TRUE(allot_test::child_lives(child_seconds, [this] {
        allot::sync::allow_worker(false);
        put_it();
        return this->is_gone_by_polling();
    }));
    EXPECT_EQ(TypeParam::count(this->top), 1u) << "the child's put was the child's";
    put_it();
    this->expect_all_back();
}

TYPED_TEST(last_put, in_an_exit_handler) {
    EXPECT_TRUE(allot_test::child_lives(child_seconds, [this] {
        allot::sync::allow_worker(false);
        if (!this->is_there())
            return 10;
        static std::function<int()> result;
        result = [this] { return this->is_gone_by_polling(); };
        std::atexit([] {
            put_it();
            _exit(result());
        });
        std::exit(20);
    }));
}

} // namespace
