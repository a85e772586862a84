#pragma once
#include <cstddef>

#include "../base/boundary_bytes.hpp"
#include "layout.hpp"

namespace pcomp {

/// The size of a forward payload, a constant expression where the shape is one.
///
/// Law: equal to the bytes actually sent.
/// Bytes: docs/wire-format.md.
/// Shapes: any that the wire accepts.
/// Errors: `Error` for a shape that the wire does not accept.
/// Example: examples/020-bytes
template <codec::AnyWire W>
[[nodiscard]] constexpr std::size_t wire_bytes(W, const Extents& shape) {
  return static_cast<std::size_t>(detail::layout<typename detail::as_wire<W>::Forward>(shape).bytes);
}

/// The size of a gradient payload, likewise.
template <codec::AnyWire W>
[[nodiscard]] constexpr std::size_t grad_wire_bytes(W, const Extents& shape) {
  return static_cast<std::size_t>(
      detail::layout<typename detail::as_wire<W>::Backward>(detail::restricted<W>(shape)).bytes);
}

// One line each, as for `|`: clang shows the line of the deleted function, and that line states the reason.
// clang-format off
template <codec::AnyWire W, std::int64_t... Ds> requires(!detail::ForwardTakes<W, Ds...>)
refuse::THIS_SHAPE_LACKS_THE_DIMENSIONS_THAT_DOWNSAMPLE_POOLS_FOUR_OR_MORE_OR_THOSE_NAMED_AS_IN_Axes_1<W, Shape<Ds...>> wire_bytes(W, Shape<Ds...>) = delete;
template <codec::AnyWire W, std::int64_t... Ds> requires(!detail::BothTake<W, Ds...>)
refuse::THIS_SHAPE_LACKS_THE_DIMENSIONS_THAT_DOWNSAMPLE_POOLS_FOUR_OR_MORE_OR_THOSE_NAMED_AS_IN_Axes_1<W, Shape<Ds...>> grad_wire_bytes(W, Shape<Ds...>) = delete;
// clang-format on

}  // namespace pcomp

namespace pcomp::codec {

/// The payloads of a wire for a micro-batch of this shape, in both directions.
///
/// Bytes: wire_bytes and grad_wire_bytes.
/// Errors: as for those.
/// Example: examples/040-schedules
template <AnyWire W>
constexpr schedule::BoundaryBytes boundary_bytes(W wire, const Extents& microbatch) {
  return {static_cast<std::int64_t>(wire_bytes(wire, microbatch)),
          static_cast<std::int64_t>(grad_wire_bytes(wire, microbatch))};
}

}  // namespace pcomp::codec

namespace pcomp::detail {

template <codec::AnyWire W>
struct BoundaryBytesOf<W> {
  static constexpr schedule::BoundaryBytes of(W wire, const Extents& microbatch) {
    return codec::boundary_bytes(wire, microbatch);
  }
};

}  // namespace pcomp::detail
