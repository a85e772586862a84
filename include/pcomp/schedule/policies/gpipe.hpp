#pragma once
#include "../policy.hpp"

namespace pcomp {

/// Every forward, then every backward.
///
/// Law: a rank keeps the activations of all micro-batches alive; bubble (p-1)/(m+p-1) for p ranks and m
///   micro-batches.
/// Source: GPipe (Huang et al., 2019); backward in ascending order, so that gradients accumulate as in a loop.
/// Example: docs/schedules.md
struct GPipe {
  static constexpr const char* name = "GPipe";
  static constexpr bool backward = true;
  static constexpr std::int64_t tick(Op op, int stage, int micro, schedule::PipelineDims n) {
    const std::int64_t fill = stage + micro;
    if (op == Op::Forward) return fill;
    return (n.stages + n.microbatches - 1) + (n.stages - 1 - stage) + micro;
  }
};

}  // namespace pcomp
