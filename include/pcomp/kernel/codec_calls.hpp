#pragma once
#include "../wire/bytes.hpp"
#include "cpu/fused_decode.hpp"
#include "cpu/fused_encode.hpp"
#include "cpu/index/restricted.hpp"
#include "rng_counter.hpp"
#include "tensor_view.hpp"

namespace pcomp::kernel {

/// The size of the index block at the front of a forward payload, which the gradient calls read; 0 without a
/// selection.
///
/// Law: encode_grad and decode_grad depend on these bytes alone, so a sender keeps nothing else of the payload.
/// Bytes: those of the index block.
/// Shapes: any that the wire takes.
/// Example: examples/020-bytes
template <codec::AnyWire W>
constexpr std::size_t index_bytes(W, const Extents& shape) {
  return static_cast<std::size_t>(detail::layout<typename detail::as_wire<W>::Forward>(shape).index.bytes);
}
// clang-format off
template <codec::AnyWire W, std::int64_t... Ds> requires(!detail::ForwardTakes<W, Ds...>)
refuse::THIS_SHAPE_LACKS_THE_DIMENSIONS_THAT_DOWNSAMPLE_POOLS_FOUR_OR_MORE_OR_THOSE_NAMED_AS_IN_Axes_1<W, Shape<Ds...>> index_bytes(W, Shape<Ds...>) = delete;

}  // namespace pcomp::kernel

namespace pcomp::detail {

// clang-format on

template <codec::AnyWire W, class View>
void expect_payloads(W w, const View& gradient, const Extents& shape, std::size_t payload,
                     std::size_t grad_payload) {
  expect_shape("the gradient", gradient, shape);
  const std::size_t index = kernel::index_bytes(w, shape), whole = wire_bytes(w, shape);
  if (payload != index && payload != whole)
    throw Error("pcomp: the forward payload has " + std::to_string(payload) + " bytes, but " +
                std::string(name(w)) + " on " + to_string(shape) + " takes " + std::to_string(whole) +
                ", or its index block alone, " + std::to_string(index));
  expect_bytes("the gradient payload", grad_payload, static_cast<std::int64_t>(grad_wire_bytes(w, shape)),
               name(w), shape);
}

}  // namespace pcomp::detail

