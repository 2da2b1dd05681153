// SPDX-License-Identifier: MIT
//
// density: asks the workers of all libraries for tenants, and compares ours with the bars.
#include "density.hpp"

#include "tenant_kinds.hpp"

#include <vector>

namespace allot_bench {

namespace {

namespace fs = std::filesystem;

struct tenant {
    const char* shape;
    const char* title;
    double bar;
};

constexpr tenant tenants[] = {{"empty", "empty", 1'000},
                              {"one", "1 object of 64 B", 1'500},
                              {"small", "100 objects of 64 B (6,400 B)", 8'600},
                              {"mixed", "3 objects of each of 20 sizes (19,200 B)", 23'000}};

std::string measure(const density_task& what, const std::vector<tenant_kind>& kinds, answers& all) {
    for (std::size_t round = 0; round < what.rounds; ++round) {
        std::fprintf(stderr, "allot_bench: density, round %zu of %zu\n", round + 1, what.rounds);
        for (const tenant& one : tenants)
            for (const tenant_kind& kind : kinds)
                if (std::string trouble =
                        ask(worker_of(kind), {kind.name, "density", one.shape, std::to_string(what.tenants)}, all,
                            sample_name(one.shape, kind));
                    !trouble.empty())
                    return trouble;
    }
    return "";
}

void print_tenant(const density_task& what, const tenant& one, const std::vector<tenant_kind>& kinds,
                  const answers& all) {
    std::printf("\n%s\n", one.title);
    for (const tenant_kind& kind : kinds) {
        const figure bytes = sum_up(samples_of(all, sample_name(one.shape, kind, "bytes")));
        const double count = samples_of(all, sample_name(one.shape, kind, "tenants")).front();
        const std::string name = count < static_cast<double>(what.tenants) ? text("%s, %.0f of them", kind.name, count)
                                                                           : std::string{kind.name};
        print_row(name, text("%.0f B +- %.0f", bytes.median, bytes.spread()));
    }
}

} // namespace

std::string run_density(const density_task& what, const fs::path& folder, std::vector<verdict>& verdicts) {
    answers all;
    const std::vector<tenant_kind> kinds = find_kinds(true);
    if (std::string trouble = measure(what, kinds, all); !trouble.empty())
        return trouble;
    std::printf("\nresident bytes for each of %zu tenants, everything counted; medians of %zu rounds\n", what.tenants,
                what.rounds);
    for (const tenant& one : tenants) {
        print_tenant(what, one, kinds, all);
        const ratio bytes{sum_up(samples_of(all, sample_name(one.shape, ours, "bytes")))};
        verdicts.push_back(judge(6, std::string{"a tenant, "} + one.title, bytes, one.bar, "B"));
    }
    plot picture{"density", "resident memory of a tenant", "objects in it", "bytes", {}, {}};
    for (const tenant& one : tenants)
        picture.x_names.emplace_back(one.shape);
    add_kinds(picture, all, kinds, "bytes", 1);
    return write_and_draw(all, {picture}, folder, "density");
}

} // namespace allot_bench
