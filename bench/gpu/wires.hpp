#pragma once
#include <pcomp/kernel/gpu_wire_kernels.hpp>

namespace bench {

struct Wire {
  const char* name;
  const pcomp::kernel::GpuWireKernels* ops;
  std::size_t (*bytes)(const pcomp::Extents&);
  std::size_t (*grad_bytes)(const pcomp::Extents&);
  std::size_t (*index_bytes)(const pcomp::Extents&);
};
const std::vector<Wire>& wires();

}  // namespace bench
