#pragma once
#include "../wire/delta.hpp"
#include "../wire/verbatim.hpp"
#include "codec_calls.hpp"
#include "gpu_wire_kernels.hpp"

namespace pcomp::kernel {

/// What a boundary remembers in one direction, and whether its coder draws random numbers.
struct Remembers {
  codec::Memory memory = codec::Memory::nothing;
  bool in_bfloat16 = false;
  bool draws = false;
  bool any() const { return memory != codec::Memory::nothing || draws; }
};

/// One wire as a table of functions: all that the executor knows about it, so that a new wire needs its own
/// kernels but not another engine.
///
/// Law: each kernel is the free function of the same name, for the wire `name` without its feedback: it knows nothing
///   of what memory makes of a tensor. For a tensor on a GPU it is the one in the program's GpuWireKernels of this name, with
///   payloads on the device or the host.
/// Bytes: `bytes`, `grad_bytes` and `index_bytes` of a shape.
/// Errors: as those functions; for a tensor on a GPU where the program has no such GpuWireKernels.
/// Example: apps/train
struct WireKernels {
  codec::FixedString<> name;
  std::size_t (*bytes)(const Extents&);
  std::size_t (*grad_bytes)(const Extents&);
  std::size_t (*index_bytes)(const Extents&);
  void (*encode)(TensorView, const Extents&, std::span<std::byte>, ParallelFor);
  void (*decode)(std::span<const std::byte>, const Extents&, MutableTensorView, ParallelFor);
  void (*encode_grad)(TensorView, const Extents&, std::span<const std::byte>, std::span<std::byte>,
                      ParallelFor);
  void (*decode_grad)(std::span<const std::byte>, const Extents&, std::span<const std::byte>,
                      MutableTensorView, ParallelFor);
  Remembers forward{}, backward{};
  const WireKernels* first = nullptr;   ///< with Delta: the wire of a first visit
  const WireKernels* linear = nullptr;  ///< with ErrorFeedback on a restricted gradient: the wire in floats
  bool verbatim = false;  ///< a tensor's own bytes, which needs no kernel: `bytes` is that of floats
};

}  // namespace pcomp::kernel

namespace pcomp::detail {

template <codec::WireExpr E>
constexpr kernel::Remembers remembers() {
  using F = Form<E>;
  kernel::Remembers r{F::memory, false, CoderTraits<typename F::Code>::stochastic};
  if constexpr (F::feeds) r.in_bfloat16 = F::Feedback::in_bfloat16;
  return r;
}

/// The GPU's kernels of a wire without feedback, looked up by its name at its first tensor there.
template <class V>
const kernel::GpuWireKernels& gpu_kernels() {
  static const kernel::GpuWireKernels& found = gpu_wire_kernels_of(name(V{}));
  return found;
}

/// The table of a wire without feedback.
template <codec::AnyWire W>
const kernel::WireKernels& stateless_ops(W = {}) {
  using V = detail::as_wire<W>;
  static constexpr kernel::WireKernels ops{
      name(V{}),
      [](const Extents& s) { return wire_bytes(V{}, s); },
      [](const Extents& s) { return grad_wire_bytes(V{}, s); },
      [](const Extents& s) { return kernel::index_bytes(V{}, s); },
      [](kernel::TensorView x, const Extents& s, std::span<std::byte> p, kernel::ParallelFor par) {
        if (x.gpu) return detail::gpu_kernels<V>().encode(x, s, p);
        encode(V{}, x, s, p, par);
      },
      [](std::span<const std::byte> p, const Extents& s, kernel::MutableTensorView y,
         kernel::ParallelFor par) {
        if (y.gpu) return detail::gpu_kernels<V>().decode(p, s, y);
        decode(V{}, p, s, y, par);
      },
      [](kernel::TensorView dy, const Extents& s, std::span<const std::byte> p, std::span<std::byte> g,
         kernel::ParallelFor par) {
        if (dy.gpu) return detail::gpu_kernels<V>().encode_grad(dy, s, p, g);
        encode_grad(V{}, dy, s, p, g, par);
      },
      [](std::span<const std::byte> g, const Extents& s, std::span<const std::byte> p,
         kernel::MutableTensorView dx, kernel::ParallelFor par) {
        if (dx.gpu) return detail::gpu_kernels<V>().decode_grad(g, s, p, dx);
        decode_grad(V{}, g, s, p, dx, par);
      },
      remembers<typename V::Forward>(),
      remembers<typename V::Backward>()};
  return ops;
}

}  // namespace pcomp::detail

namespace pcomp::kernel {

/// The table of the wire W, one object per program.
template <codec::AnyWire W>
const WireKernels& wire_kernels(W = {}) {
  using V = detail::as_wire<W>;
  using F = typename V::Forward;
  using G = typename V::Backward;
  if constexpr (!detail::Form<F>::feeds && !detail::Form<G>::feeds) {
    return detail::stateless_ops<W>();
  } else {
    static const WireKernels ops = [] {
      using Plain = detail::Stateless<F>;
      WireKernels o = detail::stateless_ops(detail::wire_of(Plain{}, detail::Stateless<G>{}));
      o.name = name(V{});
      o.forward = detail::remembers<F>(), o.backward = detail::remembers<G>();
      if constexpr (detail::Form<F>::memory == codec::Memory::samples ||
                    detail::Form<G>::memory == codec::Memory::samples)
        o.first = &wire_kernels(detail::wire_of(detail::first_of<F>(), detail::first_of<G>()));
      if constexpr (detail::Form<G>::memory == codec::Memory::residual &&
                    (detail::Form<F>::selects || detail::Form<F>::shapes))
        o.linear = &detail::stateless_ops(Wire<Plain{}, Raw>{});
      return o;
    }();
    return ops;
  }
}

/// The table of Verbatim.
template <detail::VerbatimWire W>
const WireKernels& wire_kernels(W = {}) {
  static constexpr WireKernels ops = [] {
    WireKernels o{};
    o.name = name(Verbatim);
    o.bytes = [](const Extents& s) { return wire_bytes(Verbatim, s); };
    o.grad_bytes = o.index_bytes = [](const Extents&) { return std::size_t{0}; };
    o.verbatim = true;
    return o;
  }();
  return ops;
}

}  // namespace pcomp::kernel
