#pragma once
#include <cstdint>

#include "policy.hpp"

namespace pcomp::schedule {

/// What one stage needs in memory, in bytes.
struct StageBytes {
  /// At any time: weights, their gradients, buffers, messages, memory of wires.
  std::int64_t fixed = 0;
  /// For each micro-batch, from its forward pass to the end of its backward pass.
  std::int64_t live = 0;
  /// At most, during a forward pass, beyond what was there before it.
  std::int64_t forward = 0;
  /// Likewise during a backward pass, with the forward pass that a stage may repeat for it.
  std::int64_t backward = 0;
  /// For each micro-batch more than `live`, between the halves of a split backward pass, and at most in the second.
  std::int64_t between = 0, weights = 0;
  friend constexpr bool operator==(const StageBytes&, const StageBytes&) = default;
};

}  // namespace pcomp::schedule

namespace pcomp::detail {

/// The operation that frees what a stage keeps of a micro-batch.
constexpr Op last_pass(schedule::Passes passes) {
  return passes.weights ? Op::BackwardWeights : Op::Backward;
}

/// The most activations alive at once in one row. One lives from its Forward to the end of its backward pass, or,
/// where nothing flows back, during Forward.
constexpr int peak_live(std::span<const Action> row, schedule::Passes passes) {
  int live = 0, peak = 0;
  for (const Action& a : row) {
    if (a.op == Op::Forward && live + 1 > peak) peak = live + 1;
    if (a.op == Op::Forward && passes.trains(a.stage)) ++live;
    if (a.op == last_pass(passes)) --live;
  }
  return peak;
}

/// The most bytes that one row needs at once; `stages`: of all stages.
constexpr std::int64_t peak_bytes(std::span<const Action> row, schedule::Passes passes,
                                  std::span<const schedule::StageBytes> stages) {
  std::int64_t live = 0, peak = 0, fixed = 0;
  for (const Action& a : row) {
    if (!schedule::is_compute(a.op)) continue;
    const schedule::StageBytes& s = stages[static_cast<std::size_t>(a.stage)];
    if (a.op == Op::Forward && a.micro == 0) fixed += s.fixed;  // every stage of the row has one
    const std::int64_t most = live + (a.op == Op::Forward    ? s.forward
                                      : a.op == Op::Backward ? s.backward
                                                             : s.weights);
    peak = most > peak ? most : peak;
    if (a.op == Op::Forward && passes.trains(a.stage)) live += s.live;
    if (a.op == Op::Backward && passes.weights) live += s.between;
    peak = live > peak ? live : peak;
    if (a.op == last_pass(passes)) live -= s.live + (passes.weights ? s.between : 0);
  }
  return fixed + peak;
}

/// For each action of a row, whether it is the last one of its stage and micro-batch there.
inline std::vector<char> last_actions(std::span<const Action> row, std::size_t stages,
                                      std::size_t microbatches) {
  std::vector<char> last(row.size()), seen(stages * microbatches);
  for (std::size_t i = row.size(); i-- > 0;) {
    char& later =
        seen[static_cast<std::size_t>(row[i].stage) * microbatches + static_cast<std::size_t>(row[i].micro)];
    last[i] = !later;
    later = true;
  }
  return last;
}

}  // namespace pcomp::detail
