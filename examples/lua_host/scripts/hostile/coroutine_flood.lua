-- SPDX-License-Identifier: MIT
--
-- coroutine_flood: coroutines by the thousand, all suspended in the middle of their work, each with a stack of its own.

local function deep(n)
    if n == 0 then
        coroutine.yield()
    else
        deep(n - 1)
    end
    return n
end

local flood = {}
while true do
    local thread = coroutine.create(deep)
    coroutine.resume(thread, 10)
    flood[#flood + 1] = thread
end
