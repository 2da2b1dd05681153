# SPDX-License-Identifier: MIT
#
# AllotOptions: options, build type, sanitizers and warnings; what every folder of this project shares.

option(ALLOT_DEBUG "Asserts, poisoning, lock checks, test points and fault injection in the library" OFF)
option(ALLOT_BUILD_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(ALLOT_BUILD_TOOLS "Build the command line tools" ${PROJECT_IS_TOP_LEVEL})
option(ALLOT_BUILD_EXAMPLES "Build the examples" ${PROJECT_IS_TOP_LEVEL})
option(ALLOT_BUILD_BENCH "Build the benchmarks" ${PROJECT_IS_TOP_LEVEL})
option(ALLOT_INSTALL "Generate the install rules" ${PROJECT_IS_TOP_LEVEL})
option(ALLOT_WERROR "Treat warnings as errors" ${PROJECT_IS_TOP_LEVEL})
set(ALLOT_SANITIZE "" CACHE STRING "Sanitizers: empty, 'address,undefined' or 'thread'")

if(PROJECT_IS_TOP_LEVEL)
    if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
        set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE) # -O2 -g -DNDEBUG
    endif()
    set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
endif()

# Everything is C++20 without GNU extensions; per folder, so that a project around this one keeps its own choice.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)

if(ALLOT_SANITIZE)
    if(NOT ALLOT_SANITIZE MATCHES "^(address|undefined|address,undefined|thread)$")
        message(FATAL_ERROR "ALLOT_SANITIZE is '${ALLOT_SANITIZE}'; it can be 'address,undefined' or 'thread'")
    endif()
    # There entering a read-side section is a seq_cst store, which keeps later loads behind it on this machine only (src/sync/rcu.hpp).
    if(ALLOT_SANITIZE STREQUAL "thread" AND NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
        message(FATAL_ERROR "the thread sanitizer's build is for x86-64, not for ${CMAKE_SYSTEM_PROCESSOR}")
    endif()
    add_compile_options(-fsanitize=${ALLOT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${ALLOT_SANITIZE})
endif()

# __FILE__ in messages is relative, so a binary does not hold the paths of the machine that built it.
add_compile_options(-fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=)

# allot_warnings(TARGET [STRICT]): the project's warnings; STRICT adds those for src/.
function(allot_warnings target)
    target_compile_options(${target} PRIVATE -Wall -Wextra)
    if(ALLOT_WERROR)
        target_compile_options(${target} PRIVATE -Werror)
    endif()
    if("STRICT" IN_LIST ARGN)
        target_compile_options(${target} PRIVATE -Wconversion -Wsign-conversion -Wshadow)
        if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
            target_compile_options(${target} PRIVATE -Wthread-safety -Werror=thread-safety)
        endif()
    endif()
endfunction()
