#pragma once
#include <bit>
#include <cstdint>

#include "../base/version.hpp"
#include "../kernel/boundary_ops.hpp"
#include "../schedule/make_schedule.hpp"
#include "../transport/fingerprint.hpp"
#include "batch.hpp"

namespace pcomp::detail {

/// Describes a pipeline, for its ranks to compare when they meet.
inline Fingerprint fingerprint(const ScheduleTable& schedule, const std::vector<const BoundaryOps*>& wires,
                               int world_size) {
  Fingerprint f;
  f.add("pcomp", version);
  f.add("wire format", std::to_string(wire_format));
  f.add("byte order", std::endian::native == std::endian::little ? "little" : "big");
  f.add("processes", std::to_string(world_size));
  f.add("schedule", schedule.policy);
  f.add("stages", std::to_string(schedule.stages));
  f.add("micro-batches", std::to_string(schedule.micros));
  f.add("frozen stages", std::to_string(schedule.frozen()));
  std::string placement;
  for (int r : schedule.rank_map()) placement += (placement.empty() ? "" : " ") + std::to_string(r);
  f.add("placement", placement);
  std::uint64_t rows = 0xcbf29ce484222325u;  // FNV-1a: policies of the same name may differ
  for (int r = 0; r < schedule.ranks; ++r)
    for (const Action& a : schedule.row(r))
      for (int part : {static_cast<int>(a.op), a.stage, a.micro})
        rows = (rows ^ static_cast<std::uint64_t>(part)) * 0x100000001b3u;
  constexpr char digits[] = "0123456789abcdef";
  std::string sum;
  for (int shift = 60; shift >= 0; shift -= 4) sum += digits[rows >> shift & 15];
  f.add("rows", sum);
  for (std::size_t e = 0; e < wires.size(); ++e)
    f.add("wire " + std::to_string(e), std::string(wires[e]->name.view()));
  return f;
}

inline std::string text_of(const Extents& shape, at::ScalarType dtype) {
  return std::string(c10::toString(dtype)) + " " + to_string(shape);
}

/// Describes a batch of a new shape, including its bytes on the link.
inline Fingerprint fingerprint(const Batch& batch, const std::vector<const BoundaryOps*>& wires) {
  Fingerprint f;
  f.add("step", batch.loss ? "training" : "inference");
  f.add("micro-batches", std::to_string(batch.parts.size()));
  f.add("batch", text_of(extents_of(batch.x), batch.x.scalar_type()));
  for (std::size_t e = 0; e < wires.size(); ++e) {
    const Extents s = batch.shape(static_cast<int>(e), 0);
    f.add("boundary " + std::to_string(e), text_of(s, batch.activations[e].dtype) + ", " +
                                               std::to_string(wires[e]->bytes(s)) + " bytes, back " +
                                               std::to_string(wires[e]->grad_bytes(s)));
  }
  return f;
}

}  // namespace pcomp::detail
