#pragma once
#include "cpu/index/restricted.hpp"
#include "noise.hpp"
#include "payloads.hpp"

namespace pcomp {

/// Writes the gradient payload: dy restricted by the adjoint of the forward selection and shape, then coded.
///
/// Law: decode_grad(encode_grad(dy)) is the adjoint of the wire's linear part applied to dy, up to the
///   coder's bound.
/// Bytes: exactly grad_wire_bytes(w, shape).
/// Shapes: `dy` has shape.size() elements; `payload` is the forward payload, or its first index_bytes(w,
///   shape) bytes.
/// Errors: `Error` for a wrong element or byte count.
/// Example: examples/020-bytes
template <AnyWire W>
void encode_grad(W w, TensorView dy, const Extents& shape, std::span<const std::byte> payload,
                 std::span<std::byte> grad_payload, ParallelFor par = {}) {
  detail::expect_payloads(w, dy, shape, payload.size(), grad_payload.size());
  detail::encode_restricted<detail::as_wire<W>>(detail::DenseSource(dy), shape, payload.data(),
                                                grad_payload.data(), par, detail::fold_counter(dy.noise));
}

/// Reads a gradient payload back: each value goes to its place in the forward mask and is spread by the adjoint
/// of the shape codec.
///
/// Law, Bytes, Errors: as encode_grad.
/// Shapes: `dx` has shape.size() elements, each written once.
/// Example: examples/020-bytes
template <AnyWire W>
void decode_grad(W w, std::span<const std::byte> grad_payload, const Extents& shape,
                 std::span<const std::byte> payload, MutableTensorView dx, ParallelFor par = {}) {
  detail::expect_payloads(w, dx, shape, payload.size(), grad_payload.size());
  detail::decode_restricted<detail::as_wire<W>>(grad_payload.data(), shape, payload.data(),
                                                detail::DenseSink(dx), par);
}

// clang-format off
template <AnyWire W, std::int64_t... Ds> requires(!detail::BothTake<W, Ds...>)
refuse::THIS_SHAPE_LACKS_THE_DIMENSIONS_THAT_DOWNSAMPLE_POOLS_FOUR_OR_MORE_OR_THOSE_NAMED_AS_IN_Axes_1<W, Shape<Ds...>> encode_grad(W, TensorView, Shape<Ds...>, std::span<const std::byte>, std::span<std::byte>, ParallelFor = {}) = delete;
template <AnyWire W, std::int64_t... Ds> requires(!detail::BothTake<W, Ds...>)
refuse::THIS_SHAPE_LACKS_THE_DIMENSIONS_THAT_DOWNSAMPLE_POOLS_FOUR_OR_MORE_OR_THOSE_NAMED_AS_IN_Axes_1<W, Shape<Ds...>> decode_grad(W, std::span<const std::byte>, Shape<Ds...>, std::span<const std::byte>, MutableTensorView, ParallelFor = {}) = delete;
// clang-format on

}  // namespace pcomp
