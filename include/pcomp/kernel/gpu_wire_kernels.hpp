#pragma once
#include <mutex>
#include <vector>

#include "codec_calls.hpp"

namespace pcomp::kernel {

/// One wire's CUDA kernels as a table of functions, filled in by a translation unit that nvcc compiles; see
/// kernel/cuda/gpu_wire_kernels.cuh and docs/gpu.md.
///
/// Law: the bytes and values of the CPU's WireKernels of this name. With payloads in device memory a call enqueues all
///   its work on the tensor's stream and never waits; with payloads in host memory it waits until they are copied.
/// Bytes: `workspace` is the most scratch that any of the four needs, from the tensor's own allocator.
/// Errors: as those functions, and what CUDA reports.
/// Example: docs/gpu.md
struct GpuWireKernels {
  codec::FixedString<> name;
  std::size_t (*workspace)(const Extents&);
  void (*encode)(const TensorView&, const Extents&, std::span<std::byte>);
  void (*decode)(std::span<const std::byte>, const Extents&, const MutableTensorView&);
  void (*encode_grad)(const TensorView&, const Extents&, std::span<const std::byte>, std::span<std::byte>);
  void (*decode_grad)(std::span<const std::byte>, const Extents&, std::span<const std::byte>,
                      const MutableTensorView&);
};

}  // namespace pcomp::kernel

namespace pcomp::detail {

/// The tables of this program; filled before main.
struct GpuRegistry {
  std::mutex mutex;
  std::vector<const kernel::GpuWireKernels*> all;
  static GpuRegistry& get() {
    static GpuRegistry r;
    return r;
  }
};

inline bool add_gpu_wire_kernels(const kernel::GpuWireKernels& ops) {
  GpuRegistry& r = GpuRegistry::get();
  const std::lock_guard lock(r.mutex);
  r.all.push_back(&ops);
  return true;
}

/// The table of a wire, or an error that says what to do.
inline const kernel::GpuWireKernels& gpu_wire_kernels_of(const codec::FixedString<>& name) {
  GpuRegistry& r = GpuRegistry::get();
  const std::lock_guard lock(r.mutex);
  for (const kernel::GpuWireKernels* ops : r.all)
    if (ops->name == name.view()) return *ops;
  throw Error(
      "pcomp: this program has no CUDA kernels for the wire " + std::string(name.view()) +
      ": add PCOMP_GPU_KERNELS with that wire, as the program spells it, to a unit that nvcc compiles, see "
      "docs/gpu.md");
}

}  // namespace pcomp::detail
