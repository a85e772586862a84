#pragma once
#include <cstddef>

#include "format.hpp"

namespace pcomp {

/// The size of a forward payload, a constant expression where the shape is one.
///
/// Law: equal to the bytes actually sent.
/// Bytes: docs/wire-format.md.
/// Shapes: any that the wire accepts.
/// Errors: `Error` for a shape that the wire does not accept.
/// Example: examples/020-bytes
template <AnyWire W>
constexpr std::size_t wire_bytes(W, const Extents& shape) {
  return static_cast<std::size_t>(detail::layout<typename detail::as_wire<W>::Forward>(shape).bytes);
}

/// The size of a gradient payload, likewise.
template <AnyWire W>
constexpr std::size_t grad_wire_bytes(W, const Extents& shape) {
  return static_cast<std::size_t>(
      detail::layout<typename detail::as_wire<W>::Backward>(detail::restricted<W>(shape)).bytes);
}

}  // namespace pcomp
