-- SPDX-License-Identifier: MIT
--
-- string_building: a report built by concatenation, buffers, format and gsub. Many strings of many lengths, most of them garbage.

local _, seed = ...
seed = seed or 1

local function checksum(s)
    local a, b = 1, 0
    for i = 1, #s do
        a = (a + s:byte(i)) % 65521
        b = (b + a) % 65521
    end
    return b << 16 | a
end

local function by_concatenation(n)
    local s = ""
    for i = 1, n do
        s = s .. (i * seed) .. (i % 8 == 0 and ";\n" or ",") -- a new string every time, each longer than the last
    end
    return s
end

local function by_buffer(n)
    local parts = {}
    for i = 1, n do
        parts[i] = ("%05d %-12s %8.3f %q"):format(i, ("name" .. i * seed):reverse(), i / seed, "a\tb" .. i)
    end
    return table.concat(parts, "\n")
end

local function templated(n)
    local template = "Dear ${name}, your ${thing} number ${number} is ${state}. "
    local states, out = { "ready", "late", "lost" }, {}
    for i = 1, n do
        out[i] = template:gsub("%${(%w+)}", {
            name = "customer " .. i,
            thing = ("parcel "):rep(i % 4 + 1),
            number = i * seed,
            state = states[i % 3 + 1],
        })
    end
    return table.concat(out)
end

local function rot13(s)
    return (s:gsub("%a", function(c)
        local base = c:lower() == c and 97 or 65
        return string.char((c:byte() - base + 13) % 26 + base)
    end))
end

local out = {}
for name in string.gmatch("concatenation buffer templates", "%a+") do
    local build = ({ concatenation = by_concatenation, buffer = by_buffer, templates = templated })[name]
    local text = build(name == "concatenation" and 900 or 500)
    assert(rot13(rot13(text)) == text)
    out[#out + 1] = ("%s: %d bytes, checksum %08x, ends %q"):format(name, #text, checksum(text), text:sub(-20))
end
return table.concat(out, "\n")
