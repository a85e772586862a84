#pragma once
#include "encode.hpp"
#include "gpu_ops.hpp"
#include "gradient.hpp"

namespace pcomp {

/// One wire as a table of plain functions: all that the executor knows of it, so that a new wire costs its
/// kernels and not another engine.
///
/// Law: each entry is the free function of the same name, for the wire in `name`; where the tensor is on a
///   GPU, that of the program's GpuOps of this name, with payloads on the device or the host.
/// Bytes: `bytes`, `grad_bytes` and `index_bytes` of a shape.
/// Errors: as those functions; for a GPU's tensor where the program has no such GpuOps.
/// Example: examples/100-mobilenetv2-cifar10
struct BoundaryOps {
  Name name;
  std::size_t (*bytes)(const Extents&);
  std::size_t (*grad_bytes)(const Extents&);
  std::size_t (*index_bytes)(const Extents&);
  void (*encode)(In, const Extents&, std::span<std::byte>, ParallelFor);
  void (*decode)(std::span<const std::byte>, const Extents&, Out, ParallelFor);
  void (*encode_grad)(In, const Extents&, std::span<const std::byte>, std::span<std::byte>, ParallelFor);
  void (*decode_grad)(std::span<const std::byte>, const Extents&, std::span<const std::byte>, Out,
                      ParallelFor);
};

/// The table of the wire W, one object in a program.
template <AnyWire W>
const BoundaryOps& boundary_ops(W = {}) {
  using V = detail::as_wire<W>;
  static constexpr BoundaryOps ops{
      name(V{}),
      [](const Extents& s) { return wire_bytes(V{}, s); },
      [](const Extents& s) { return grad_wire_bytes(V{}, s); },
      [](const Extents& s) { return index_bytes(V{}, s); },
      [](In x, const Extents& s, std::span<std::byte> p, ParallelFor par) {
        if (x.gpu) return detail::gpu_ops_of(name(V{})).encode(x, s, p);
        encode(V{}, x, s, p, par);
      },
      [](std::span<const std::byte> p, const Extents& s, Out y, ParallelFor par) {
        if (y.gpu) return detail::gpu_ops_of(name(V{})).decode(p, s, y);
        decode(V{}, p, s, y, par);
      },
      [](In dy, const Extents& s, std::span<const std::byte> p, std::span<std::byte> g, ParallelFor par) {
        if (dy.gpu) return detail::gpu_ops_of(name(V{})).encode_grad(dy, s, p, g);
        encode_grad(V{}, dy, s, p, g, par);
      },
      [](std::span<const std::byte> g, const Extents& s, std::span<const std::byte> p, Out dx,
         ParallelFor par) {
        if (dx.gpu) return detail::gpu_ops_of(name(V{})).decode_grad(g, s, p, dx);
        decode_grad(V{}, g, s, p, dx, par);
      }};
  return ops;
}

}  // namespace pcomp
