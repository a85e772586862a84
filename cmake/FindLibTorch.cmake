# LibTorch's libraries: LibTorch::cpu links only libtorch_cpu and libc10; LibTorch::cuda, if LibTorch has CUDA, adds
# libtorch_cuda and libc10_cuda.
#
# Why not find_package(Torch): if the wheel was built with CUDA, its own package file requires a CUDA toolkit, and
# fails while detecting it.
#
# Searched for in LibTorch_ROOT, CMAKE_PREFIX_PATH (a LibTorch folder or torch.utils.cmake_prefix_path), and the
# torch that `python3` would import.
set(hints)
foreach(prefix ${CMAKE_PREFIX_PATH})
  list(APPEND hints ${prefix} ${prefix}/../..)
endforeach()
if(NOT LibTorch_ROOT)
  execute_process(
    COMMAND python3 -c "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
    OUTPUT_VARIABLE python_torch OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  list(APPEND hints ${python_torch})
endif()

find_path(LibTorch_INCLUDE_DIR torch/csrc/api/include/torch/torch.h HINTS ${hints} PATH_SUFFIXES include)
find_library(LibTorch_CPU_LIBRARY torch_cpu HINTS ${hints} PATH_SUFFIXES lib)
find_library(LibTorch_C10_LIBRARY c10 HINTS ${hints} PATH_SUFFIXES lib)
find_library(LibTorch_CUDA_LIBRARY torch_cuda HINTS ${hints} PATH_SUFFIXES lib)
find_library(LibTorch_C10_CUDA_LIBRARY c10_cuda HINTS ${hints} PATH_SUFFIXES lib)
mark_as_advanced(LibTorch_INCLUDE_DIR LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_CUDA_LIBRARY
                 LibTorch_C10_CUDA_LIBRARY)

if(LibTorch_INCLUDE_DIR)
  foreach(version_header torch/headeronly/version.h torch/csrc/api/include/torch/version.h)
    if(EXISTS ${LibTorch_INCLUDE_DIR}/${version_header})
      file(STRINGS ${LibTorch_INCLUDE_DIR}/${version_header} lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
      string(REGEX REPLACE "[^0-9;]" "" numbers "${lines}")
      string(REPLACE ";" "." LibTorch_VERSION "${numbers}")
      if(LibTorch_VERSION)
        break()
      endif()
    endif()
  endforeach()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_INCLUDE_DIR
  VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "give its folder as -DLibTorch_ROOT=..., or let ./dev setup install it")

if(LibTorch_FOUND AND NOT TARGET LibTorch::cpu)
  add_library(LibTorch::c10 SHARED IMPORTED)
  set_target_properties(LibTorch::c10 PROPERTIES IMPORTED_LOCATION ${LibTorch_C10_LIBRARY})
  add_library(LibTorch::cpu SHARED IMPORTED)
  set_target_properties(LibTorch::cpu PROPERTIES
    IMPORTED_LOCATION ${LibTorch_CPU_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES "${LibTorch_INCLUDE_DIR};${LibTorch_INCLUDE_DIR}/torch/csrc/api/include"
    INTERFACE_COMPILE_FEATURES cxx_std_20
    INTERFACE_LINK_LIBRARIES LibTorch::c10)
  # Operators register themselves when the library loads, so it must stay linked even if none of its symbols is used.
  set_target_properties(LibTorch::cpu PROPERTIES INTERFACE_LINK_OPTIONS "LINKER:--no-as-needed")
endif()

if(LibTorch_FOUND AND LibTorch_CUDA_LIBRARY AND LibTorch_C10_CUDA_LIBRARY AND NOT TARGET LibTorch::cuda)
  add_library(LibTorch::cuda INTERFACE IMPORTED)
  cmake_path(GET LibTorch_CUDA_LIBRARY PARENT_PATH libraries)
  # It registers operators too. The libraries' own dependencies are resolved when they are loaded, not at link time.
  set_target_properties(LibTorch::cuda PROPERTIES
    INTERFACE_LINK_LIBRARIES "LibTorch::cpu;${LibTorch_C10_CUDA_LIBRARY};-Wl,--no-as-needed;${LibTorch_CUDA_LIBRARY}"
    INTERFACE_LINK_OPTIONS "LINKER:-rpath,${libraries};LINKER:--allow-shlib-undefined")
endif()
