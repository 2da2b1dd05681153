// SPDX-License-Identifier: MIT
//
// results: what was measured, and what may be said about it.
//
// Idea.        Times of one round were taken minutes apart from those of the next and seconds apart from each other, so a ratio is
//              formed inside a round, and the median of the rounds' ratios is given. The spread is the largest minus the
//              smallest, with nothing left out; a ratio that is smaller than its own spread says nothing and is not given.
// Concurrency. none of its own.
// Checked by.  test/bench/results_test.cc
#pragma once

#include <algorithm>
#include <cmath>
#include <compare>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace allot_bench {

/// One row of the benchmark, whoever runs it.
struct cell {
    std::string work;
    unsigned threads = 0;
    unsigned long size = 0;

    friend auto operator<=>(const cell&, const cell&) = default;
};

/// Nanoseconds for an allocation with its free, by cell and round.
using samples = std::map<cell, std::vector<double>>;

/// A number of several rounds: its median, and the smallest and the largest one.
struct figure {
    double median = 0;
    double least = 0;
    double most = 0;

    [[nodiscard]] double spread() const { return most - least; }
    /// The spread in per cent of the median.
    [[nodiscard]] double spread_percent() const { return median > 0 ? 100 * spread() / median : 0; }
};

/// Sums up `values`, of which there is at least one.
inline figure sum_up(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const std::size_t half = values.size() / 2;
    const double median = values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
    return {median, values.front(), values.back()};
}

/// Ours divided by a peer's, below 1 if ours is faster.
struct ratio : figure {
    /// Tells whether the ratio says more than the noise does.
    [[nodiscard]] bool may_be_printed() const { return spread() <= median; }
};

/// Forms the ratio of `ours` to `peer` round by round; nothing if one of them has no such cell.
inline std::optional<ratio> ratio_of(const samples& ours, const samples& peer, const cell& which) {
    const auto mine = ours.find(which);
    const auto theirs = peer.find(which);
    if (mine == ours.end() || theirs == peer.end())
        return std::nullopt;
    std::vector<double> ratios;
    for (std::size_t round = 0; round < std::min(mine->second.size(), theirs->second.size()); ++round)
        ratios.push_back(mine->second[round] / theirs->second[round]);
    return ratios.empty() ? std::nullopt : std::optional<ratio>{{sum_up(ratios)}};
}

/// A geometric mean of the ratios that may be printed.
class geometric_mean {
  public:
    void add(const std::optional<ratio>& one) {
        if (!one)
            return;
        if (!one->may_be_printed()) {
            ++left_out_;
            return;
        }
        log_sum_ += std::log(one->median);
        ++count_;
    }
    [[nodiscard]] std::size_t count() const { return count_; }
    [[nodiscard]] std::size_t left_out() const { return left_out_; }
    /// The mean; nothing if no ratio was good enough.
    [[nodiscard]] std::optional<double> value() const {
        if (count_ == 0)
            return std::nullopt;
        return std::exp(log_sum_ / static_cast<double>(count_));
    }

  private:
    double log_sum_ = 0;
    std::size_t count_ = 0;
    std::size_t left_out_ = 0;
};

} // namespace allot_bench
