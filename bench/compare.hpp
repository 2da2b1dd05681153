// SPDX-License-Identifier: MIT
//
// compare: who stands beside whom: the variants of one linkage, and the ratios between them.
//
// Concurrency. none of its own.
// Checked by.  test/bench/bars_test.cc
#pragma once

#include "variants.hpp"

#include <functional>
#include <optional>
#include <vector>

namespace allot_bench {

/// The variants of one linkage. Pointers into the list that it was made from; null for what was not measured.
struct side {
    linkage how = linkage::preloaded;
    const variant* ours = nullptr;
    const variant* root = nullptr;
    const variant* floor = nullptr;
    std::vector<const variant*> peers;

    /// Everyone, in the order of the tables' columns.
    [[nodiscard]] std::vector<const variant*> everyone() const;
};

/// Sorts the variants by linkage; a linkage of which nothing was measured has no side.
std::vector<side> sides(const std::vector<variant>& all);

/// Returns the times of a cell; nothing if the variant has no such cell.
std::optional<figure> time_of(const variant& who, const cell& which);

/// Returns allot's ratio to `other`; nothing if one of them was not measured.
std::optional<ratio> ratio_to(const side& here, const variant* other, const cell& which);

/// Returns the peer with the least median in that cell; null if there is none.
const variant* fastest_peer(const side& here, const cell& which);

/// Allot's ratios in some cells: their mean, and the cell with the largest of them.
struct comparison {
    geometric_mean mean;
    std::optional<ratio> worst;
    cell where;                  ///< of the worst
    const variant* to = nullptr; ///< with whom it was compared there

    void add(const std::optional<ratio>& one, const cell& which, const variant* other);
};

/// Compares with `other`, or if it is null with the fastest peer of each cell.
comparison compare(const side& here, const variant* other, const std::vector<cell>& cells);

} // namespace allot_bench
