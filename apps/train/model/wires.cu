// The kernels of every wire for a GPU, which nvcc compiles where PCOMP_CUDA is on.
#include <pcomp/cuda.hpp>

#include "wire_list.hpp"

namespace {

[[maybe_unused]] const bool added = [] {
  cifar::for_each_wire([](const char*, auto wire) { PCOMP_GPU_KERNELS(wire); });
  return true;
}();

}  // namespace
