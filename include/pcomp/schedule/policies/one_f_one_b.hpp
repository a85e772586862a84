#pragma once
#include "../policy.hpp"

namespace pcomp {

/// One forward, one backward: a stage begins its backward passes as soon as it can.
///
/// Law: stage s first runs min(stages - s - 1, microbatches) forwards, then alternates; it keeps at most
///   min(stages - s, microbatches) activations alive; the same bubble as GPipe.
/// Source: PipeDream-flush (Narayanan et al., 2021), the non-interleaved schedule of Megatron-LM and DeepSpeed.
/// Example: docs/schedules.md
struct OneFOneB {
  static constexpr const char* name = "1F1B";
  static constexpr bool backward = true;
  static constexpr std::int64_t tick(Op op, int stage, int micro, schedule::PipelineDims n) {
    if (op == Op::Backward) return std::int64_t{2} * (n.stages + micro) - 1 - stage;
    const bool warm_up = micro < n.stages - stage;
    return stage + (warm_up ? micro : std::int64_t{2} * micro);
  }
};

}  // namespace pcomp
