#pragma once
#include <torch/custom_class.h>

#include "../base/compiled.hpp"
#include "../kernel/wire_kernels.hpp"
#include "tensor.hpp"

namespace pcomp {

/// What the receiver gets when `x` crosses a boundary, as one op of the autograd graph.
///
/// Law: forward is decode(encode(x)), backward is decode_grad(encode_grad(dy)), the same bytes as on a link.
/// Bytes: nothing is sent; a link would carry wire_bytes(W, x) and grad_wire_bytes(W, x). The graph keeps only
///   the index block.
/// Shapes: 1 to 8 dimensions, at least one element; float, bfloat16 or half, any strides. The result is laid out
///   like `x` (on a GPU contiguous or channels-last), and the gradient has its memory format.
/// Errors: `Error` for another dtype, device or layout, for a shape that the wire does not take, for a gradient of the
///   gradient, or for a CUDA tensor where the program has no CUDA kernels for this wire (docs/gpu.md).
/// Refusals: a wire with feedback, which has a memory: make it a `Boundary`.
/// Source: torchgpipe (Kim et al., 2020) for boundaries between stages; compression as in AQ-SGD (Wang et
///   al., 2022).
/// Example: examples/060-boundary
[[nodiscard]] at::Tensor boundary(const kernel::WireKernels& ops, const at::Tensor& x);

/// The same with the wire as a value, `boundary<thin>(x)`, or as a type, `boundary<Wire<thin>>(x)`.
template <codec::AnyWire W>
[[nodiscard]] at::Tensor boundary(const at::Tensor& x) {
  using V = detail::as_wire<W>;
  constexpr bool ok = !detail::Form<typename V::Forward>::feeds && !detail::Form<typename V::Backward>::feeds;
  static_assert(refuse::boundary_with_memory<ok>());
  if constexpr (ok)
    return boundary(kernel::wire_kernels(W{}), x);
  else
    return x;
}
template <auto W>
  requires codec::AnyWire<decltype(W)>
[[nodiscard]] at::Tensor boundary(const at::Tensor& x) {
  return boundary<std::remove_cv_t<decltype(W)>>(x);
}

/// A boundary with a memory, as one op of the autograd graph: both ends of a link at once.
///
/// Law: the values and gradients of boundary `number` of a pipeline, bit for bit, if called once for each
///   micro-batch in the same order, with its place in the batch and the identities of its samples. Without grad mode it
///   evaluates: nothing is remembered, Delta sends First, and Stochastic adds noise number 0.
/// Bytes: nothing is sent; `bytes()` bytes are kept. A graph keeps the memory alive.
/// Shapes: as `boundary`; the same for every sample where the wire has feedback.
/// Errors: as `boundary`, and for Delta without identities.
/// Example: docs/feedback.md
class Boundary {
 public:
  explicit Boundary(const kernel::WireKernels& ops, int number = 0);

  [[nodiscard]] at::Tensor operator()(const at::Tensor& x, int place = 0, const at::Tensor& sample_ids = {});

  std::int64_t bytes() const;
  /// Forgets all that is remembered; the noise sequence goes on.
  void forget();

 private:
  c10::intrusive_ptr<torch::CustomClassHolder> memory_;  ///< a detail::BoundaryMemory
};

}  // namespace pcomp

#if !defined(PCOMP_COMPILED)
#include "impl/boundary.ipp"
#endif
