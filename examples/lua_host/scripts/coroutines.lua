-- SPDX-License-Identifier: MIT
--
-- coroutines: a sieve of filters, permutations, and tasks under a round-robin scheduler. Stacks that come and go.

local _, seed = ...
seed = seed or 1

local yield, wrap = coroutine.yield, coroutine.wrap

local function numbers(n)
    return wrap(function()
        for i = 2, n do
            yield(i)
        end
    end)
end

local function without_multiples(of, source)
    return wrap(function()
        for n in source do
            if n % of ~= 0 then
                yield(n)
            end
        end
    end)
end

local function primes(n)
    local out, source = {}, numbers(n)
    while true do
        local p = source()
        if p == nil then
            return out
        end
        out[#out + 1] = p
        source = without_multiples(p, source)
        if #out > 80 then
            return out -- each prime is a coroutine inside the next, and nested resumes are limited
        end
    end
end

local function permute(items, n)
    n = n or #items
    if n <= 1 then
        yield(items)
        return
    end
    for i = 1, n do
        items[i], items[n] = items[n], items[i]
        permute(items, n - 1)
        items[i], items[n] = items[n], items[i]
    end
end

local function schedule(tasks)
    local log, live = {}, #tasks
    while live > 0 do
        for i = 1, #tasks do
            local task = tasks[i]
            if task and coroutine.status(task) == "suspended" then
                local _, value = coroutine.resume(task, i)
                log[#log + 1] = value
            elseif task then
                tasks[i], live = false, live - 1
            end
        end
    end
    return log
end

local out = { "primes " .. table.concat(primes(400 + seed), " ") }

local sum, n = 0, 0
for items in wrap(function() permute({ 1, 2, 3, 4, 5, 6, seed + 6 }) end) do
    n = n + 1
    sum = (sum * 31 + items[1] * 7 + items[n % 7 + 1]) % 1000003
end
out[#out + 1] = ("permutations %d checksum %d"):format(n, sum)

local tasks = {}
for i = 1, 1000 do
    tasks[i] = coroutine.create(function(id)
        local local_sum = 0
        for step = 1, i % 17 + seed % 4 + 2 do
            local_sum = local_sum + id * step
            id = yield(local_sum % 1009)
        end
        return -i
    end)
end
local log = schedule(tasks)
local check = 0
for i = 1, #log do
    check = (check * 33 + log[i]) % 1000003
end
out[#out + 1] = ("scheduled %d steps, checksum %d, last %d"):format(#log, check, log[#log])
return table.concat(out, "\n")
