// SPDX-License-Identifier: MIT
//
// heap: finds allot in the process and makes the groups to work in.
#include "heap.hpp"

#include <allot/allot.h>

#include <cstdint>
#include <cstdio>
#include <cstring>

#if !ALLOT_BENCH_ALL_STATIC
#include <dlfcn.h>
#endif

namespace allot_bench {

namespace {

/// The functions of the C interface that a worker uses; null where allot is not in the process.
struct interface {
    decltype(&allot_root) root;
    decltype(&allot_group_create) create;
    decltype(&allot_enter) enter;
    decltype(&allot_leave) leave;
};

#if ALLOT_BENCH_OWN_NAMES
interface find_interface() {
    return {allot_root, allot_group_create, allot_enter, allot_leave};
}
#elif ALLOT_BENCH_ALL_STATIC
interface find_interface() {
    return {};
}
#else
template <class Function> Function find(const char* name) {
    return reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
}
interface find_interface() {
    return {find<decltype(&allot_root)>("allot_root"), find<decltype(&allot_group_create)>("allot_group_create"),
            find<decltype(&allot_enter)>("allot_enter"), find<decltype(&allot_leave)>("allot_leave")};
}
#endif

const interface& allot() {
    static const interface found = find_interface();
    return found;
}

allot_group* query = nullptr;

allot_group* make(allot_group* parent, const char* name, std::uint64_t max_gib) {
    allot_limits limits = ALLOT_LIMITS_INIT;
    limits.max = max_gib << 30;
    allot_group* made = nullptr;
    if (const int error = allot().create(parent, name, &limits, &made); error != 0) {
        std::fprintf(stderr, "allot_bench: cannot create the group %s: %s\n", name, std::strerror(-error));
        std::exit(1);
    }
    return made;
}

} // namespace

const char* make_groups(bool wanted) {
    if (!wanted || allot().root == nullptr)
        return "none";
    query = make(make(make(allot().root(), "bench", 8), "tenant", 4), "query", 2);
    return "/bench/tenant/query";
}

static_assert(sizeof(allot_scope) == 2 * sizeof(void*), "query_scope has room for a scope");

query_scope::query_scope() {
    if (query != nullptr)
        allot().enter(query, reinterpret_cast<allot_scope*>(words_));
}

query_scope::~query_scope() {
    if (query != nullptr)
        allot().leave(reinterpret_cast<allot_scope*>(words_));
}

const char* malloc_comes_from() {
#if ALLOT_BENCH_OWN_NAMES || ALLOT_BENCH_ALL_STATIC
    return "the program";
#else
    Dl_info info;
    if (dladdr(reinterpret_cast<void*>(&std::malloc), &info) == 0 || info.dli_fname == nullptr)
        return "unknown";
    const char* slash = std::strrchr(info.dli_fname, '/');
    return slash != nullptr ? slash + 1 : info.dli_fname;
#endif
}

} // namespace allot_bench
