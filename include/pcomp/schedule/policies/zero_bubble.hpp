#pragma once
#include "../policy.hpp"

namespace pcomp {

/// 1F1B with the backward pass split in two: the gradient of a stage's input goes on at once, and those
/// of its weights fill what would be bubble.
///
/// Law: stage s first runs min(p-s-1, m) forwards, then alternates, with a BackwardWeights after each Backward
///   from the s-th on; it keeps at most min(p, m) activations alive, from Forward to BackwardWeights; with equal
///   times for all three and m >= p the bubble is p-1 ticks of 3m+p-1.
/// Source: ZB-H1 of Qi et al., "Zero Bubble Pipeline Parallelism", 2023; the order of operations of PyTorch's
///   ScheduleInterleavedZeroBubble with one stage per rank.
/// Example: docs/schedules.md
struct ZeroBubble {
  static constexpr const char* name = "zero bubble (ZB-H1)";
  static constexpr bool backward = true;
  static constexpr bool split_backward = true;

  static constexpr std::int64_t tick(Op op, int stage, int micro, schedule::PipelineDims n) {
    const std::int64_t p = n.stages, s = stage, m = micro;
    if (op == Op::Forward) return m < p - s ? s + m : m < p ? s + 2 * m : 3 * m - p + 1 + s;
    if (op == Op::Backward) return input_gradient(s, m, n);
    const std::int64_t after = m + s;  // its BackwardWeights comes after this micro-batch's Backward
    if (after < n.microbatches) return input_gradient(s, after, n) + 1;
    return input_gradient(s, n.microbatches - 1, n) + 1 + (after - (n.microbatches - 1));
  }

 private:
  /// Two ticks apart while no weights come between, then three, and two again once the forwards are over.
  static constexpr std::int64_t input_gradient(std::int64_t s, std::int64_t m, schedule::PipelineDims n) {
    const std::int64_t p = n.stages, microbatches = n.microbatches < n.stages ? n.stages : n.microbatches;
    if (m <= s) return 2 * p - 1 - s + 2 * m;
    return m <= microbatches - p + s ? 2 * p - 1 - 2 * s + 3 * m : microbatches + p - 1 - s + 2 * m;
  }
};

}  // namespace pcomp
