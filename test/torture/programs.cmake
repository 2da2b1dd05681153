# SPDX-License-Identifier: MIT
#
# Torture programs: every NAME.cc here is a torture_NAME beside allot_tests. liburcu's memb flavour (liburcu-dev) is a second
# implementation that torture_rcu runs over; without it that half is left out.

find_path(liburcu_include urcu/urcu-memb.h)
find_library(liburcu_library urcu-memb)
find_library(liburcu_common_library urcu-common)
set(have_liburcu 0)
if(ALLOT_SANITIZE STREQUAL "thread")
    # The packaged library is not instrumented, so what it orders would be reported as races.
    message(STATUS "allot: under the thread sanitizer torture_rcu runs over this library's RCU alone")
elseif(liburcu_include AND liburcu_library AND liburcu_common_library)
    set(have_liburcu 1)
else()
    message(STATUS "allot: liburcu is missing (liburcu-dev), torture_rcu runs over this library's RCU alone")
endif()

foreach(source IN LISTS torture_sources)
    get_filename_component(name ${source} NAME_WE)
    add_executable(torture_${name} ${source})
    target_link_libraries(torture_${name} PRIVATE allot_test_options)
    allot_warnings(torture_${name})
    add_test(NAME torture.${name} COMMAND torture_${name} --seconds 5)
    set_tests_properties(torture.${name} PROPERTIES LABELS torture TIMEOUT 120)
endforeach()

if(TARGET torture_rcu)
    target_compile_definitions(torture_rcu PRIVATE ALLOT_HAVE_LIBURCU=${have_liburcu})
    if(have_liburcu)
        target_link_libraries(torture_rcu PRIVATE ${liburcu_library} ${liburcu_common_library})
    endif()
endif()
# The library's own calls of pthread_create go through the program, which lets them fail.
if(TARGET torture_faults)
    target_link_options(torture_faults PRIVATE -Wl,--wrap=pthread_create)
endif()
