# Settings for this project's own examples, benches and tests; users of pcomp do not inherit them.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
find_program(ccache ccache)
if(ccache AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${ccache})
endif()
set(CMAKE_CXX_EXTENSIONS OFF)

add_library(pcomp_warnings INTERFACE)
target_compile_options(pcomp_warnings INTERFACE -Wall -Wextra -Wconversion -Wshadow -Wpedantic
                                                $<$<BOOL:${PCOMP_WERROR}>:-Werror>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(pcomp_warnings INTERFACE -Wno-restrict)  # false positives in g++ 12: GCC bug 105651
endif()

# Adds one of this project's programs: pcomp_program(name core|pcomp|compiled sources...)
function(pcomp_program name library)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE pcomp_${library} pcomp_warnings)
endfunction()

# torch/torch.h, read once for all programs with the same optimisation; headers/ shows that pcomp's headers include what
# they need without it.
function(pcomp_torch_headers target)
  if(NOT PCOMP_PCH)
    return()
  endif()
  string(MAKE_C_IDENTIFIER "torch_headers${ARGN}" shared)
  if(NOT TARGET ${shared})
    file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/${shared}.cpp CONTENT "\n")
    add_library(${shared} OBJECT ${PROJECT_BINARY_DIR}/${shared}.cpp)
    target_link_libraries(${shared} PRIVATE pcomp_compiled pcomp_warnings)
    target_compile_options(${shared} PRIVATE ${ARGN})
    target_precompile_headers(${shared} PRIVATE <torch/torch.h>)
  endif()
  target_precompile_headers(${target} REUSE_FROM ${shared})
endfunction()

# A unit with LibTorch costs far more for its headers and the engine than for its own lines, so several are one unit.
function(pcomp_unity target size)
  if(PCOMP_UNITY)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${size})
  endif()
endfunction()
