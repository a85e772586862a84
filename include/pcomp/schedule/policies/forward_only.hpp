#pragma once
#include "../policy.hpp"

namespace pcomp {

/// Forward passes alone, for inference and evaluation.
///
/// Law: no activation stays alive after it is sent.
/// Source: the forward half of GPipe (Huang et al., 2019).
/// Example: docs/schedules.md
struct ForwardOnly {
  static constexpr const char* name = "forward only";
  static constexpr bool backward = false;
  static constexpr std::int64_t tick(Op, int stage, int micro, schedule::PipelineDims) {
    return std::int64_t{stage} + micro;
  }
};

}  // namespace pcomp
