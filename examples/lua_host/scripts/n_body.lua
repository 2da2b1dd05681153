-- SPDX-License-Identifier: MIT
--
-- n_body: the sun and four planets, by a symplectic integrator. Arithmetic only: next to no garbage.

local _, seed = ...
seed = seed or 1

local sqrt, pi = math.sqrt, math.pi
local solar_mass, days = 4 * pi * pi, 365.24

local function body(x, y, z, vx, vy, vz, mass)
    return { x = x, y = y, z = z, vx = vx * days, vy = vy * days, vz = vz * days, mass = mass * solar_mass }
end

local bodies = {
    body(0, 0, 0, 0, 0, 0, 1),
    body(4.8414314424647, -1.16032004402743, -0.10362204447112, 0.0016600766427440, 0.0076990111841974, -0.0000690460016972,
        0.00095479193842),
    body(8.3433667182446, 4.1247985641243, -0.40352341711432, -0.0027674251072686, 0.0049985280123492, 0.0000230417297573,
        0.00028588598067),
    body(12.894369562139, -15.111151401699, -0.22330757889266, 0.0029646013756476, 0.0023784717395948, -0.0000296589568540,
        0.00004366244043),
    body(15.379697114851, -25.919314609988, 0.17925877295037, 0.0026806777249038, 0.0016282417003824, -0.0000951592254519,
        0.00005151389020),
}

local function offset_momentum()
    local px, py, pz = 0, 0, 0
    for _, b in ipairs(bodies) do
        px, py, pz = px + b.vx * b.mass, py + b.vy * b.mass, pz + b.vz * b.mass
    end
    local sun = bodies[1]
    sun.vx, sun.vy, sun.vz = -px / solar_mass, -py / solar_mass, -pz / solar_mass
end

local function energy()
    local e = 0
    for i, b in ipairs(bodies) do
        e = e + 0.5 * b.mass * (b.vx * b.vx + b.vy * b.vy + b.vz * b.vz)
        for j = i + 1, #bodies do
            local c = bodies[j]
            local dx, dy, dz = b.x - c.x, b.y - c.y, b.z - c.z
            e = e - b.mass * c.mass / sqrt(dx * dx + dy * dy + dz * dz)
        end
    end
    return e
end

local function advance(dt)
    for i = 1, #bodies do
        local b = bodies[i]
        for j = i + 1, #bodies do
            local c = bodies[j]
            local dx, dy, dz = b.x - c.x, b.y - c.y, b.z - c.z
            local d2 = dx * dx + dy * dy + dz * dz
            local mag = dt / (d2 * sqrt(d2))
            local bm, cm = b.mass * mag, c.mass * mag
            b.vx, b.vy, b.vz = b.vx - dx * cm, b.vy - dy * cm, b.vz - dz * cm
            c.vx, c.vy, c.vz = c.vx + dx * bm, c.vy + dy * bm, c.vz + dz * bm
        end
    end
    for i = 1, #bodies do
        local b = bodies[i]
        b.x, b.y, b.z = b.x + dt * b.vx, b.y + dt * b.vy, b.z + dt * b.vz
    end
end

bodies[2].x = bodies[2].x + seed / 1000
offset_momentum()

local out = { ("energy before %.12f"):format(energy()) }
for step = 1, 3000 do
    advance(0.01)
    if step % 600 == 0 then
        out[#out + 1] = ("energy after %4d steps %.12f, sun at %.12f"):format(step, energy(), bodies[1].x)
    end
end
return table.concat(out, "\n")
