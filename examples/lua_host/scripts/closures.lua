-- SPDX-License-Identifier: MIT
--
-- closures: counters, memoisation, currying, lazy lists and a small dispatcher. Closures and upvalues of all ages.

local _, seed = ...
seed = seed or 1

local function counter(step)
    local n = 0
    return function()
        n = n + step
        return n
    end
end

local function memoize(f)
    local seen = {}
    return function(n)
        local v = seen[n]
        if v == nil then
            v = f(n)
            seen[n] = v
        end
        return v
    end
end

local function compose(f, g)
    return function(...)
        return f(g(...))
    end
end

local function curry(f, n)
    if n < 2 then
        return f
    end
    return function(x)
        return curry(function(...)
            return f(x, ...)
        end, n - 1)
    end
end

-- A lazy list is a head and a function that makes the rest.
local function from(n)
    return { head = n, tail = function() return from(n + 1) end }
end

local function filter(list, keep)
    while not keep(list.head) do
        list = list.tail()
    end
    return { head = list.head, tail = function() return filter(list.tail(), keep) end }
end

local function take(list, n)
    local out = {}
    for i = 1, n do
        out[i] = list.head
        list = list.tail()
    end
    return out
end

local out = {}

local counters = {}
for i = 1, 4000 do
    counters[i] = counter(i % 7 + seed)
end
local sum = 0
for _ = 1, 12 do
    for i = 1, #counters do
        sum = sum + counters[i]()
    end
end
out[#out + 1] = "counters " .. sum

local fib
fib = memoize(function(n)
    return n < 2 and n or fib(n - 1) + fib(n - 2)
end)
out[#out + 1] = "fib " .. fib(80 + seed % 8)

local f = function(x) return x end
for i = 1, 100 do
    f = compose(f, function(x) return (x * 3 + i) % 1000003 end)
end
out[#out + 1] = "composed " .. f(seed)

local total = 0
for i = 1, 3000 do
    total = total + curry(function(a, b, c) return a * b + c end, 3)(i)(seed)(i % 5)
end
out[#out + 1] = "curried " .. total

local no_threes = filter(from(seed), function(n) return n % 3 ~= 0 end)
local neither = filter(no_threes, function(n) return n % 5 ~= seed % 5 end)
out[#out + 1] = "lazy " .. table.concat(take(neither, 3000), " ")
return table.concat(out, "\n")
