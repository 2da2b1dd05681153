# SPDX-License-Identifier: MIT
#
# AllotInstall: headers, libraries, the CMake package and allot.pc. The installed tree can be moved as a whole.

if(NOT ALLOT_INSTALL)
    return()
endif()
include(CMakePackageConfigHelpers)

set(targets allot allot_static)
if(TARGET allot_malloc)
    list(APPEND targets allot_malloc)
endif()
install(
    TARGETS ${targets}
    EXPORT allotTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(
    DIRECTORY ${PROJECT_SOURCE_DIR}/include/allot
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    FILES_MATCHING
    PATTERN "*.h"
    PATTERN "*.hpp")

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/allot)
install(EXPORT allotTargets NAMESPACE allot:: DESTINATION ${package_folder})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/allotConfig.cmake.in allotConfig.cmake
                              INSTALL_DESTINATION ${package_folder})
# Below 1.0 a minor version may break the interface.
write_basic_package_version_file(allotConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/allotConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/allotConfigVersion.cmake
        DESTINATION ${package_folder})

# The prefix is found from where allot.pc lies: right for every --prefix, and after a move.
file(RELATIVE_PATH ALLOT_PC_TO_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
string(REGEX REPLACE "/$" "" ALLOT_PC_TO_PREFIX "${ALLOT_PC_TO_PREFIX}")
configure_file(${CMAKE_CURRENT_LIST_DIR}/allot.pc.in allot.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/allot.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
