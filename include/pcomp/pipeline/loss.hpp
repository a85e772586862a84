#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/cross_entropy_loss.h>

namespace pcomp {

/// The mean cross-entropy of logits [n, classes] against class indices [n], as a loss for `step`.
///
/// Example: examples/050-first-program
struct CrossEntropy {
  at::Tensor operator()(const at::Tensor& logits, const at::Tensor& classes) const {
    return at::cross_entropy_loss(logits, classes);
  }
};
inline constexpr CrossEntropy cross_entropy{};

}  // namespace pcomp
