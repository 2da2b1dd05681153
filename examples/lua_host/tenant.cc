// SPDX-License-Identifier: MIT
//
// tenant.cc: the allocator on allot, and what is made of a refusal. See tenant.hpp.

#include "tenant.hpp"

#include <cstdio>
#include <exception>
#include <string_view>
#include <utility>

namespace lua_host {
namespace {

// "" if they are the same; else where they part.
std::string difference(const std::string& expected, const std::string& got) {
    if (expected == got)
        return {};
    std::size_t at = 0;
    while (at < expected.size() && at < got.size() && expected[at] == got[at])
        ++at;
    return "result differs from malloc's at byte " + std::to_string(at) + " (" + std::to_string(got.size()) +
           " bytes, not " + std::to_string(expected.size()) + ")";
}

} // namespace

tenant::tenant(assignment todo) : todo_{std::move(todo)} {}

void tenant::run(const allot::group& parent, std::uint64_t max_bytes, const std::string& dir,
                 const std::atomic<int>& interrupted) {
    watch_.interrupted = &interrupted;
    try {
        group_ = allot::unique_group{parent.create(todo_.name, {.max = max_bytes})};
    } catch (const std::exception& error) {
        outcome_ = outcome::failed;
        message_ = std::string{"no group: "} + error.what();
        return;
    }
    std::string result;
    run_status status{};
    {
        const allot::scope in{group_};
        status = lua_.run(*todo_.what, dir, todo_.seed, allocate, this, watch_, &result);
        lua_.collect();
    }
    count_lost(0, false);
    group_->reclaim(); // an idle tenant keeps what it uses, not the slabs it once needed
    judge(status, result);
}

void tenant::close() noexcept {
    if (!group_)
        return;
    const unsigned lost_before = watch_.lost;
    {
        const allot::scope in{group_};
        lua_.close();
    }
    count_lost(0, false);
    // A finalizer that ran out of memory in lua_close left no trace but this: Lua turns its error into a warning.
    if (watch_.lost > lost_before && outcome_ == outcome::identical)
        outcome_ = outcome::out_of_memory;
    const allot::stat stat = group_->stat();
    peak_bytes_ = stat.peak;
    failures_ = stat.failures;
    group_.close();
}

// Lua's allocator: `new_size` 0 frees, no `block` allocates (`old_size` is then a type tag), else the block changes its size.
void* tenant::allocate(void* self, void* block, std::size_t old_size, std::size_t new_size) {
    return static_cast<tenant*>(self)->resize(block, block == nullptr ? 0 : old_size, new_size);
}

void* tenant::resize(void* block, std::size_t old_size, std::size_t new_size) noexcept {
    const bool grows = new_size > old_size;
    void* moved = nullptr;
    if (new_size == 0)
        allot::free(block);
    else if (!grows || !watch_.interrupting())
        moved = block == nullptr ? allot::malloc(new_size) : allot::realloc(block, new_size);

    if (grows)
        count_lost(new_size, moved != nullptr);
    if (moved == nullptr && grows) {
        refuse(new_size);
        return nullptr;
    }
    if (moved == nullptr && new_size != 0)
        moved = block; // could not shrink: a block may stay larger than it has to be
    lua_bytes_ += static_cast<std::int64_t>(new_size) - static_cast<std::int64_t>(old_size);
    return moved;
}

void tenant::refuse(std::size_t size) noexcept {
    if (watch_.interrupting())
        return; // refused to make an end, not by the limit
    ++refusals_;
    allot_last_failure(&failure_);
    refused_size_ = retried_ ? 0 : size;
}

// Lua answers a refusal with a collection and asks for the same again; the auxiliary library's buffers do not, they raise an
// error at once. So a refused request is lost if the next one is another, or fails as well.
void tenant::count_lost(std::size_t size, bool success) noexcept {
    retried_ = refused_size_ == size;
    if (refused_size_ != 0 && !(retried_ && success))
        ++watch_.lost;
    refused_size_ = 0;
}

bool tenant::met_own_limit() const noexcept {
    char path[ALLOT_NAME_MAX + sizeof "/tenants/"];
    std::snprintf(path, sizeof path, "/tenants/%s", todo_.name.c_str());
    return refusals_ != 0 && std::string_view{failure_.group} == path;
}

void tenant::judge(run_status status, const std::string& result) {
    if (watch_.interrupting()) {
        outcome_ = outcome::interrupted;
        return;
    }
    switch (status) {
    case run_status::finished:
        message_ = todo_.expected == nullptr ? "" : difference(*todo_.expected, result);
        outcome_ = message_.empty() ? outcome::identical : outcome::different;
        return;
    case run_status::no_state:
    case run_status::out_of_memory:
    case run_status::stopped:
        // Lua's error text alone proves nothing: a script can raise it itself.
        outcome_ = met_own_limit() ? outcome::out_of_memory : outcome::failed;
        message_ = "claims to be out of memory, but its limit refused nothing";
        return;
    case run_status::failed:
        outcome_ = outcome::failed;
        message_ = result;
        return;
    }
}

std::string tenant::describe() const {
    switch (outcome_) {
    case outcome::waiting:
        return todo_.name + ": has not run";
    case outcome::interrupted:
        return todo_.name + ": interrupted";
    case outcome::identical:
        return todo_.name + ": finished";
    case outcome::different:
    case outcome::failed:
        return todo_.name + ": " + message_;
    case outcome::out_of_memory:
        break;
    }
    allot_failure failure = failure_;
    std::snprintf(failure.group, sizeof failure.group, "%s", todo_.name.c_str()); // the path's last part is enough here
    char text[256];
    allot_failure_text(&failure, text, sizeof text);
    return text;
}

} // namespace lua_host
