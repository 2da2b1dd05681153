-- SPDX-License-Identifier: MIT
--
-- word_count: counts the words of text.txt and of its passages that begin with a letter of the tenant's own. Reads a file.

local dir, seed = ...
dir, seed = dir or ".", seed or 1

local function ranking(counts, limit)
    local words = {}
    for word in pairs(counts) do
        words[#words + 1] = word
    end
    table.sort(words, function(a, b)
        if counts[a] ~= counts[b] then
            return counts[a] > counts[b]
        end
        return a < b
    end)
    local out = {}
    for i = 1, math.min(limit, #words) do
        out[i] = words[i] .. "=" .. counts[words[i]]
    end
    return table.concat(out, " "), #words
end

local counts, pairs_of_words, lengths = {}, {}, {}
local lines, total = 0, 0
for pass = 1, 16 do
    local previous = ""
    for line in io.lines(dir .. "/text.txt") do
        lines = lines + 1
        for word in line:lower():gmatch("[%a']+") do
            total = total + 1
            counts[word] = (counts[word] or 0) + 1
            lengths[#word] = (lengths[#word] or 0) + 1
            if (pass + #word) % (seed + 1) == 0 then
                local pair = previous .. "-" .. word
                pairs_of_words[pair] = (pairs_of_words[pair] or 0) + 1
            end
            previous = word
        end
    end
end

local top, distinct = ranking(counts, 20)
local pairs_top, pairs_distinct = ranking(pairs_of_words, 10)
local out = { ("%d lines, %d words, %d distinct, %d pairs"):format(lines, total, distinct, pairs_distinct), top, pairs_top }
for length = 1, 16 do
    out[#out + 1] = ("%2d letters: %d"):format(length, lengths[length] or 0)
end
return table.concat(out, "\n")
