# NCCL and CUDA for c10d's process group: Nccl::headers enables it, Nccl::torch also links LibTorch's CUDA libraries.
find_package(CUDAToolkit QUIET)
find_path(Nccl_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
cmake_path(GET LibTorch_CPU_LIBRARY PARENT_PATH torch_libraries)
find_library(Nccl_TORCH_CUDA torch_cuda HINTS ${torch_libraries})
find_library(Nccl_C10_CUDA c10_cuda HINTS ${torch_libraries})
mark_as_advanced(Nccl_INCLUDE_DIR Nccl_TORCH_CUDA Nccl_C10_CUDA)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Nccl
  REQUIRED_VARS CUDAToolkit_FOUND Nccl_INCLUDE_DIR Nccl_TORCH_CUDA Nccl_C10_CUDA
  REASON_FAILURE_MESSAGE "it needs a CUDA toolkit, nccl.h, and a LibTorch that was built with CUDA")
if(Nccl_FOUND AND NOT TARGET Nccl::headers)
  add_library(Nccl::headers INTERFACE IMPORTED)
  set_target_properties(Nccl::headers PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${Nccl_INCLUDE_DIR};${CUDAToolkit_INCLUDE_DIRS}"
    INTERFACE_COMPILE_DEFINITIONS "USE_DISTRIBUTED;USE_C10D_NCCL")
  add_library(Nccl::torch INTERFACE IMPORTED)
  target_link_libraries(Nccl::torch INTERFACE Nccl::headers CUDA::cudart ${Nccl_TORCH_CUDA} ${Nccl_C10_CUDA})
endif()
