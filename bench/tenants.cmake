# SPDX-License-Identifier: MIT
#
# tenants.cmake: a worker for each library that has heaps for requests or tenants; a library that is not installed has none.

# allot_bench_tenants(NAME LIBRARY... [FOLDER...]): the worker of tenants/NAME.hpp, if no LIBRARY and no FOLDER ends in -NOTFOUND.
function(allot_bench_tenants name)
    foreach(needed IN LISTS ARGN)
        if(needed MATCHES "-NOTFOUND$")
            message(STATUS "bench: no heaps of ${name}: not installed")
            return()
        endif()
    endforeach()
    set(target allot_bench_tenants_${name})
    add_executable(${target} tenant_worker.cc)
    target_compile_definitions(${target} PRIVATE ALLOT_BENCH_TENANTS="tenants/${name}.hpp")
    foreach(needed IN LISTS ARGN)
        if(IS_DIRECTORY ${needed})
            target_include_directories(${target} SYSTEM PRIVATE ${needed})
        else()
            target_link_libraries(${target} PRIVATE ${needed})
        endif()
    endforeach()
    allot_warnings(${target})
    add_dependencies(allot_bench ${target})
endfunction()

find_path(ALLOT_BENCH_BOOST_FOLDER boost/pool/pool.hpp)
find_path(ALLOT_BENCH_TALLOC_FOLDER talloc.h)
find_library(ALLOT_BENCH_TALLOC_LIBRARY talloc)
find_path(ALLOT_BENCH_APR_FOLDER apr_pools.h PATH_SUFFIXES apr-1.0 apr-1)
find_library(ALLOT_BENCH_APR_LIBRARY apr-1)
find_path(ALLOT_BENCH_MIMALLOC_FOLDER mimalloc.h PATH_SUFFIXES mimalloc-2.0)
find_library(ALLOT_BENCH_MIMALLOC_LIBRARY mimalloc)
find_path(ALLOT_BENCH_JEMALLOC_FOLDER jemalloc/jemalloc.h)
find_library(ALLOT_BENCH_JEMALLOC_LIBRARY jemalloc)
mark_as_advanced(ALLOT_BENCH_BOOST_FOLDER ALLOT_BENCH_TALLOC_FOLDER ALLOT_BENCH_TALLOC_LIBRARY ALLOT_BENCH_APR_FOLDER
    ALLOT_BENCH_APR_LIBRARY ALLOT_BENCH_MIMALLOC_FOLDER ALLOT_BENCH_MIMALLOC_LIBRARY ALLOT_BENCH_JEMALLOC_FOLDER
    ALLOT_BENCH_JEMALLOC_LIBRARY)

allot_bench_tenants(allot allot::static)
allot_bench_tenants(std)
allot_bench_tenants(boost ${ALLOT_BENCH_BOOST_FOLDER})
allot_bench_tenants(talloc ${ALLOT_BENCH_TALLOC_FOLDER} ${ALLOT_BENCH_TALLOC_LIBRARY})
allot_bench_tenants(apr ${ALLOT_BENCH_APR_FOLDER} ${ALLOT_BENCH_APR_LIBRARY})
allot_bench_tenants(mimalloc ${ALLOT_BENCH_MIMALLOC_FOLDER} ${ALLOT_BENCH_MIMALLOC_LIBRARY})
allot_bench_tenants(jemalloc ${ALLOT_BENCH_JEMALLOC_FOLDER} ${ALLOT_BENCH_JEMALLOC_LIBRARY})
