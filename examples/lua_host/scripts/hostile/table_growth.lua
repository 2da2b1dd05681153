-- SPDX-License-Identifier: MIT
--
-- table_growth: a table that grows for ever. Every request is small until the table itself has to double.

local rows = {}
for i = 1, math.huge do
    rows[#rows + 1] = { id = i, name = "row " .. i }
end
