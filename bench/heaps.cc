// SPDX-License-Identifier: MIT
//
// heaps: asks the workers of all libraries for requests, and compares.
//
// Idea.        Within a round every kind is measured, each round beginning with another one. Ours counts until the last thing that
//              a request left to others is done. Peers have nothing left when they return.
#include "heaps.hpp"

#include "tenant_kinds.hpp"

#include <algorithm>
#include <vector>

namespace allot_bench {

namespace {

namespace fs = std::filesystem;

constexpr double heap_bar = 1 / 1.5; // 1.5 times the rate
constexpr double arena_bar = 1;
constexpr double empty_ns_bar = 300;

struct request {
    const char* shape;
    const char* title;
};

constexpr request requests[] = {{"small", "100 objects of 64 B"},
                                {"mixed", "60 objects of 20 sizes, 16 B to 1,024 B"},
                                {"empty", "nothing in it: create and close"}};

std::string measure(const heaps_task& what, const std::vector<tenant_kind>& kinds, answers& all) {
    for (std::size_t round = 0; round < what.rounds; ++round) {
        std::fprintf(stderr, "allot_bench: heaps, round %zu of %zu\n", round + 1, what.rounds);
        for (const request& one : requests)
            for (std::size_t turn = 0; turn < kinds.size(); ++turn) {
                const tenant_kind& kind = kinds[(turn + round) % kinds.size()];
                if (std::string trouble =
                        ask(worker_of(kind), {kind.name, "requests", one.shape, std::to_string(what.cell_ms)}, all,
                            sample_name(one.shape, kind));
                    !trouble.empty())
                    return trouble;
            }
    }
    return "";
}

const char* word_of(freeing how) { return how == freeing::each ? "heap" : how == freeing::all ? "arena" : "none"; }

void print_kind(const request& what, const tenant_kind& kind, const answers& all) {
    const auto sample = [&](const char* name) { return sum_up(samples_of(all, sample_name(what.shape, kind, name))); };
    const figure settled = sample("settled");
    std::string ratio_text;
    if (!kind.is_ours()) {
        const ratio ahead = ratio_between(samples_of(all, sample_name(what.shape, kind, "settled")),
                                          samples_of(all, sample_name(what.shape, ours, "settled")));
        ratio_text = ahead.may_be_printed() ? text("%.2f", ahead.median) : "noisy";
    }
    std::printf("%-24s %-6s %10.3f us %4.0f%% %10.3f us %10.3f us %9s\n", kind.name, word_of(kind.how),
                settled.median / 1e3, settled.spread_percent(), sample("called").median / 1e3,
                sample("cpu").median / 1e3, ratio_text.c_str());
}

/// Judges ours against the fastest of those kinds, if there is one.
template <class Wanted>
void judge_against(const request& what, const std::vector<tenant_kind>& kinds, const answers& all, const char* whom,
                   double bar, std::vector<verdict>& verdicts, Wanted wanted) {
    const tenant_kind* fastest = nullptr;
    const auto samples = [&](const tenant_kind& kind) {
        return samples_of(all, sample_name(what.shape, kind, "settled"));
    };
    for (const tenant_kind& kind : kinds)
        if (!kind.is_ours() && wanted(kind) &&
            (fastest == nullptr || sum_up(samples(kind)).median < sum_up(samples(*fastest)).median))
            fastest = &kind;
    if (fastest == nullptr)
        return;
    verdicts.push_back(judge(5, std::string{"request, "} + what.shape + " / " + whom,
                             ratio_between(samples(ours), samples(*fastest)), bar, "x"));
    verdicts.back().note = fastest->name;
}

void judge_request(const request& what, const std::vector<tenant_kind>& kinds, const answers& all,
                   std::vector<verdict>& verdicts) {
    if (std::string{what.shape} == "empty") {
        const auto figure_of = [&](const char* sample) {
            return ratio{sum_up(samples_of(all, sample_name(what.shape, ours, sample)))};
        };
        verdicts.push_back(judge(5, "empty group, the caller's part", figure_of("called"), empty_ns_bar, "ns"));
        verdicts.push_back(judge(5, "empty group, until freed", figure_of("settled"), empty_ns_bar, "ns"));
        return;
    }
    const auto is_heap = [](const tenant_kind& kind) { return kind.how == freeing::each; };
    judge_against(what, kinds, all, "best heap", heap_bar, verdicts, is_heap);
    judge_against(what, kinds, all, "best heap of any size", heap_bar, verdicts,
                  [&](const tenant_kind& kind) { return is_heap(kind) && kind.any_size; });
    judge_against(what, kinds, all, "apr's pools", arena_bar, verdicts,
                  [](const tenant_kind& kind) { return std::string{"apr"} == kind.worker; });
}

void print_request(const request& what, const std::vector<tenant_kind>& kinds, const answers& all) {
    std::printf("\n%s\n%-24s %-6s %13s %5s %13s %13s %9s\n", what.title, "", "", "until freed", "+-", "caller's part",
                "processor", "to allot");
    for (const tenant_kind& kind : kinds)
        print_kind(what, kind, all);
}

} // namespace

std::string run_heaps(const heaps_task& what, const fs::path& folder, std::vector<verdict>& verdicts) {
    answers all;
    const std::vector<tenant_kind> kinds = find_kinds(false);
    if (std::string trouble = measure(what, kinds, all); !trouble.empty())
        return trouble;
    std::printf(
        "\na heap for each request; medians of %zu rounds; heap: objects can be freed one by one, arena: only all\n",
        what.rounds);
    for (const request& one : requests) {
        print_request(one, kinds, all);
        judge_request(one, kinds, all, verdicts);
    }
    plot picture{"heaps", "a heap for each request", "objects in it", "us", {}, {}};
    for (const request& one : requests)
        picture.x_names.emplace_back(one.shape);
    add_kinds(picture, all, kinds, "settled", 1e3);
    return write_and_draw(all, {picture}, folder, "heaps");
}

} // namespace allot_bench
