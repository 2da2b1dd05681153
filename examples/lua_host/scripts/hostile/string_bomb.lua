-- SPDX-License-Identifier: MIT
--
-- string_bomb: a string that doubles for ever. A few requests, each as large as everything before it.

local s = "boom "
while true do
    s = s .. s
end
