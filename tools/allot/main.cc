// SPDX-License-Identifier: MIT
//
// allot: the command line. Subcommands parse their options here and do their work in files of their own.
//
// Idea.        Help and version go to stdout with status 0; any mistake is one line on stderr and status 2. What follows the first word
//              that is no option, or "--", is the program's and is not looked at.
// Concurrency. one thread.
#include "program_check.hpp"
#include "run_command.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

/// CLI11 cannot know what a prefix command takes.
class run_formatter : public CLI::Formatter {
  public:
    std::string make_usage(const CLI::App*, std::string) const override {
        return "Usage: allot run [OPTIONS] [--] PROGRAM [ARGUMENTS]\n";
    }
};

void add_run(CLI::App& app, allot::tool::run_options& options) {
    CLI::App* const run =
        app.add_subcommand("run", "Run an unmodified program with its memory in groups, and print them at its end");
    run->formatter(std::make_shared<run_formatter>());
    run->add_option("--max", options.max, "Limit of the whole process, such as 512M; each child process has its own")
        ->type_name("SIZE");
    run->add_option(
           "--group-by", options.group_by,
           "A group for each thread name (default without rules), each calling library, or none (default with rules)")
        ->type_name("thread|library|none");
    run->add_option("--rules", options.rules, "Rules that say which library or thread belongs to which group")
        ->type_name("FILE");
    run->add_flag("--json", options.json, "Print one JSON document instead of the table; with --every one a line");
    run->add_option("--output", options.output, "Where the table goes, instead of stderr")->type_name("FILE");
    run->add_option("--every", options.every_seconds, "Print the table this often while the program runs, too")
        ->type_name("SECONDS");
    run->footer("Exit status: the program's, or 128 + signal; 2 bad use, 126 not executable, 127 not found.\n"
                "The rules file, the environment and the table are explained in docs/preload.md.");
    run->prefix_command();
    run->callback([run, &options] {
        options.command = run->remaining();
        if (!options.command.empty() && options.command.front().starts_with("-"))
            throw CLI::ParseError("no such option: " + options.command.front(), allot::tool::status_bad_use);
    });
}

} // namespace

int main(int argc, char** argv) {
    CLI::App app{"allot: memory control groups for the inside of a process", "allot"};
    app.set_version_flag("--version", "allot " ALLOT_VERSION_TEXT);
    app.set_help_flag("--help,-h", "Print this help and exit");
    app.require_subcommand(1);
    allot::tool::run_options options;
    add_run(app, options);
    try {
        // The parser does not see what stands behind the first "--"; behind a program that "--" is an argument itself.
        char** const end = argv + argc;
        char** const separator = std::find(argv, end, std::string_view("--"));
        app.parse(static_cast<int>(separator - argv), argv);
        if (separator != end)
            options.command.insert(options.command.end(), options.command.empty() ? separator + 1 : separator, end);
        return allot::tool::run_command(options);
    } catch (const CLI::Success& help_or_version) {
        return app.exit(help_or_version);
    } catch (const CLI::ParseError& mistake) {
        std::fprintf(stderr, "allot: %s; see allot --help\n", mistake.what());
        return allot::tool::status_bad_use;
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "allot: %s\n", failure.what());
        return allot::tool::status_bad_use;
    }
}
