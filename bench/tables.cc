// SPDX-License-Identifier: MIT
//
// tables: the results as tables for people and as CSV files.
#include "tables.hpp"

#include "compare.hpp"
#include "plot.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>

namespace allot_bench {

namespace {

std::string text_of(const std::optional<ratio>& one) {
    if (!one)
        return "-";
    if (!one->may_be_printed())
        return "noisy";
    char text[32];
    std::snprintf(text, sizeof text, "%.2f", one->median);
    return text;
}

void print_time(const variant& who, const cell& which, std::FILE* out) {
    if (const auto time = time_of(who, which))
        std::fprintf(out, "%9.2f %3.0f%%", time->median, std::min(time->spread_percent(), 999.0));
    else
        std::fprintf(out, "%14s", "-");
}

/// The ratio of allot to `who`, as a column; empty where there is nobody to compare with.
void print_ratio(const side& here, const variant& who, const cell& which, std::FILE* out) {
    if (here.ours != nullptr && who.is != role::ours)
        std::fprintf(out, "%7s", text_of(ratio_to(here, &who, which)).c_str());
}

void print_table(const side& here, const std::vector<cell>& cells, std::FILE* out) {
    std::fprintf(out, "\n%s\n%7s", title(cells.front(), here.how).c_str(), "size");
    for (const variant* who : here.everyone())
        std::fprintf(out, "%14s%s", who->name.c_str(), here.ours != nullptr && who->is != role::ours ? "  ratio" : "");
    std::fputc('\n', out);
    for (const cell& which : cells) {
        std::fprintf(out, "%7lu", which.size);
        for (const variant* who : here.everyone()) {
            print_time(*who, which, out);
            print_ratio(here, *who, which, out);
        }
        std::fputc('\n', out);
    }
}

std::string text_of(const geometric_mean& mean) {
    const auto value = mean.value();
    char text[48];
    if (!value)
        return mean.left_out() > 0 ? "noisy" : "-";
    std::snprintf(text, sizeof text, "%.2f", *value);
    return std::string{text} + (mean.left_out() > 0 ? " (-" + std::to_string(mean.left_out()) + ")" : "");
}

void print_mean_row(const side& here, const std::string& name, const std::vector<cell>& cells, std::FILE* out) {
    std::fprintf(out, "%-30s", name.c_str());
    for (const variant* who : here.everyone())
        if (who != here.ours)
            std::fprintf(out, "%14s", text_of(compare(here, who, cells).mean).c_str());
    std::fprintf(out, "%14s\n", text_of(compare(here, nullptr, cells).mean).c_str());
}

/// A CSV file that is being written.
class csv_file {
  public:
    csv_file(const std::filesystem::path& path, const char* heading)
        : file_(std::fopen(path.c_str(), "w"), std::fclose) {
        if (file_)
            std::fprintf(file_.get(), "%s\n", heading);
    }
    explicit operator bool() const { return file_ != nullptr; }
    /// Writes the columns that name a cell of a variant, up to and with a comma.
    std::FILE* row(const variant& who, const cell& which) {
        std::fprintf(file_.get(), "%s,%s,%s,%u,%lu,", name_of(who.how), who.name.c_str(), which.work.c_str(),
                     which.threads, which.size);
        return file_.get();
    }

  private:
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
};

} // namespace

std::string title(const cell& which, linkage how) {
    return which.work + ", " + std::to_string(which.threads) + (which.threads == 1 ? " thread, " : " threads, ") +
           name_of(how);
}

std::vector<std::vector<cell>> table_cells(const std::vector<cell>& cells) {
    std::vector<std::vector<cell>> tables;
    for (const cell& which : cells) {
        if (tables.empty() || tables.back().front().work != which.work ||
            tables.back().front().threads != which.threads)
            tables.emplace_back();
        tables.back().push_back(which);
    }
    return tables;
}

void print_tables(const std::vector<variant>& all, const task& what, std::FILE* out) {
    std::fprintf(
        out, "\nNanoseconds for one allocation with its free: median, and the spread (largest minus smallest round) in "
             "per cent of it.\nratio = allot / the column before, below 1 if allot is faster; noisy = the ratio is "
             "smaller than its own spread over the rounds.\nallot-root (no group) and floor (no allocator) are no "
             "peers.\n");
    for (const side& here : sides(all))
        for (const std::vector<cell>& cells : table_cells(what.cells))
            print_table(here, cells, out);
}

void print_means(const std::vector<variant>& all, const task& what, std::FILE* out) {
    for (const side& here : sides(all)) {
        if (here.ours == nullptr || here.everyone().size() == 1)
            continue;
        std::fprintf(out, "\nGeometric means of allot / each; (-N) = without N noisy cells\n%-30s", "");
        for (const variant* who : here.everyone())
            if (who != here.ours)
                std::fprintf(out, "%14s", who->name.c_str());
        std::fprintf(out, "%14s\n", "fastest*");
        for (const std::vector<cell>& cells : table_cells(what.cells))
            print_mean_row(here, title(cells.front(), here.how), cells, out);
        print_mean_row(here, std::string{"all, "} + name_of(here.how), what.cells, out);
        std::fprintf(out, "* the peer with the least median in each cell\n");
    }
}

std::string draw_tables(const std::vector<variant>& all, const task& what, const std::filesystem::path& folder) {
    std::vector<plot> plots;
    for (const side& here : sides(all))
        for (const std::vector<cell>& cells : table_cells(what.cells)) {
            const std::string name = title(cells.front(), here.how);
            plot picture{plot_name(name), name, "bytes of a block", "ns for an allocation with its free", {}, {}};
            for (const variant* who : here.everyone()) {
                plot_line line{who->name, {}, who->is == role::ours};
                for (const cell& which : cells)
                    if (const auto time = time_of(*who, which))
                        line.points.push_back({static_cast<double>(which.size), *time});
                picture.lines.push_back(std::move(line));
            }
            plots.push_back(std::move(picture));
        }
    return draw(plots, folder, "speed");
}

std::string write_csv(const std::vector<variant>& all, const std::filesystem::path& folder) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    csv_file raw{folder / "samples.csv", "linkage,allocator,work,threads,size,round,ns"};
    csv_file medians{folder / "medians.csv", "linkage,allocator,work,threads,size,median_ns,least_ns,most_ns"};
    csv_file ratios{folder / "ratios.csv",
                    "linkage,peer,work,threads,size,median_ratio,least_ratio,most_ratio,printed"};
    if (!raw || !medians || !ratios)
        return std::strerror(errno);
    for (const side& here : sides(all)) {
        for (const variant* who : here.everyone())
            for (const auto& [which, rounds] : who->measured) {
                for (std::size_t round = 0; round < rounds.size(); ++round)
                    std::fprintf(raw.row(*who, which), "%zu,%.4f\n", round + 1, rounds[round]);
                const figure time = sum_up(rounds);
                std::fprintf(medians.row(*who, which), "%.4f,%.4f,%.4f\n", time.median, time.least, time.most);
                if (const auto found = who->is == role::ours ? std::nullopt : ratio_to(here, who, which))
                    std::fprintf(ratios.row(*who, which), "%.4f,%.4f,%.4f,%d\n", found->median, found->least,
                                 found->most, found->may_be_printed() ? 1 : 0);
            }
    }
    return "";
}

} // namespace allot_bench
