// SPDX-License-Identifier: MIT
//
// bars: what the measured numbers must reach, and whether they do.
#include "bars.hpp"

#include "cells.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace allot_bench {

namespace {

constexpr double mean_bar = 1.0;
constexpr double worst_bar = 1.15;
constexpr double floor_bar = 1.25;
constexpr double lead_bar = 0.9;
constexpr double accounting_bar = 1.01;

template <class Keep> std::vector<cell> some_of(const std::vector<cell>& cells, Keep keep) {
    std::vector<cell> chosen;
    std::copy_if(cells.begin(), cells.end(), std::back_inserter(chosen), keep);
    return chosen;
}

bool is_alone(const cell& one) { return own_threads(one.work) == 0; }
bool is_small(const cell& one) { return one.size <= small_most; }
bool is_batch(const cell& one) { return one.work == "lifo" || one.work == "fifo" || one.work == "random"; }

bool too_noisy(const geometric_mean& mean) { return mean.left_out() * 4 > mean.count() + mean.left_out(); }

/// The peer whose mean is the closest to allot's, or the farthest below it.
std::pair<const variant*, comparison> closest_peer(const side& here, const std::vector<cell>& cells) {
    std::pair<const variant*, comparison> closest{nullptr, {}};
    double most = 0;
    for (const variant* peer : here.peers) {
        const comparison found = compare(here, peer, cells);
        const double mean = found.mean.value().value_or(0);
        if (closest.first == nullptr || mean > most) {
            closest = {peer, found};
            most = mean;
        }
    }
    return closest;
}

/// The verdicts of one linkage, in the order of the rows.
class judgement {
  public:
    judgement(const side& here, std::vector<verdict>& all)
        : here_(here), suffix_(std::string{", "} + name_of(here.how)), all_(all) {}

    void of_fastest(unsigned row, const std::string& what, const std::vector<cell>& cells, double worst) {
        add(row, what + " / fastest peer", compare(here_, nullptr, cells), mean_bar, worst);
    }
    void of(const variant* other, unsigned row, const std::string& what, const std::vector<cell>& cells, double mean,
            std::optional<double> worst) {
        if (other != nullptr)
            add(row, what, compare(here_, other, cells), mean, worst);
    }
    void of_closest(unsigned row, const std::string& what, const std::vector<cell>& cells, double bar) {
        const auto [peer, found] = closest_peer(here_, cells);
        if (peer == nullptr || found.mean.count() + found.mean.left_out() == 0)
            return;
        all_.push_back(judge_mean(row, what + suffix_, found, bar));
        std::string& note = all_.back().note;
        note = note.empty() ? peer->name : peer->name + ", " + note;
    }

  private:
    void add(unsigned row, const std::string& what, const comparison& found, double mean, std::optional<double> worst) {
        if (found.mean.count() + found.mean.left_out() == 0)
            return;
        all_.push_back(judge_mean(row, what + suffix_, found, mean));
        if (worst)
            all_.push_back(judge_worst(row, "  worst cell", found, *worst));
    }

    const side& here_;
    std::string suffix_;
    std::vector<verdict>& all_;
};

const char* name_of(standing stands) {
    switch (stands) {
    case standing::holds:
        return "holds";
    case standing::missed:
        return "MISSED";
    case standing::noisy:
        break;
    }
    return "noisy";
}

} // namespace

verdict judge_mean(unsigned row, std::string what, const comparison& found, double bar) {
    verdict one{row, std::move(what), found.mean.value(), bar, "x", standing::noisy, ""};
    if (one.measured && !too_noisy(found.mean))
        one.stands = *one.measured <= bar ? standing::holds : standing::missed;
    if (found.mean.left_out() > 0)
        one.note = "without " + std::to_string(found.mean.left_out()) + " noisy of " +
                   std::to_string(found.mean.left_out() + found.mean.count()) + " cells";
    return one;
}

