-- SPDX-License-Identifier: MIT
--
-- json: encodes a document, decodes it, changes it and encodes it again. Strings, tables, patterns, recursion.

local _, seed = ...
seed = seed or 1

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }
local unescapes = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }

local function quote(s)
    return '"' .. s:gsub('[%c"\\]', function(c)
        return escapes[c] or ("\\u%04x"):format(c:byte())
    end) .. '"'
end

local encode

local function encode_table(value)
    local parts = {}
    if #value > 0 or next(value) == nil then
        for i, item in ipairs(value) do
            parts[i] = encode(item)
        end
        return "[" .. table.concat(parts, ",") .. "]"
    end
    local keys = {}
    for key in pairs(value) do
        keys[#keys + 1] = key
    end
    table.sort(keys) -- the order of pairs() differs from run to run
    for i, key in ipairs(keys) do
        parts[i] = quote(key) .. ":" .. encode(value[key])
    end
    return "{" .. table.concat(parts, ",") .. "}"
end

function encode(value)
    local kind = type(value)
    if kind == "table" then
        return encode_table(value)
    elseif kind == "string" then
        return quote(value)
    elseif math.type(value) == "float" then
        return ("%.14g"):format(value)
    end
    return tostring(value)
end

local decode_value

local function skip(text, at)
    return text:find("%S", at) or #text + 1
end

local function decode_string(text, at)
    local parts, from = {}, at + 1
    while true do
        local stop = text:find('["\\]', from) or error("unfinished string at " .. at)
        parts[#parts + 1] = text:sub(from, stop - 1)
        if text:sub(stop, stop) == '"' then
            return table.concat(parts), stop + 1
        end
        local escape = text:sub(stop + 1, stop + 1)
        if escape == "u" then
            parts[#parts + 1] = utf8.char(tonumber(text:sub(stop + 2, stop + 5), 16))
            from = stop + 6
        else
            parts[#parts + 1] = unescapes[escape] or error("bad escape at " .. stop)
            from = stop + 2
        end
    end
end

local function decode_array(text, at)
    local out = {}
    at = skip(text, at + 1)
    if text:sub(at, at) == "]" then
        return out, at + 1
    end
    while true do
        out[#out + 1], at = decode_value(text, at)
        at = skip(text, at)
        local c = text:sub(at, at)
        at = skip(text, at + 1)
        if c == "]" then
            return out, at
        end
        assert(c == ",", "',' or ']' expected")
    end
end

local function decode_object(text, at)
    local out, key = {}, nil
    at = skip(text, at + 1)
    while text:sub(at, at) ~= "}" do
        key, at = decode_string(text, at)
        at = skip(text, at)
        assert(text:sub(at, at) == ":", "':' expected")
        out[key], at = decode_value(text, skip(text, at + 1))
        at = skip(text, at)
        if text:sub(at, at) == "," then
            at = skip(text, at + 1)
        end
    end
    return out, at + 1
end

local words = { ["true"] = true, ["false"] = false }

function decode_value(text, at)
    local c = text:sub(at, at)
    if c == "{" then
        return decode_object(text, at)
    elseif c == "[" then
        return decode_array(text, at)
    elseif c == '"' then
        return decode_string(text, at)
    end
    local word = text:match("^%a+", at)
    if word then
        return words[word], at + #word
    end
    local number = text:match("^-?%d+%.?%d*[eE]?[+-]?%d*", at)
    return tonumber(number), at + #number
end

local function document(rows)
    local doc = { title = "line one\nline \"two\"\\\1", seed = seed, orders = {} }
    for i = 1, rows do
        doc.orders[i] = {
            id = seed * 1000 + i,
            customer = ("customer %d \u{e9}\t%s"):format(i % 17, ("x"):rep(i % 23)),
            paid = i % 3 == 0,
            total = i * 1.25 + seed / 8,
            items = { { sku = "A" .. i, count = i % 5 }, { sku = "B" .. i, count = i % 7, tags = { "new", "tax/" .. i % 4 } } },
        }
    end
    return doc
end

local first = encode(document(160))
local doc = decode_value(first, 1)
assert(encode(doc) == first, "decode(encode(x)) is not x")

local sum = 0
for _, order in ipairs(doc.orders) do
    sum = sum + order.total
    order.customer = order.customer:upper()
    order.items[2].tags = nil
end
doc.sum = sum
return encode(doc)
