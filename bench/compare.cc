// SPDX-License-Identifier: MIT
//
// compare: who stands beside whom: the variants of one linkage, and the ratios between them.
#include "compare.hpp"

namespace allot_bench {

std::vector<const variant*> side::everyone() const {
    std::vector<const variant*> all;
    if (ours != nullptr)
        all.push_back(ours);
    all.insert(all.end(), peers.begin(), peers.end());
    for (const variant* reference : {root, floor})
        if (reference != nullptr)
            all.push_back(reference);
    return all;
}

std::vector<side> sides(const std::vector<variant>& all) {
    std::vector<side> result;
    for (const linkage how : {linkage::preloaded, linkage::linked}) {
        side one;
        one.how = how;
        for (const variant& who : all) {
            if (who.how != how)
                continue;
            switch (who.is) {
            case role::ours:
                one.ours = &who;
                break;
            case role::root:
                one.root = &who;
                break;
            case role::floor:
                one.floor = &who;
                break;
            case role::peer:
                one.peers.push_back(&who);
                break;
            }
        }
        if (!one.everyone().empty())
            result.push_back(std::move(one));
    }
    return result;
}

std::optional<figure> time_of(const variant& who, const cell& which) {
    const auto found = who.measured.find(which);
    return found == who.measured.end() ? std::nullopt : std::optional{sum_up(found->second)};
}

std::optional<ratio> ratio_to(const side& here, const variant* other, const cell& which) {
    if (here.ours == nullptr || other == nullptr)
        return std::nullopt;
    return ratio_of(here.ours->measured, other->measured, which);
}

const variant* fastest_peer(const side& here, const cell& which) {
    const variant* fastest = nullptr;
    double least = 0;
    for (const variant* peer : here.peers)
        if (const auto time = time_of(*peer, which); time && (fastest == nullptr || time->median < least)) {
            fastest = peer;
            least = time->median;
        }
    return fastest;
}

void comparison::add(const std::optional<ratio>& one, const cell& which, const variant* other) {
    mean.add(one);
    if (!one || !one->may_be_printed() || (worst && one->median <= worst->median))
        return;
    worst = one;
    where = which;
    to = other;
}

comparison compare(const side& here, const variant* other, const std::vector<cell>& cells) {
    comparison result;
    for (const cell& which : cells) {
        const variant* with = other != nullptr ? other : fastest_peer(here, which);
        result.add(ratio_to(here, with, which), which, with);
    }
    return result;
}

} // namespace allot_bench
