// SPDX-License-Identifier: MIT
//
// tables: the results as tables for people and as CSV files.
#include "tables.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>

namespace allot_bench {

namespace {

/// The variants of one linkage: ours, if it was measured, and the peers.
struct side {
    linkage how;
    const variant* ours = nullptr;
    std::vector<const variant*> peers;
};

std::vector<side> sides(const std::vector<variant>& all) {
    std::vector<side> result;
    for (const linkage how : {linkage::preloaded, linkage::linked}) {
        side one{how, nullptr, {}};
        for (const variant& who : all) {
            if (who.how != how)
                continue;
            if (who.ours)
                one.ours = &who;
            else
                one.peers.push_back(&who);
        }
        if (one.ours != nullptr || !one.peers.empty())
            result.push_back(std::move(one));
    }
    return result;
}

std::string title(const std::string& work, unsigned long threads, linkage how) {
    return work + ", " + std::to_string(threads) + (threads == 1 ? " thread, " : " threads, ") + name_of(how);
}

std::optional<figure> time_of(const variant& who, const cell& which) {
    const auto found = who.measured.find(which);
    return found == who.measured.end() ? std::nullopt : std::optional{sum_up(found->second)};
}

std::optional<ratio> ratio_to(const side& here, const variant& peer, const cell& which) {
    return here.ours != nullptr ? ratio_of(here.ours->measured, peer.measured, which) : std::nullopt;
}

/// The ratio to the peer with the least median in that cell.
std::optional<ratio> ratio_to_fastest(const side& here, const cell& which) {
    const variant* fastest = nullptr;
    double least = 0;
    for (const variant* peer : here.peers)
        if (const auto time = time_of(*peer, which); time && (fastest == nullptr || time->median < least)) {
            fastest = peer;
            least = time->median;
        }
    return fastest != nullptr ? ratio_to(here, *fastest, which) : std::nullopt;
}

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

void print_table(const side& here, const std::string& work, unsigned long threads, const task& what, std::FILE* out) {
    std::fprintf(out, "\n%s\n%6s", title(work, threads, here.how).c_str(), "size");
    if (here.ours != nullptr)
        std::fprintf(out, "%14s", here.ours->name.c_str());
    for (const variant* peer : here.peers)
        std::fprintf(out, "%14s%7s", peer->name.c_str(), here.ours != nullptr ? "ratio" : "");
    std::fputc('\n', out);
    for (const unsigned long size : what.sizes) {
        const cell which{work, static_cast<unsigned>(threads), size};
        std::fprintf(out, "%6lu", size);
        if (here.ours != nullptr)
            print_time(*here.ours, which, out);
        for (const variant* peer : here.peers) {
            print_time(*peer, which, out);
            std::fprintf(out, "%7s", here.ours != nullptr ? text_of(ratio_to(here, *peer, which)).c_str() : "");
        }
        std::fputc('\n', out);
    }
}

/// Calls `visit` for each cell of the task that fits `work` and `threads`; "" and 0 fit all.
void for_each_cell(const task& what, const std::string& work, unsigned long threads,
                   const std::function<void(const cell&)>& visit) {
    for (const std::string& name : what.works)
        for (const unsigned long count : what.threads)
            for (const unsigned long size : what.sizes)
                if ((work.empty() || work == name) && (threads == 0 || threads == count))
                    visit({name, static_cast<unsigned>(count), size});
}

std::string text_of(const geometric_mean& mean) {
    const auto value = mean.value();
    char text[48];
    if (!value)
        return mean.left_out() > 0 ? "noisy" : "-";
    std::snprintf(text, sizeof text, "%.2f", *value);
    return std::string{text} + (mean.left_out() > 0 ? " (-" + std::to_string(mean.left_out()) + ")" : "");
}

void print_mean_row(const side& here, const task& what, const std::string& work, unsigned long threads,
                    std::FILE* out) {
    std::fprintf(out, "%-30s",
                 work.empty() ? (std::string{"all, "} + name_of(here.how)).c_str()
                              : title(work, threads, here.how).c_str());
    for (const variant* peer : here.peers) {
        geometric_mean mean;
        for_each_cell(what, work, threads, [&](const cell& which) { mean.add(ratio_to(here, *peer, which)); });
        std::fprintf(out, "%14s", text_of(mean).c_str());
    }
    geometric_mean mean;
    for_each_cell(what, work, threads, [&](const cell& which) { mean.add(ratio_to_fastest(here, which)); });
    std::fprintf(out, "%14s\n", text_of(mean).c_str());
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

void print_tables(const std::vector<variant>& all, const task& what, std::FILE* out) {
    std::fprintf(
        out, "\nNanoseconds for one allocation with its free: median, and the spread (largest minus smallest round) in "
             "per cent of it.\nratio = allot / peer, below 1 if allot is faster; noisy = the ratio is smaller than its "
             "own spread over the rounds.\n");
    for (const side& here : sides(all))
        for (const std::string& work : what.works)
            for (const unsigned long threads : what.threads)
                print_table(here, work, threads, what, out);
}

void print_means(const std::vector<variant>& all, const task& what, std::FILE* out) {
    for (const side& here : sides(all)) {
        if (here.ours == nullptr || here.peers.empty())
            continue;
        std::fprintf(out, "\nGeometric means of allot / peer; (-N) = without N noisy cells\n%-30s", "");
        for (const variant* peer : here.peers)
            std::fprintf(out, "%14s", peer->name.c_str());
        std::fprintf(out, "%14s\n", "fastest*");
        for (const std::string& work : what.works)
            for (const unsigned long threads : what.threads)
                print_mean_row(here, what, work, threads, out);
        print_mean_row(here, what, "", 0, out);
        std::fprintf(out, "* the peer with the least median in each cell\n");
    }
}

void print_bar(const std::vector<variant>& all, const task& what, unsigned long size_max, std::FILE* out) {
    for (const side& here : sides(all)) {
        const auto glibc = std::find_if(here.peers.begin(), here.peers.end(),
                                        [](const variant* peer) { return peer->name == "glibc"; });
        if (here.ours == nullptr || glibc == here.peers.end())
            continue;
        std::size_t holds = 0;
        std::size_t cells = 0;
        std::size_t noisy = 0;
        double worst = 0;
        cell where;
        for_each_cell(what, "", 0, [&](const cell& which) {
            const auto found = ratio_to(here, **glibc, which);
            if (which.size > size_max || !found)
                return;
            ++cells;
            noisy += found->may_be_printed() ? 0 : 1;
            if (!found->may_be_printed())
                return;
            holds += found->median <= 1 ? 1 : 0;
            if (found->median > worst) {
                worst = found->median;
                where = which;
            }
        });
        std::fprintf(out, "\n%s, up to %lu B: not slower than glibc in %zu of %zu cells, noisy in %zu",
                     name_of(here.how), size_max, holds, cells, noisy);
        if (worst > 0)
            std::fprintf(out, "; worst %.2f (%s, %lu B)", worst, title(where.work, where.threads, here.how).c_str(),
                         where.size);
        std::fputc('\n', out);
    }
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
        std::vector<const variant*> everyone = here.peers;
        if (here.ours != nullptr)
            everyone.insert(everyone.begin(), here.ours);
        for (const variant* who : everyone)
            for (const auto& [which, rounds] : who->measured) {
                for (std::size_t round = 0; round < rounds.size(); ++round)
                    std::fprintf(raw.row(*who, which), "%zu,%.4f\n", round + 1, rounds[round]);
                const figure time = sum_up(rounds);
                std::fprintf(medians.row(*who, which), "%.4f,%.4f,%.4f\n", time.median, time.least, time.most);
                if (const auto found = who->ours ? std::nullopt : ratio_to(here, *who, which))
                    std::fprintf(ratios.row(*who, which), "%.4f,%.4f,%.4f,%d\n", found->median, found->least,
                                 found->most, found->may_be_printed() ? 1 : 0);
            }
    }
    return "";
}

} // namespace allot_bench
