# header_library(TARGET PACKAGE HEADER REPOSITORY TAG): the imported target of a header-only package. Imported targets are
# visible only in their folder, so each folder that uses one asks for it.
function(header_library target package header repository tag)
  if(NOT TARGET ${target})
    find_package(${package} CONFIG QUIET)
  endif()
  find_path(${package}_INCLUDE_DIR ${header})
  mark_as_advanced(${package}_INCLUDE_DIR)
  if(TARGET ${target})
  elseif(${package}_INCLUDE_DIR)  # only the headers, as ./dev gpu-pack gathers them
    add_library(${target} INTERFACE IMPORTED)
    target_include_directories(${target} INTERFACE ${${package}_INCLUDE_DIR})
  else()
    include(FetchContent)
    FetchContent_Declare(${package} GIT_REPOSITORY ${repository} GIT_TAG ${tag})
    FetchContent_MakeAvailable(${package})
  endif()
endfunction()
