#pragma once
#include "../wire/bytes.hpp"
#include "cpu/fused_decode.hpp"
#include "cpu/fused_encode.hpp"
#include "noise.hpp"

namespace pcomp {

/// Writes the forward payload of a tensor: one fused kernel.
///
/// Law: the bytes depend on wire, shape, values and `x.noise` alone, not on threads, instruction set or compiler.
/// Bytes: exactly wire_bytes(w, shape), all of them written.
///   A wire's feedback is not applied: `x` is what memory made of the tensor (a Boundary and the pipeline do that).
/// Shapes: `x` has shape.size() elements, strided or not; `par` supplies threads, by default none.
/// Errors: `Error` for a wrong element or byte count, or a shape that the wire does not take.
/// Example: examples/020-bytes
template <AnyWire W>
void encode(W w, TensorView x, const Extents& shape, std::span<std::byte> payload, ParallelFor par = {}) {
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
template <AnyWire W>
void decode(W w, std::span<const std::byte> payload, const Extents& shape, MutableTensorView y, ParallelFor par = {}) {
  using V = detail::as_wire<W>;
  detail::expect_shape("the output", y, shape);
  detail::expect_bytes("the payload", payload.size(), static_cast<std::int64_t>(wire_bytes(w, shape)),
                       name(w), shape);
  detail::decode_chain<typename V::Forward, detail::Pool::mean>(payload.data(), shape, detail::DenseSink(y),
                                                                par);
}

// clang-format off
template <AnyWire W, std::int64_t... Ds> requires(!detail::ForwardTakes<W, Ds...>)
refuse::THIS_SHAPE_LACKS_THE_DIMENSIONS_THAT_DOWNSAMPLE_POOLS_FOUR_OR_MORE_OR_THOSE_NAMED_AS_IN_Axes_1<W, Shape<Ds...>> encode(W, TensorView, Shape<Ds...>, std::span<std::byte>, ParallelFor = {}) = delete;
template <AnyWire W, std::int64_t... Ds> requires(!detail::ForwardTakes<W, Ds...>)
refuse::THIS_SHAPE_LACKS_THE_DIMENSIONS_THAT_DOWNSAMPLE_POOLS_FOUR_OR_MORE_OR_THOSE_NAMED_AS_IN_Axes_1<W, Shape<Ds...>> decode(W, std::span<const std::byte>, Shape<Ds...>, MutableTensorView, ParallelFor = {}) = delete;
// clang-format on

}  // namespace pcomp
