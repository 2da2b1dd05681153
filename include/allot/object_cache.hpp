// SPDX-License-Identifier: MIT
//
// object_cache: a slab cache of objects of one type.
//
// Idea.        One root cache serves all groups; the current group of the moment is charged, and the library gives a busy group
//              slabs of its own. Objects are constructed on create and destroyed on destroy, as with new and delete.
// Invariants.  I1  Nothing is freed under a live object: a destroyed cache lives on, unseen, until its last object is freed.
// Concurrency. create, try_create, destroy: any number of threads. The destructor and shutdown: when nobody creates any more.
// Checked by.  test/front/api_object_cache_test.cc
#pragma once

#include <allot/allot.h>
#include <allot/error.hpp>

#include <cerrno>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

namespace allot {

/// What a destroyed cache still held: `live` objects and some of their addresses.
using cache_report = allot_cache_report;

namespace detail {

/// Gives back the memory of an object whose construction threw.
struct cache_memory {
    allot_cache* cache;
    void* block;
    ~cache_memory() {
        if (block != nullptr)
            allot_cache_free(cache, block);
    }
};

} // namespace detail

/// A slab cache of raw objects of one shape, with an optional constructor that runs when a slab is made.
class kmem_cache {
  public:
    /// Errors: std::bad_alloc, limit_exceeded; std::system_error(invalid_argument). Context: task.
    kmem_cache(const char* name, const allot_cache_options& options) : cache_(allot_cache_create(name, &options)) {
        if (cache_ == nullptr) [[unlikely]]
            detail::throw_error(errno == EINVAL ? -EINVAL : -ENOMEM, "allot: kmem_cache");
    }
    kmem_cache(kmem_cache&& other) noexcept : cache_(std::exchange(other.cache_, nullptr)) {}
    kmem_cache& operator=(kmem_cache&& other) noexcept {
        if (this != &other) {
            shutdown();
            cache_ = std::exchange(other.cache_, nullptr);
        }
        return *this;
    }
    /// Destroys the cache; live objects stay valid until allot::free. Context: task.
    ~kmem_cache() { shutdown(); }

    /// Allocates an object for the current group. Errors: null. Thread: any number of callers. Context: task.
    [[nodiscard]] void* alloc() noexcept { return allot_cache_alloc(cache_); }
    /// Frees an object of this cache; null does nothing. Context: any.
    void free(void* object) noexcept { allot_cache_free(cache_, object); }
    /// Destroys the cache and tells what lives. The cache is empty then and must not be used. Context: task.
    cache_report shutdown() noexcept {
        cache_report left{};
        if (cache_ != nullptr)
            allot_cache_destroy(std::exchange(cache_, nullptr), &left);
        return left;
    }
    /// Returns the name. Lives as long as the cache.
    [[nodiscard]] const char* name() const noexcept { return allot_cache_name(cache_); }
    /// Returns the pointer for the C functions, borrowed; null if empty.
    [[nodiscard]] allot_cache* get() const noexcept { return cache_; }

  private:
    allot_cache* cache_ = nullptr;
};

/// A typed slab cache: `allot::object_cache<session> sessions{"session"};`
template <class T> class object_cache {
  public:
    /// Makes the cache. `flags` is ALLOT_CACHE_TYPESAFE_BY_RCU, ALLOT_CACHE_ZERO or 0.
    ///
    /// Errors: std::bad_alloc, limit_exceeded; std::system_error(invalid_argument). Context: task.
    explicit object_cache(const char* name, unsigned flags = 0) {
        static_assert(sizeof(T) <= ALLOT_KMALLOC_MAX, "an object of a cache is at most ALLOT_KMALLOC_MAX bytes");
        static_assert(alignof(T) <= 4096, "an object of a cache is aligned to at most 4096 bytes");
        const allot_cache_options options{
            .size = sizeof(T), .alignment = alignof(T), .flags = flags, .constructor = nullptr};
        cache_ = allot_cache_create(name, &options);
        if (cache_ == nullptr) [[unlikely]]
            detail::throw_error(errno == EINVAL ? -EINVAL : -ENOMEM, "allot: object_cache");
    }
    explicit object_cache(const std::string& name, unsigned flags = 0) : object_cache(name.c_str(), flags) {}
    object_cache(object_cache&& other) noexcept : cache_(std::exchange(other.cache_, nullptr)) {}
    object_cache& operator=(object_cache&& other) noexcept {
        if (this != &other) {
            shutdown();
            cache_ = std::exchange(other.cache_, nullptr);
        }
        return *this;
    }
    /// Destroys the cache. Live objects stay valid; end them with std::destroy_at and allot::free. Context: task.
    ~object_cache() { shutdown(); }

    /// Allocates an object for the current group and constructs it from `args`.
    ///
    /// Errors:  limit_exceeded, std::bad_alloc, and what T's constructor throws; then nothing stays allocated.
    /// Thread:  any number of callers. Context: task.
    template <class... Args> [[nodiscard]] T* create(Args&&... args) {
        void* block = allot_cache_alloc(cache_);
        if (block == nullptr) [[unlikely]]
            detail::throw_no_memory();
        return construct(block, std::forward<Args>(args)...);
    }
    /// As create; null over a limit or out of memory. Throws only what T's constructor throws.
    template <class... Args>
    [[nodiscard]] T* try_create(Args&&... args) noexcept(std::is_nothrow_constructible_v<T, Args...>) {
        void* block = allot_cache_alloc(cache_);
        return block != nullptr ? construct(block, std::forward<Args>(args)...) : nullptr;
    }
    /// Destroys an object of this cache and frees it, whichever thread and group made it; null does nothing.
    ///
    /// Context: any, as far as T's destructor goes.
    void destroy(T* object) noexcept {
        if (object == nullptr)
            return;
        std::destroy_at(object);
        allot_cache_free(cache_, object);
    }

    /// Destroys the cache and tells what lives. The cache is empty then and must not be used. Context: task.
    cache_report shutdown() noexcept {
        cache_report left{};
        if (cache_ != nullptr)
            allot_cache_destroy(std::exchange(cache_, nullptr), &left);
        return left;
    }
    /// Returns the name. Lives as long as the cache.
    [[nodiscard]] const char* name() const noexcept { return allot_cache_name(cache_); }
    /// Returns the pointer for the C functions, borrowed; null if empty.
    [[nodiscard]] allot_cache* get() const noexcept { return cache_; }

  private:
    template <class... Args> T* construct(void* block, Args&&... args) {
        detail::cache_memory memory{cache_, block};
        T* object;
        if constexpr (std::is_constructible_v<T, Args...>)
            object = ::new (block) T(std::forward<Args>(args)...);
        else
            object = ::new (block) T{std::forward<Args>(args)...};
        memory.block = nullptr;
        return object;
    }

    allot_cache* cache_ = nullptr;
};

} // namespace allot
