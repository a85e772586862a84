#pragma once
#include "../base/shape.hpp"
#include "policy.hpp"

namespace pcomp {

/// The payloads of one boundary for one micro-batch, in bytes.
struct EdgeBytes {
  std::int64_t forward = 0, gradient = 0;
  friend constexpr bool operator==(const EdgeBytes&, const EdgeBytes&) = default;
};

/// The payloads of a wire for a micro-batch of this shape.
///
/// Bytes: wire_bytes and grad_wire_bytes, from <pcomp/wire/bytes.hpp>.
/// Errors: as for those.
/// Example: examples/040-schedules
template <class W>
constexpr EdgeBytes edge_bytes(W wire, const Extents& micro_batch) {
  return {static_cast<std::int64_t>(wire_bytes(wire, micro_batch)),
          static_cast<std::int64_t>(grad_wire_bytes(wire, micro_batch))};
}

namespace detail {
constexpr int messages(std::span<const int> rank_of, int micros, int edge) {
  const int edges = static_cast<int>(rank_of.size()) - 1;
  if (edge < 0 || edge >= edges) {
    Words text;
    text << "pcomp: there is no boundary " << edge << ": " << edges + 1 << " stages have " << edges;
    throw Error(text.string());
  }
  const auto i = static_cast<std::size_t>(edge);
  return rank_of[i] == rank_of[i + 1] ? 0 : micros;
}
}  // namespace detail

}  // namespace pcomp