verdict judge_worst(unsigned row, std::string what, const comparison& found, double bar) {
    verdict one{row, std::move(what), std::nullopt, bar, "x", standing::noisy, ""};
    if (!found.worst)
        return one;
    one.measured = found.worst->median;
    if (*one.measured > bar)
        one.stands = standing::missed;
    else if (!too_noisy(found.mean))
        one.stands = standing::holds;
    one.note = found.where.work + ", " + std::to_string(found.where.threads) +
               (found.where.threads == 1 ? " thread, " : " threads, ") + std::to_string(found.where.size) + " B" +
               (found.to != nullptr ? ", " + found.to->name : "");
    return one;
}

verdict judge(unsigned row, std::string what, const ratio& found, double bar, std::string unit) {
    verdict one{row, std::move(what), found.median, bar, std::move(unit), standing::noisy, ""};
    if (found.may_be_printed())
        one.stands = found.median <= bar ? standing::holds : standing::missed;
    return one;
}

std::vector<verdict> judge_speed(const std::vector<variant>& all, const std::vector<cell>& cells) {
    const auto rows_1_and_2 = some_of(cells, [](const cell& one) { return is_alone(one) && is_small(one); });
    const auto pairs = some_of(rows_1_and_2, [](const cell& one) { return one.work == "pair"; });
    const auto others = some_of(rows_1_and_2, [](const cell& one) { return one.work != "pair"; });
    const auto batches = some_of(rows_1_and_2, is_batch);
    const auto large = some_of(cells, [](const cell& one) { return is_alone(one) && one.size >= large_least; });
    const auto together = some_of(cells, [](const cell& one) { return !is_alone(one); });
    std::vector<verdict> found;
    for (const side& here : sides(all)) {
        if (here.ours == nullptr)
            continue;
        judgement here_is{here, found};
        here_is.of_fastest(1, "pair, small", pairs, worst_bar);
        here_is.of_fastest(2, "batches and churn, small", others, worst_bar);
        here_is.of(here.floor, 2, "batches, small / floor", batches, floor_bar, floor_bar);
        here_is.of_closest(2, "rows 1 and 2 / closest peer", rows_1_and_2, lead_bar);
        here_is.of_closest(3, "large / best single peer", large, mean_bar);
        here_is.of_fastest(4, "remote, ring, oversub", together, mean_bar);
        here_is.of(here.root, 7, "rows 1 and 2 / without a group", rows_1_and_2, accounting_bar, std::nullopt);
    }
    std::stable_sort(found.begin(), found.end(),
                     [](const verdict& one, const verdict& other) { return one.row < other.row; });
    return found;
}

void print_verdicts(const std::vector<verdict>& all, std::FILE* out) {
    if (all.empty())
        return;
    std::fprintf(out, "\nBars\n%4s %-54s %11s %11s  %-7s\n", "row", "", "measured", "bar", "");
    for (const verdict& one : all) {
        char measured[32] = "-";
        if (one.measured)
            std::snprintf(measured, sizeof measured, "%.3f", *one.measured);
        std::fprintf(out, "%4u %-54s %8s %-2s <= %5.2f %-2s  %-7s %s\n", one.row, one.what.c_str(), measured,
                     one.unit.c_str(), one.bar, one.unit.c_str(), name_of(one.stands), one.note.c_str());
    }
}

std::string write_verdicts(const std::vector<verdict>& all, const std::filesystem::path& folder) {
    std::FILE* const file = std::fopen((folder / "bars.csv").c_str(), "w");
    if (file == nullptr)
        return std::strerror(errno);
    std::fprintf(file, "row,what,measured,bar,unit,verdict,note\n");
    for (const verdict& one : all)
        std::fprintf(file, "%u,\"%s\",%.4f,%.4f,%s,%s,\"%s\"\n", one.row, one.what.c_str(), one.measured.value_or(0),
                     one.bar, one.unit.c_str(), name_of(one.stands), one.note.c_str());
    return std::fclose(file) == 0 ? "" : std::strerror(errno);
}

} // namespace allot_bench
