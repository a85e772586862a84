# Gloo's headers: Gloo::headers, with the definitions that enable Gloo in c10d's headers. LibTorch contains Gloo itself.
find_path(Gloo_INCLUDE_DIR gloo/transport/device.h)
mark_as_advanced(Gloo_INCLUDE_DIR)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Gloo
  REQUIRED_VARS Gloo_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "install Debian's libgloo-dev, or add Gloo's folder to CMAKE_PREFIX_PATH")
if(Gloo_FOUND AND NOT TARGET Gloo::headers)
  add_library(Gloo::headers INTERFACE IMPORTED)
  set_target_properties(Gloo::headers PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES ${Gloo_INCLUDE_DIR}
    INTERFACE_COMPILE_DEFINITIONS "USE_DISTRIBUTED;USE_C10D_GLOO")
endif()
