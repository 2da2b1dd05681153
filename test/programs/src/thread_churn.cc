// SPDX-License-Identifier: MIT
//
// thread_churn SECONDS: C++ threads come and go and hand containers to each other, so that most memory is freed by another
// thread than the one that allocated it, often after that one has ended. thread_local objects free at thread exit.
//
// Concurrency. waves of eight threads over one exchange.
#include "check.h"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

using cargo = std::map<unsigned, std::string>;

std::atomic<cargo*> exchange[32];

struct farewell {
    std::vector<std::unique_ptr<std::string>> kept;
    ~farewell() {
        for (const auto& text : kept)
            CHECK(text->size() >= 100);
    }
};
thread_local farewell at_exit;

void worker(unsigned seed) {
    for (int i = 0; i < 200; ++i) {
        auto load = std::make_unique<cargo>();
        for (unsigned k = 0; k < 20; ++k)
            (*load)[next_random(&seed)] = std::string(next_random(&seed) % 500, 'c');
        at_exit.kept.push_back(std::make_unique<std::string>(100 + i, 'k'));
        const std::unique_ptr<cargo> old(exchange[next_random(&seed) % 32].exchange(load.release()));
        for (const auto& [key, text] : old ? *old : cargo())
            CHECK(text.find_first_not_of('c') == std::string::npos);
    }
}

} // namespace

int main(int argc, char** argv) {
    const std::chrono::duration<double> length(argc > 1 ? std::atof(argv[1]) : 2.0);
    const auto start = std::chrono::steady_clock::now();
    for (unsigned wave = 1; std::chrono::steady_clock::now() - start < length; ++wave) {
        std::vector<std::thread> threads;
        for (unsigned i = 0; i < 8; ++i)
            threads.emplace_back(worker, wave * 100 + i);
        for (std::thread& t : threads)
            t.join();
    }
    for (auto& place : exchange)
        delete place.exchange(nullptr);
    std::puts("ok");
}
