-- SPDX-License-Identifier: MIT
--
-- binary_trees: builds, walks and drops trees of many depths. The classic of allocators: small tables by the thousand.

local _, seed = ...
seed = seed or 1

local function bottom_up(depth)
    if depth == 0 then
        return {}
    end
    return { bottom_up(depth - 1), bottom_up(depth - 1) }
end

local function count(tree)
    if tree[1] then
        return 1 + count(tree[1]) + count(tree[2])
    end
    return 1
end

local depth_max = 10
local out = {}

local stretch = bottom_up(depth_max + 1)
out[#out + 1] = ("stretch tree of depth %d, nodes %d"):format(depth_max + 1, count(stretch))
stretch = nil

local long_lived = bottom_up(depth_max)
for depth = 4, depth_max, 2 do
    local trees = (1 << (depth_max - depth + 3)) + seed
    local nodes = 0
    for _ = 1, trees do
        nodes = nodes + count(bottom_up(depth))
    end
    out[#out + 1] = ("%d trees of depth %d, nodes %d"):format(trees, depth, nodes)
end
out[#out + 1] = ("long lived tree of depth %d, nodes %d"):format(depth_max, count(long_lived))
return table.concat(out, "\n")
