-- SPDX-License-Identifier: MIT
--
-- pcall_loop: runs out of memory, swallows the error, and does it again, for ever. Only the host can end it: it counts the
-- requests that the tenant lost, and its hook then raises an error at every instruction, also in this loop.

local function grow()
    local hoard = {}
    while true do
        hoard[#hoard + 1] = ("x"):rep(2000) .. #hoard
    end
end

local swallowed = 0
while true do
    if not pcall(grow) then
        swallowed = swallowed + 1
    end
end