namespace pcomp {

/// Writes the forward payload of a tensor: one fused kernel.
///
/// Law: the bytes depend on wire, shape, values and `x.noise` alone, not on threads, instruction set or compiler.
/// Bytes: exactly wire_bytes(w, shape), all of them written.
///   A wire's feedback is not applied: `x` is what memory made of the tensor (a Boundary and the pipeline do that).
/// Shapes: `x` has shape.size() elements, strided or not; `par` supplies threads, by default none.
/// Errors: `Error` for a wrong element or byte count, or a shape that the wire does not take.
/// Example: examples/020-bytes
template <codec::AnyWire W>
void encode(W w, kernel::TensorView x, const Extents& shape, std::span<std::byte> payload,
            kernel::ParallelFor par = {}) {
  using V = detail::as_wire<W>;
  detail::expect_shape("the input", x, shape);
  detail::expect_bytes("the payload", payload.size(), static_cast<std::int64_t>(wire_bytes(w, shape)),
                       name(w), shape);
  detail::encode_chain<typename V::Forward, detail::Pool::mean>(detail::DenseSource(x), shape, payload.data(),
                                                                par, detail::fold_counter(x.noise));
}

/// Reads a forward payload back into a dense tensor: one fused kernel.
///
/// Law: |y - x| is within the coder's bound where x was kept; no payload of the right length causes an
///   out-of-bounds access.
/// Bytes: wire_bytes(w, shape).
/// Shapes: `y` has shape.size() elements, each written once.
/// Errors: as encode.
/// Example: examples/020-bytes
template <codec::AnyWire W>
void decode(W w, std::span<const std::byte> payload, const Extents& shape, kernel::MutableTensorView y,
            kernel::ParallelFor par = {}) {
  using V = detail::as_wire<W>;
  detail::expect_shape("the output", y, shape);
  detail::expect_bytes("the payload", payload.size(), static_cast<std::int64_t>(wire_bytes(w, shape)),
                       name(w), shape);
  detail::decode_chain<typename V::Forward, detail::Pool::mean>(payload.data(), shape, detail::DenseSink(y),
                                                                par);
}

// clang-format off
template <codec::AnyWire W, std::int64_t... Ds> requires(!detail::ForwardTakes<W, Ds...>)
refuse::THIS_SHAPE_LACKS_THE_DIMENSIONS_THAT_DOWNSAMPLE_POOLS_FOUR_OR_MORE_OR_THOSE_NAMED_AS_IN_Axes_1<W, Shape<Ds...>> encode(W, kernel::TensorView, Shape<Ds...>, std::span<std::byte>, kernel::ParallelFor = {}) = delete;
template <codec::AnyWire W, std::int64_t... Ds> requires(!detail::ForwardTakes<W, Ds...>)
refuse::THIS_SHAPE_LACKS_THE_DIMENSIONS_THAT_DOWNSAMPLE_POOLS_FOUR_OR_MORE_OR_THOSE_NAMED_AS_IN_Axes_1<W, Shape<Ds...>> decode(W, std::span<const std::byte>, Shape<Ds...>, kernel::MutableTensorView, kernel::ParallelFor = {}) = delete;
// clang-format on

/// Writes the gradient payload: dy restricted by the adjoint of the forward selection and shape, then coded.
///
/// Law: decode_grad(encode_grad(dy)) is the adjoint of the wire's linear part applied to dy, up to the
///   coder's bound.
/// Bytes: exactly grad_wire_bytes(w, shape).
/// Shapes: `dy` has shape.size() elements; `payload` is the forward payload, or its first index_bytes(w,
///   shape) bytes.
/// Errors: `Error` for a wrong element or byte count.
/// Example: examples/020-bytes
template <codec::AnyWire W>
void encode_grad(W w, kernel::TensorView dy, const Extents& shape, std::span<const std::byte> payload,
                 std::span<std::byte> grad_payload, kernel::ParallelFor par = {}) {
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
template <codec::AnyWire W>
void decode_grad(W w, std::span<const std::byte> grad_payload, const Extents& shape,
                 std::span<const std::byte> payload, kernel::MutableTensorView dx,
                 kernel::ParallelFor par = {}) {
  detail::expect_payloads(w, dx, shape, payload.size(), grad_payload.size());
  detail::decode_restricted<detail::as_wire<W>>(grad_payload.data(), shape, payload.data(),
                                                detail::DenseSink(dx), par);
}

// clang-format off
template <codec::AnyWire W, std::int64_t... Ds> requires(!detail::BothTake<W, Ds...>)
refuse::THIS_SHAPE_LACKS_THE_DIMENSIONS_THAT_DOWNSAMPLE_POOLS_FOUR_OR_MORE_OR_THOSE_NAMED_AS_IN_Axes_1<W, Shape<Ds...>> encode_grad(W, kernel::TensorView, Shape<Ds...>, std::span<const std::byte>, std::span<std::byte>, kernel::ParallelFor = {}) = delete;
template <codec::AnyWire W, std::int64_t... Ds> requires(!detail::BothTake<W, Ds...>)
refuse::THIS_SHAPE_LACKS_THE_DIMENSIONS_THAT_DOWNSAMPLE_POOLS_FOUR_OR_MORE_OR_THOSE_NAMED_AS_IN_Axes_1<W, Shape<Ds...>> decode_grad(W, std::span<const std::byte>, Shape<Ds...>, std::span<const std::byte>, kernel::MutableTensorView, kernel::ParallelFor = {}) = delete;
// clang-format on

}  // namespace pcomp
