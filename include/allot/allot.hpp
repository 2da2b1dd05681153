// SPDX-License-Identifier: MIT
//
// allot.hpp: the C++ interface of allot, memory control groups for the inside of a process.
//
//   bytes         4_KiB, 64_MiB, 2_GiB; unlimited, keep
//   error         limit_exceeded, which names the group, its usage, its limit and the request
//   memory        malloc and its family, ambient_resource(), allocator<T>
//   charge        charge: memory from elsewhere, counted as a group's
//   group         group, unique_group; root(), current(), find(), owner_of()
//   scope         scope, set_thread_group(), bind()
//   object_cache  object_cache<T>: a slab cache of one type
//   control       quiesce(), verify(), snapshot(), purge()
//
// A thin layer over allot.h, all of it inline: whatever throws or knows the standard library is compiled into the program that
// includes it, and the library itself links to nothing but libc. Names like allot::malloc and allot::stat are also names of
// libc, so write `using namespace allot::literals;` and spell the rest out.
#pragma once

#include <allot/allot.h>
#include <allot/bytes.hpp>
#include <allot/charge.hpp>
#include <allot/control.hpp>
#include <allot/error.hpp>
#include <allot/group.hpp>
#include <allot/memory.hpp>
#include <allot/object_cache.hpp>
#include <allot/scope.hpp>
