#pragma once
#include "../base/shape.hpp"
#include "policy.hpp"

namespace pcomp::schedule {

/// The payloads of one boundary for one micro-batch, in bytes.
struct BoundaryBytes {
  std::int64_t forward = 0, gradient = 0;
  friend constexpr bool operator==(const BoundaryBytes&, const BoundaryBytes&) = default;
};

/// The payloads of a wire for a micro-batch of this shape.
///
/// Bytes: wire_bytes and grad_wire_bytes, from <pcomp/wire/bytes.hpp>.
/// Errors: as for those.
/// Example: examples/040-schedules
template <class W>
constexpr BoundaryBytes boundary_bytes(W wire, const Extents& microbatch) {
  return {static_cast<std::int64_t>(wire_bytes(wire, microbatch)),
          static_cast<std::int64_t>(grad_wire_bytes(wire, microbatch))};
}

}  // namespace pcomp::schedule

namespace pcomp::detail {

constexpr int messages(std::span<const int> rank_of, int microbatches, int boundary) {
  const int boundaries = static_cast<int>(rank_of.size()) - 1;
  if (boundary < 0 || boundary >= boundaries) {
    LongText text;
    text << "pcomp: there is no boundary " << boundary << ": " << boundaries + 1 << " stages have " << boundaries;
    throw Error(text.string());
  }
  const auto i = static_cast<std::size_t>(boundary);
  return rank_of[i] == rank_of[i + 1] ? 0 : microbatches;
}

}  // namespace pcomp::detail
