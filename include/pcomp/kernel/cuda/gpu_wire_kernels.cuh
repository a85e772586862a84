#pragma once
#include "../../wire/delta.hpp"
#include "../gpu_wire_kernels.hpp"
#include "staging.cuh"
#include "wires.cuh"

namespace pcomp::kernel {

/// The table of the wire W for GPUs, one object per program.
template <codec::AnyWire W>
const GpuWireKernels& gpu_wire_kernels(W = {}) {
  using V = detail::as_wire<W>;
  using detail::gpu::DeviceInput, detail::gpu::DeviceOutput, detail::gpu::Scratch;
  static constexpr GpuWireKernels ops{
      name(V{}),
      [](const Extents& s) { return cuda::workspace_bytes(V{}, s); },
      [](const TensorView& x, const Extents& s, std::span<std::byte> payload) {
        const Scratch scratch(x.gpu, cuda::workspace_bytes(V{}, s));
        DeviceOutput p(x.gpu, payload);
        cuda::encode(V{}, x, s, p.bytes(), scratch.bytes());
        p.finish();
      },
      [](std::span<const std::byte> payload, const Extents& s, const MutableTensorView& y) {
        const Scratch scratch(y.gpu, cuda::workspace_bytes(V{}, s));
        const DeviceInput p(y.gpu, payload);
        cuda::decode(V{}, p.bytes(), s, y, scratch.bytes());
      },
      [](const TensorView& dy, const Extents& s, std::span<const std::byte> payload,
         std::span<std::byte> grad_payload) {
        const Scratch scratch(dy.gpu, cuda::workspace_bytes(V{}, s));
        const DeviceInput p(dy.gpu, payload);
        DeviceOutput g(dy.gpu, grad_payload);
        cuda::encode_grad(V{}, dy, s, p.bytes(), g.bytes(), scratch.bytes());
        g.finish();
      },
      [](std::span<const std::byte> grad_payload, const Extents& s, std::span<const std::byte> payload,
         const MutableTensorView& dx) {
        const Scratch scratch(dx.gpu, cuda::workspace_bytes(V{}, s));
        const DeviceInput g(dx.gpu, grad_payload), p(dx.gpu, payload);
        cuda::decode_grad(V{}, g.bytes(), s, p.bytes(), dx, scratch.bytes());
      }};
  return ops;
}

}  // namespace pcomp::kernel

namespace pcomp::detail {

/// Adds the kernels that a boundary of wire W calls: with feedback, those of its messages, which have no memory.
template <codec::AnyWire W>
bool add_gpu_wire(W) {
  using V = as_wire<W>;
  using F = typename V::Forward;
  using G = typename V::Backward;
  if constexpr (!Form<F>::feeds && !Form<G>::feeds) {
    return add_gpu_wire_kernels(kernel::gpu_wire_kernels(W{}));
  } else {
    bool added = add_gpu_wire_kernels(kernel::gpu_wire_kernels(wire_of(Stateless<F>{}, Stateless<G>{})));
    if constexpr (Form<F>::memory == codec::Memory::samples || Form<G>::memory == codec::Memory::samples)
      added = add_gpu_wire(wire_of(first_of<F>(), first_of<G>())) && added;
    if constexpr (Form<G>::memory == codec::Memory::residual && (Form<F>::selects || Form<F>::shapes))
      added = add_gpu_wire_kernels(kernel::gpu_wire_kernels(Wire<Stateless<F>{}, Raw>{})) && added;
    return added;
  }
}

}  // namespace pcomp::detail

/// Adds CUDA kernels for the given wires, each a chain or a Wire, to this program: at namespace scope, in a unit that
/// nvcc compiles. Wires of the same spelling in several units share one table.
#define PCOMP_GPU_KERNELS(...)                                                                          \
  [[maybe_unused]] static const bool PCOMP_GPU_NAME(pcomp_gpu_kernels_, __LINE__) = [](auto... wires) { \
    return (::pcomp::detail::add_gpu_wire(wires) && ...);                                               \
  }(__VA_ARGS__)
#define PCOMP_GPU_NAME(a, b) PCOMP_GPU_NAME_(a, b)
#define PCOMP_GPU_NAME_(a, b) a##b
