#pragma once
#include <ATen/ops/empty_like.h>
#include <c10/core/DeviceGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include "../kernel/boundary_ops.hpp"
#include "tensor.hpp"

namespace pcomp {
namespace detail {

/// What a sender keeps of a payload until the gradient arrives: its index block.
inline at::Tensor index_block(const at::Tensor& payload, std::size_t bytes) {
  const auto n = static_cast<std::int64_t>(bytes);
  return n == payload.numel() ? payload : payload.narrow(0, 0, n).clone();
}

inline void expect_first_gradient() {
  if (at::GradMode::is_enabled())
    throw Error(
        "pcomp: a boundary's gradient has no gradient of its own: call backward without create_graph");
}

/// Encodes and decodes, standing in for both ends of a link; keeps what a real sender keeps, the index block.
class BoundaryFunction : public torch::autograd::Function<BoundaryFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& input,
                            const BoundaryOps* ops) {
    const c10::DeviceGuard guard(input.device());
    const at::Tensor x = readable(input);
    const Extents shape = extents_of(x);
    ops->grad_bytes(
        shape);  // a gradient wire that does not take this shape is an error here, not in backward
    at::Tensor payload = byte_tensor(ops->bytes(shape), x.device());
    ops->encode(in(x), shape, bytes_in(payload), torch_threads);
    at::Tensor y = at::empty_like(x);  // with its strides
    ops->decode(bytes_in(payload), shape, out(y), torch_threads);
    ctx->save_for_backward({index_block(payload, ops->index_bytes(shape))});
    ctx->saved_data["format"] = static_cast<std::int64_t>(x.suggest_memory_format());
    ctx->saved_data["ops"] = reinterpret_cast<std::int64_t>(ops);
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    expect_first_gradient();
    const auto* ops = reinterpret_cast<const BoundaryOps*>(ctx->saved_data["ops"].toInt());
    at::Tensor index = ctx->get_saved_variables()[0];
    const c10::DeviceGuard guard(grads[0].device());
    const at::Tensor dy = readable(grads[0]);
    const Extents shape = extents_of(dy);
    at::Tensor payload = byte_tensor(ops->grad_bytes(shape), dy.device());
    ops->encode_grad(in(dy), shape, bytes_in(index), bytes_in(payload), torch_threads);
    const auto format = static_cast<at::MemoryFormat>(ctx->saved_data["format"].toInt());
    at::Tensor dx = tensor_of(shape, dy.scalar_type(), format, dy.device());
    ops->decode_grad(bytes_in(payload), shape, bytes_in(index), out(dx), torch_threads);
    return {dx, at::Tensor()};
  }
};

}  // namespace detail

/// What the receiver gets when `x` crosses a boundary, as one op of the autograd graph.
///
/// Law: forward is decode(encode(x)), backward is decode_grad(encode_grad(dy)), the same bytes as on a link.
/// Bytes: nothing is sent; a link would carry wire_bytes(W, x) and grad_wire_bytes(W, x). The graph keeps only
///   the index block.
/// Shapes: 1 to 8 dimensions, at least one element; float, bfloat16 or half, any strides. The result is laid out
///   like `x` (on a GPU contiguous or channels-last), and the gradient has its memory format.
/// Errors: `Error` for another dtype, device or layout, for a shape that the wire does not take, for a gradient of the
///   gradient, or for a CUDA tensor where the program has no CUDA kernels for this wire (docs/gpu.md).
/// Refusals: a wire with feedback, which has a memory: make it a `Boundary` (autograd/boundary_object.hpp).
/// Source: torchgpipe (Kim et al., 2020) for boundaries between stages; compression as in AQ-SGD (Wang et
///   al., 2022).
/// Example: examples/060-boundary
inline at::Tensor boundary(const BoundaryOps& ops, const at::Tensor& x) {
  detail::expect_dense(x);
  if (ops.forward.memory != Memory::nothing || ops.backward.memory != Memory::nothing)
    throw Error("pcomp: " + std::string(ops.name.view()) +
                " has a memory: make a Boundary of it, boundary() has none");
  return detail::BoundaryFunction::apply(x, &ops);
}

/// The same with the wire as a value, `boundary<thin>(x)`, or as a type, `boundary<Wire<thin>>(x)`.
template <AnyWire W>
at::Tensor boundary(const at::Tensor& x) {
  using V = detail::as_wire<W>;
  constexpr bool ok = !detail::Form<typename V::Forward>::feeds && !detail::Form<typename V::Backward>::feeds;
  static_assert(refuse::boundary_with_memory<ok>());
  if constexpr (ok)
    return boundary(boundary_ops(W{}), x);
  else
    return x;
}
template <auto W>
requires AnyWire<decltype(W)> at::Tensor boundary(const at::Tensor& x) {
  return boundary<std::remove_cv_t<decltype(W)>>(x);
}

}  // namespace pcomp
