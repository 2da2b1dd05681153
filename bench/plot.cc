// SPDX-License-Identifier: MIT
//
// plot: a table as a picture, drawn by gnuplot if it is installed.
#include "plot.hpp"

#include "child.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <unistd.h>

namespace allot_bench {

namespace fs = std::filesystem;

namespace {

// Told apart with most kinds of colour blindness (after P. Tol's "bright" scheme); the first is ours.
constexpr const char* colours[] = {"#000000", "#4477aa", "#ee6677", "#228833",
                                   "#ccbb44", "#66ccee", "#aa3377", "#888888"};

/// A string of gnuplot, in which only the quote is special.
std::string quoted(const std::string& text) {
    std::string result = "'";
    for (const char one : text)
        result += one == '\'' ? std::string{"''"} : std::string(1, one);
    return result + "'";
}

std::string plain(double number) { return std::to_string(std::llround(number)); }

std::vector<plot_line> lines_with_points(const plot& what) {
    std::vector<plot_line> lines = what.lines;
    std::erase_if(lines, [](const plot_line& one) { return one.points.empty(); });
    return lines;
}

/// The x axis: names at whole numbers, or each x that occurs, on a logarithmic axis.
void write_x_axis(const plot& what, const std::vector<plot_line>& lines, std::ostream& out) {
    std::set<double> places;
    for (const plot_line& line : lines)
        for (const plot_point& point : line.points)
            places.insert(point.x);
    out << "set xtics (";
    const char* separator = "";
    if (what.x_names.empty())
        for (const double place : places) {
            out << separator << quoted(what.counts ? plain(place) : short_bytes(place)) << ' ' << place;
            separator = ", ";
        }
    for (std::size_t index = 0; index < what.x_names.size(); ++index) {
        out << separator << quoted(what.x_names[index]) << ' ' << index;
        separator = ", ";
    }
    out << ")\n";
    if (what.x_names.empty())
        out << "set logscale x 2\nset xrange [" << *places.begin() / 1.5 << ':' << *places.rbegin() * 1.5 << "]\n";
    else
        out << "unset logscale x\nset xrange [-0.5:" << static_cast<double>(what.x_names.size()) - 0.5 << "]\n";
}

fs::path find_program(const std::string& name) {
    const char* path = std::getenv("PATH");
    std::istringstream folders{path != nullptr ? path : "/usr/bin:/bin"};
    for (std::string folder; std::getline(folders, folder, ':');)
        if (const fs::path found = fs::path{folder} / name; access(found.c_str(), X_OK) == 0)
            return found;
    return "";
}

} // namespace

std::string plot_name(const std::string& title) {
    std::string name;
    for (const char one : title)
        if (std::isalnum(static_cast<unsigned char>(one)) != 0)
            name += static_cast<char>(std::tolower(static_cast<unsigned char>(one)));
        else if (!name.empty() && name.back() != '_')
            name += '_';
    return name;
}

std::string short_bytes(double bytes) {
    const char* unit = "";
    for (const char* next : {" KiB", " MiB", " GiB"}) {
        if (bytes < 1024)
            break;
        bytes /= 1024;
        unit = next;
    }
    char text[32];
    std::snprintf(text, sizeof text, "%g%s", bytes, unit);
    return text;
}

std::string plot_script(const plot& what) {
    const std::vector<plot_line> lines = lines_with_points(what);
    if (lines.empty())
        return "";
    std::ostringstream out;
    out.precision(10);
    for (std::size_t index = 0; index < lines.size(); ++index) {
        out << "$line" << index << " << END\n";
        for (const plot_point& point : lines[index].points)
            out << point.x << ' ' << point.y.median << ' ' << point.y.least << ' ' << point.y.most << '\n';
        out << "END\n";
    }
    out << "set output " << quoted(what.name + ".svg") << "\nset title " << quoted(what.title) << "\nset xlabel "
        << quoted(what.x_label) << "\nset ylabel " << quoted(what.y_label) << '\n';
    write_x_axis(what, lines, out);
    const char* separator = "plot ";
    for (std::size_t index = 0; index < lines.size(); ++index) {
        out << separator << "$line" << index << (what.x_names.empty() ? " with yerrorlines" : " with yerrorbars")
            << " title " << quoted(lines[index].name) << " linecolor '" << colours[index % std::size(colours)]
            << "' linewidth " << (lines[index].strong ? 3 : 1.5) << " pointtype 7 pointsize 0.5";
        separator = ", \\\n     ";
    }
    out << "\nunset output\n";
    return out.str();
}

std::string draw(const std::vector<plot>& plots, const fs::path& folder, const std::string& script) {
    const fs::path file = folder / (script + ".gp");
    std::ofstream out{file};
    out << "set terminal svg size 800,500 noenhanced background rgb 'white' font 'sans-serif,13'\n"
           "set encoding utf8\nset key outside right\nset grid linecolor '#dddddd'\nset logscale y 10\nset bars 0.5\n"
           "set xtics font 'sans-serif,10'\n"; // ten sizes stand side by side
    for (const plot& one : plots)
        out << plot_script(one);
    out.close();
    if (!out)
        return "cannot write " + file.string();
    const fs::path gnuplot = find_program("gnuplot");
    if (gnuplot.empty())
        return "gnuplot is not installed (gnuplot-nox)";
    const outcome ended = run(gnuplot, {"-e", "cd " + quoted(folder.string()), file.string()}, "", 60);
    return ended.trouble.empty() ? "" : "gnuplot " + ended.trouble;
}

} // namespace allot_bench
