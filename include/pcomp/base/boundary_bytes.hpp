#pragma once
#include <cstdint>

namespace pcomp::schedule {

/// The payloads of one boundary for one micro-batch, in bytes.
struct BoundaryBytes {
  std::int64_t forward = 0, gradient = 0;
  friend constexpr bool operator==(const BoundaryBytes&, const BoundaryBytes&) = default;
};

}  // namespace pcomp::schedule

namespace pcomp::detail {

/// `of(wire, shape)`: those of a wire. Defined for wires in wire/bytes.hpp, so that schedules know none.
template <class W>
struct BoundaryBytesOf;

}  // namespace pcomp::detail
