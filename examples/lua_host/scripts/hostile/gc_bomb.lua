-- SPDX-License-Identifier: MIT
--
-- gc_bomb: behaves until it is closed; then its finalizers, which Lua runs in lua_close, take all the memory they can get.

local bomb = {
    __gc = function()
        local hoard = {}
        while true do
            hoard[#hoard + 1] = ("x"):rep(500) .. #hoard
        end
    end,
}

bombs = {} -- global, so that they live until the state is closed
for i = 1, 8 do
    bombs[i] = setmetatable({}, bomb)
end
return "harmless so far"
