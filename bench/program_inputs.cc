// SPDX-License-Identifier: MIT
//
// program_inputs: what the measured programs do, as text. Each takes about a second and uses no clock and no chance.
#include "program_inputs.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>

namespace allot_bench {

namespace {

constexpr const char* python_script = R"python(
import json

def build(count):
    return [{"id": i, "name": "user%d" % (i * 7919 % count), "tags": ["t%d" % (i % k) for k in (3, 5, 7)],
             "score": i * 0.5} for i in range(count)]

checks = 0
for turn in range(2):
    rows = build(40000)
    text = json.dumps(rows)
    rows = json.loads(text)
    index = {}
    for row in rows:
        index.setdefault(row["name"][-2:], []).append(row)
    rows.sort(key=lambda row: row["name"])
    words = " ".join(row["name"] + "-" + row["tags"][0] for row in rows).split()
    words.sort(key=lambda word: word[::-1])
    checks += len(text) + len(index) + len(words[0])
print(checks)
)python";

constexpr const char* lua_script = R"lua(
local sum = 0
for turn = 1, 3 do
    local rows = {}
    for i = 1, 100000 do
        rows[i] = {id = i, name = "user" .. (i * 7919 % 100003), tags = {i % 3, i % 5}}
    end
    table.sort(rows, function(a, b) return a.name < b.name end)
    local index, parts = {}, {}
    for i, row in ipairs(rows) do
        local key = row.name:sub(-3)
        index[key] = index[key] or {}
        table.insert(index[key], row)
        parts[#parts + 1] = row.name:upper():gsub("U", "v", 1)
    end
    local text = table.concat(parts, " ")
    for word in text:gmatch("%S+") do
        sum = sum + #word
    end
end
print(sum)
)lua";

constexpr const char* sql_script = R"sql(
pragma journal_mode = off;
create table t(a integer primary key, b text, c real, d text);
begin;
with recursive n(i) as (values(1) union all select i + 1 from n limit 300000)
insert into t select i, hex(i * 7919 % 300007) || ' ' || i, i / 3.0, printf('%.*c', i % 40, 'x') from n;
commit;
create index t_b on t(b);
select count(*), sum(length(b)), round(sum(c), 3) from t;
select b from t order by d desc, c limit 3;
select length(group_concat(b, ',')) from t;
select substr(b, 1, 3) as k, count(*) from t group by k order by 2 desc limit 3;
)sql";

constexpr const char* cpp_source = R"cpp(
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

using value = std::variant<int, double, std::string, std::vector<int>>;

template <int N> struct table {
    std::map<std::string, value> rows;
    std::unordered_map<int, std::function<int(int)>> calls;
    int work(const std::string& text) {
        rows[text + std::to_string(N)] = std::vector<int>(N, N);
        calls[N] = [this](int x) { return x + static_cast<int>(rows.size()); };
        std::vector<std::pair<std::string, int>> sorted;
        for (const auto& [name, one] : rows)
            sorted.emplace_back(name, static_cast<int>(one.index()));
        std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
        return calls[N](static_cast<int>(sorted.size()));
    }
};

template <int... N> int all(std::integer_sequence<int, N...>, const std::string& text) {
    return (table<N>{}.work(text) + ...);
}

int main(int argc, char** argv) {
    std::mt19937 numbers{7};
    std::cout << numbers() << all(std::make_integer_sequence<int, 8>{}, argv[argc - 1]);
}
)cpp";

} // namespace

std::string write_inputs(const std::filesystem::path& folder) {
    constexpr struct {
        const char* name;
        const char* text;
    } files[] = {
        {"work.py", python_script}, {"work.lua", lua_script}, {"work.sql", sql_script}, {"work.cc", cpp_source}};
    for (const auto& one : files) {
        std::ofstream out{folder / one.name};
        out << one.text;
        if (!out.flush())
            return (folder / one.name).string() + ": " + std::strerror(errno);
    }
    return "";
}

} // namespace allot_bench
