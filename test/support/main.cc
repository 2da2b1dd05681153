// SPDX-License-Identifier: MIT
//
// main: GoogleTest's main with one more option, `--layer NAME`, that runs the cases of the folder test/NAME only.
//
// Idea.        A case knows its source file, so the folders need no lists that could fall behind the sources.
// Concurrency. one thread.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <string>

namespace {

bool is_in_folder(const testing::TestSuite& suite, int index, const std::string& folder) {
    const char* const file = suite.GetTestInfo(index)->file();
    return file != nullptr && std::strstr(file, folder.c_str()) != nullptr;
}

/// A GoogleTest filter that names every case of test/`layer`; empty if there is none.
std::string filter_of(const std::string& layer) {
    const std::string folder = "test/" + layer + "/";
    const testing::UnitTest& all = *testing::UnitTest::GetInstance();
    std::string filter;
    for (int s = 0; s < all.total_test_suite_count(); ++s) {
        const testing::TestSuite& suite = *all.GetTestSuite(s);
        for (int t = 0; t < suite.total_test_count(); ++t)
            if (is_in_folder(suite, t, folder))
                filter += std::string(suite.name()) + "." + suite.GetTestInfo(t)->name() + ":";
    }
    return filter;
}

} // namespace

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    if (argc == 3 && std::strcmp(argv[1], "--layer") == 0) {
        const std::string filter = filter_of(argv[2]);
        if (filter.empty()) {
            std::fprintf(stderr, "allot_tests: no test in test/%s\n", argv[2]);
            return 2;
        }
        // A filter of exclusions alone, "-CASE:CASE", still holds; the one case that a death test's child runs does too.
        const std::string given = testing::GTEST_FLAG(filter);
        if (given.find('*') != std::string::npos || given.starts_with('-'))
            testing::GTEST_FLAG(filter) = filter + (given.starts_with('-') ? given : "");
    } else if (argc != 1) {
        std::fprintf(stderr, "allot_tests: unknown option '%s'; use --layer NAME or GoogleTest's own\n", argv[1]);
        return 2;
    }
    return RUN_ALL_TESTS();
}
