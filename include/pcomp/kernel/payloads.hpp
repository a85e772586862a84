#pragma once
#include "../wire/bytes.hpp"
#include "view.hpp"

namespace pcomp {

/// The size of the index block at the front of a forward payload, which the gradient calls read; 0 without a
/// selection.
///
/// Law: encode_grad and decode_grad depend on these bytes alone, so a sender keeps nothing else of the payload.
/// Bytes: those of the index block.
/// Shapes: any that the wire takes.
/// Example: examples/020-bytes
template <AnyWire W>
constexpr std::size_t index_bytes(W, const Extents& shape) {
  return static_cast<std::size_t>(detail::layout<typename detail::as_wire<W>::Forward>(shape).index.bytes);
}
// clang-format off
template <AnyWire W, std::int64_t... Ds> requires(!detail::ForwardTakes<W, Ds...>)
refuse::THIS_SHAPE_LACKS_THE_DIMENSIONS_THAT_DOWNSAMPLE_POOLS_FOUR_OR_MORE_OR_THOSE_NAMED_AS_IN_Axes_1<W, Shape<Ds...>> index_bytes(W, Shape<Ds...>) = delete;
// clang-format on

namespace detail {
template <AnyWire W, class View>
void expect_payloads(W w, const View& gradient, const Extents& shape, std::size_t payload,
                     std::size_t grad_payload) {
  expect_shape("the gradient", gradient, shape);
  const std::size_t index = index_bytes(w, shape), whole = wire_bytes(w, shape);
  if (payload != index && payload != whole)
    throw Error("pcomp: the forward payload has " + std::to_string(payload) + " bytes, but " +
                std::string(name(w)) + " on " + to_string(shape) + " takes " + std::to_string(whole) +
                ", or its index block alone, " + std::to_string(index));
  expect_bytes("the gradient payload", grad_payload, static_cast<std::int64_t>(grad_wire_bytes(w, shape)),
               name(w), shape);
}
}  // namespace detail

}  // namespace pcomp
