# Google Highway's headers: Highway::headers. pcomp dispatches on the instruction set itself, so no library is linked.
find_path(Highway_INCLUDE_DIR hwy/highway.h)
mark_as_advanced(Highway_INCLUDE_DIR)
if(Highway_INCLUDE_DIR)
  file(STRINGS ${Highway_INCLUDE_DIR}/hwy/highway.h Highway_VERSION REGEX "^#define HWY_(MAJOR|MINOR|PATCH) [0-9]+")
  list(TRANSFORM Highway_VERSION REPLACE "[^0-9]+" "")
  list(JOIN Highway_VERSION "." Highway_VERSION)
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Highway
  REQUIRED_VARS Highway_INCLUDE_DIR VERSION_VAR Highway_VERSION
  REASON_FAILURE_MESSAGE "install Debian's libhwy-dev, or add Highway's folder to CMAKE_PREFIX_PATH")
if(Highway_FOUND AND NOT TARGET Highway::headers)
  add_library(Highway::headers INTERFACE IMPORTED)
  set_target_properties(Highway::headers PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${Highway_INCLUDE_DIR})
endif()
