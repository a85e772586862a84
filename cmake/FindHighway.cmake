# Google Highway's headers: Highway::headers. pcomp dispatches on the instruction set itself, so no library is linked.
#
# Taken from the target hwy or hwy::hwy if the project has one (FetchContent, add_subdirectory, find_package(hwy)), else
# searched for in Highway_ROOT, CMAKE_PREFIX_PATH and the system, also as an installed package hwy.
set(Highway_TARGET)
foreach(target hwy::hwy hwy)
  if(TARGET ${target} AND NOT Highway_TARGET)
    set(Highway_TARGET ${target})
  endif()
endforeach()
if(NOT Highway_TARGET)
  find_path(Highway_INCLUDE_DIR hwy/highway.h)
  mark_as_advanced(Highway_INCLUDE_DIR)
  if(NOT Highway_INCLUDE_DIR)
    find_package(hwy CONFIG QUIET)
    if(TARGET hwy::hwy)
      set(Highway_TARGET hwy::hwy)
    endif()
  endif()
endif()

# The folder with hwy/highway.h, to read the version in: a target's include folders, or where its project stands.
set(Highway_headers ${Highway_INCLUDE_DIR})
if(Highway_TARGET)
  get_target_property(aliased ${Highway_TARGET} ALIASED_TARGET)
  if(aliased)
    set(Highway_TARGET ${aliased})
  endif()
  get_target_property(folders ${Highway_TARGET} INTERFACE_INCLUDE_DIRECTORIES)
  get_target_property(source ${Highway_TARGET} SOURCE_DIR)
  set(Highway_headers)
  foreach(folder ${folders} ${source})
    string(REGEX REPLACE "^\\$<BUILD_INTERFACE:(.*)>$" "\\1" folder "${folder}")
    if(NOT Highway_headers AND EXISTS "${folder}/hwy/highway.h")
      set(Highway_headers ${folder})
    endif()
  endforeach()
endif()
set(Highway_VERSION)
if(Highway_headers)
  foreach(header highway.h base.h)  # the version stands in one or the other
    if(EXISTS ${Highway_headers}/hwy/${header} AND NOT Highway_VERSION)
      file(STRINGS ${Highway_headers}/hwy/${header} Highway_VERSION REGEX "^#define HWY_(MAJOR|MINOR|PATCH) [0-9]+")
      list(TRANSFORM Highway_VERSION REPLACE "[^0-9]+" "")
      list(JOIN Highway_VERSION "." Highway_VERSION)
    endif()
  endforeach()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Highway
  REQUIRED_VARS Highway_headers VERSION_VAR Highway_VERSION
  REASON_FAILURE_MESSAGE "install Debian's libhwy-dev, add Highway's folder to CMAKE_PREFIX_PATH, or make its target hwy available before pcomp")
if(Highway_FOUND AND NOT TARGET Highway::headers)
  # Imported, so that a compiler takes the folder for a system's and does not warn of what is in it.
  add_library(Highway::headers INTERFACE IMPORTED)
  set_target_properties(Highway::headers PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${Highway_headers}")
endif()
