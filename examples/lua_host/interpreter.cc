// SPDX-License-Identifier: MIT
//
// interpreter.cc: the protected call and the hook. See interpreter.hpp.

#include "interpreter.hpp"

#include <cstring>
#include <initializer_list>

namespace lua_host {
namespace {

constexpr int hook_interval = 1000; // instructions between two looks at the supervisor

// The extra space of a state holds one pointer, and Lua copies it into every coroutine.
supervisor*& supervisor_of(lua_State* state) { return *static_cast<supervisor**>(lua_getextraspace(state)); }
static_assert(LUA_EXTRASPACE >= sizeof(supervisor*));

void watch_hook(lua_State* state, lua_Debug*) {
    supervisor& watch = *supervisor_of(state);
    if (!watch.wants_stop())
        return;
    watch.stopped = true;
    lua_sethook(state, watch_hook, LUA_MASKCOUNT, 1);
    lua_pushlightuserdata(state, &watch); // an error object that needs no memory
    lua_error(state);
}

// Leaves of the library `name` only the functions in `kept`.
void keep_only(lua_State* state, const char* name, std::initializer_list<const char*> kept) {
    lua_getglobal(state, name);
    lua_createtable(state, 0, static_cast<int>(kept.size()));
    for (const char* function : kept) {
        lua_getfield(state, -2, function);
        lua_setfield(state, -2, function);
    }
    lua_setglobal(state, name);
    lua_pop(state, 1);
}

// Takes away what a tenant must not have: the hook (debug), other files and programs, and byte code, which may crash Lua.
void confine(lua_State* state) {
    keep_only(state, "io", {"lines"});
    keep_only(state, "os", {"clock", "date", "difftime", "time"});
    for (const char* name : {"debug", "package", "require", "dofile", "loadfile", "load"}) {
        lua_pushnil(state);
        lua_setglobal(state, name);
    }
}

struct job {
    const script* what;
    const char* chunk_name;
    const char* dir;
    long seed;
};

// Runs protected, with the job as its argument; leaves the script's result. Trivial locals only (I1).
int run_job(lua_State* state) {
    const job& todo = *static_cast<const job*>(lua_touserdata(state, 1));
    luaL_openlibs(state);
    confine(state);
    const script& what = *todo.what;
    if (luaL_loadbufferx(state, what.text.data(), what.text.size(), todo.chunk_name, "t") != LUA_OK)
        return lua_error(state);
    lua_pushstring(state, todo.dir);
    lua_pushinteger(state, todo.seed);
    lua_call(state, 2, 1);
    if (lua_type(state, -1) != LUA_TSTRING)
        return luaL_error(state, "the script returned no string");
    return 1;
}

int collect_all(lua_State* state) {
    lua_gc(state, LUA_GCCOLLECT);
    return 0;
}

// Takes the value on top of the stack, if it is a string; others are not converted, since that takes memory.
std::string pop_string(lua_State* state) {
    std::string text = "an error that is no string";
    if (lua_type(state, -1) == LUA_TSTRING) {
        std::size_t size = 0;
        const char* data = lua_tolstring(state, -1, &size);
        text.assign(data, size);
    }
    lua_pop(state, 1);
    return text;
}

} // namespace

run_status interpreter::run(const script& what, const std::string& dir, long seed, lua_Alloc allocate, void* data,
                            supervisor& watch, std::string* result) {
    state_ = lua_newstate(allocate, data);
    if (state_ == nullptr)
        return run_status::no_state;
    supervisor_of(state_) = &watch;
    lua_sethook(state_, watch_hook, LUA_MASKCOUNT, hook_interval);
    const std::string chunk_name = "=" + what.name;
    job todo{&what, chunk_name.c_str(), dir.c_str(), seed};
    lua_pushcfunction(state_, run_job);
    lua_pushlightuserdata(state_, &todo);
    const int status = lua_pcall(state_, 1, 1, 0);
    *result = pop_string(state_);
    if (watch.stopped)
        return run_status::stopped;
    switch (status) {
    case LUA_OK:
        return run_status::finished;
    case LUA_ERRMEM:
        return run_status::out_of_memory;
    default:
        return run_status::failed;
    }
}

void interpreter::collect() noexcept {
    if (state_ == nullptr)
        return;
    lua_pushcfunction(state_, collect_all);
    if (lua_pcall(state_, 0, 0, 0) != LUA_OK)
        lua_pop(state_, 1);
}

void interpreter::close() noexcept {
    if (state_ != nullptr)
        lua_close(state_);
    state_ = nullptr;
}

} // namespace lua_host
