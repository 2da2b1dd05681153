# SPDX-License-Identifier: MIT
#
# AllotGTest: the target GTest::gtest, from an installed package, or for another machine from GoogleTest's own source, which
# libgtest-dev brings along. Without either there is no such target.

find_package(GTest QUIET)
if(TARGET GTest::gtest OR NOT CMAKE_CROSSCOMPILING)
    return()
endif()

set(ALLOT_GTEST_SOURCE /usr/src/googletest/googletest CACHE PATH "GoogleTest's source, for a build for another machine")
if(NOT EXISTS ${ALLOT_GTEST_SOURCE}/src/gtest-all.cc)
    return()
endif()
find_package(Threads REQUIRED)
add_library(allot_gtest STATIC ${ALLOT_GTEST_SOURCE}/src/gtest-all.cc)
target_include_directories(allot_gtest PRIVATE ${ALLOT_GTEST_SOURCE})
target_include_directories(allot_gtest SYSTEM PUBLIC ${ALLOT_GTEST_SOURCE}/include)
target_link_libraries(allot_gtest PUBLIC Threads::Threads)
add_library(GTest::gtest ALIAS allot_gtest)
