#pragma once
#include "../policy.hpp"

namespace pcomp {

/// Several stages per rank, so that the pipeline fills in smaller steps: a group of p micro-batches passes the
/// rank's first stage, then its second, and so on; backward runs in reverse.
///
/// Law: with p ranks of v stages each, rank r first runs min(2(p-r-1) + (v-1)p, vm) forwards, then alternates; where p
///   divides m the bubble is (p-1)/(vm+p-1), and rank r keeps one activation more than its warm-up forwards.
/// Shapes: stage s on rank s mod p, as `RoundRobin<p>`; any number of stages and micro-batches, preferably
///   multiples of p.
/// Refusals: any other placement.
/// Source: Narayanan et al., SC 2021, the interleaved schedule of Megatron-LM, in its order of operations.
/// Example: docs/schedules.md
struct Interleaved {
  static constexpr const char* name = "interleaved 1F1B";
  static constexpr bool backward = true;

  static constexpr bool takes(std::span<const int> rank_of) {
    int ranks = 0;
    for (int r : rank_of) ranks = r < ranks ? ranks : r + 1;
    for (std::size_t s = 0; s < rank_of.size(); ++s)
      if (rank_of[s] != static_cast<int>(s) % ranks) return false;
    return true;
  }

  /// In the steady state each rank runs one forward and one backward per slot of two ticks; every dependency
  /// crosses from one slot to the next. A partial last group keeps its empty slots.
  static constexpr std::int64_t tick(Op op, int stage, int micro, schedule::PipelineDims n) {
    const std::int64_t p = n.ranks, v = (n.stages + p - 1) / p;
    const std::int64_t chunk = stage / p, rank = stage % p, group = micro / p, place = micro % p;
    if (op == Op::Forward) return 2 * (rank + (group * v + chunk) * p + place);
    const std::int64_t first = v * p - 1 + (p - 1 - rank);
    return 2 * (first + (group * v + (v - 1 - chunk)) * p + place) + 1;
  }
};

}  // namespace pcomp
