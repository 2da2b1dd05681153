// SPDX-License-Identifier: MIT
//
// tenant_worker: measures heaps for requests and tenants of one library, one question a process; "NAME,VALUE" for each sample.
//
// Idea.        One source for all: ALLOT_BENCH_TENANTS names the header that wraps the library's heaps. Usage: WORKER KIND requests
//              SHAPE MILLISECONDS | KIND density SHAPE COUNT. A shape is empty, one, small (100 objects of 64 bytes) or mixed (3
//              objects of each of 20 sizes, 19,200 bytes). The drivers are heaps.cc and density.cc.
// Concurrency. one thread, and those of the library.
#include "sample.hpp"

#include ALLOT_BENCH_TENANTS

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <sys/resource.h>
#include <unistd.h>

namespace {

using namespace allot_bench;

constexpr std::size_t objects_most = 100;

struct shape {
    const char* name;
    std::size_t classes; // of equal counts
    std::size_t each;    // objects of a class
    std::size_t bytes;   // of an object, or 0: those of mixed_bytes

    [[nodiscard]] std::size_t objects() const { return classes * each; }
};

constexpr shape shapes[] = {
    {"empty", 0, 0, 0}, {"one", 1, 1, 64}, {"small", 1, 100, 64}, {"mixed", classes_most, 3, 0}};

const shape& find_shape(const std::string& name) {
    for (const shape& one : shapes)
        if (name == one.name)
            return one;
    fail("there is no such shape");
}

/// Allocates the shape's objects, the classes in turn, and hands each with its size to `touch`.
template <class Heap, class Touch> std::size_t fill(Heap& heap, const shape& what, void** objects, Touch touch) {
    std::size_t count = 0;
    for (std::size_t round = 0; round < what.each; ++round)
        for (std::size_t index = 0; index < what.classes; ++index) {
            const std::size_t bytes = what.bytes != 0 ? what.bytes : mixed_bytes[index];
            void* const object = heap.allocate(index, bytes);
            touch(static_cast<char*>(object), bytes);
            objects[count++] = object;
        }
    return count;
}

template <tenant_heap Heap> void serve(const shape& what) {
    void* objects[objects_most];
    Heap heap{"request"};
    std::size_t count = 0;
    if (what.classes != 0) {
        heap.enter();
        count = fill(heap, what, objects, [](char* object, std::size_t) { *static_cast<volatile char*>(object) = 1; });
        heap.leave();
    }
    heap.end({objects, count});
}

/// Serves requests for so long. Returns: how many.
template <tenant_heap Heap> std::size_t serve_for(const shape& what, double milliseconds) {
    constexpr std::size_t between_looks = 64;
    std::size_t served = 0;
    for (const steady::time_point start = steady::now(); seconds_since(start) * 1e3 < milliseconds;
         served += between_looks)
        for (std::size_t i = 0; i < between_looks; ++i)
            serve<Heap>(what);
    return served;
}

/// Processor time of all threads of this process.
double cpu_seconds() {
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    return seconds(used.ru_utime) + seconds(used.ru_stime);
}

/// Samples: ns of the caller for one request, ns until everything it left behind is done too, and ns of processor time.
template <tenant_heap Heap> void measure_requests(const shape& what, double milliseconds) {
    serve_for<Heap>(what, milliseconds / 4);
    Heap::settle();
    const double cpu = cpu_seconds();
    const steady::time_point start = steady::now();
    const auto served = static_cast<double>(serve_for<Heap>(what, milliseconds));
    const double called = seconds_since(start);
    Heap::settle();
    const double settled = seconds_since(start);
    print("called", called * 1e9 / served);
    print("settled", settled * 1e9 / served);
    print("cpu", (cpu_seconds() - cpu) * 1e9 / served);
}

/// Sample: resident bytes for each of `count` tenants, with everything that was touched since before the first.
template <tenant_heap Heap> void measure_density(const shape& what, std::size_t count) {
    count = std::min(count, Heap::most);
    void* objects[objects_most];
    Heap* const heaps = std::allocator<Heap>{}.allocate(count);
    const double before = resident_bytes();
    for (std::size_t i = 0; i < count; ++i) {
        char name[32];
        std::snprintf(name, sizeof name, "tenant-%zu", i);
        Heap* const heap = new (heaps + i) Heap{name};
        heap->enter();
        fill(*heap, what, objects, [](char* object, std::size_t bytes) { std::memset(object, 1, bytes); });
        heap->leave();
    }
    Heap::settle();
    print("bytes", (resident_bytes() - before) / static_cast<double>(count));
    print("tenants", static_cast<double>(count));
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 5)
        fail("allot_bench starts this program");
    const std::string question = argv[2];
    const shape& what = find_shape(argv[3]);
    const unsigned long number = std::strtoul(argv[4], nullptr, 10);
    const bool known = kinds::run(argv[1], [&]<class Heap>() {
        if (question == "requests")
            measure_requests<Heap>(what, static_cast<double>(number));
        else if (question == "density")
            measure_density<Heap>(what, number);
        else
            fail("there is no such question");
    });
    if (!known)
        fail("there is no such heap");
    // The heaps of the tenants are not destroyed one by one.
    std::fflush(stdout);
    _exit(0);
}
