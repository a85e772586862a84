#pragma once
#include <torch/optim/optimizer.h>

#include "tensor_file.hpp"

namespace pcomp::checkpoint {

/// Before training: whether checkpoints can hold what this optimiser keeps.
///
/// Errors: `Error` for one that is not exactly SGD, Adam, AdamW (LibTorch's or `pcomp::optim`'s), RMSprop or Adagrad, such
///   as one of your own.
/// Example: docs/checkpoints.md
void expect_saveable(const torch::optim::Optimizer& optimizer);

/// An optimiser's state for one parameter, as named tensors; empty before its first step.
///
/// Law: after `set_optimizer_state` with this, training continues bit for bit, on the parameter's device. Options, such
///   as the learning rate, are not part of it.
/// Errors: `Error` for optimisers that `expect_saveable` refuses, and for state that a different one saved; Adam and
///   AdamW accept each other's.
/// Example: docs/checkpoints.md
[[nodiscard]] NamedTensors optimizer_state(const torch::optim::Optimizer& optimizer,
                                           const at::Tensor& parameter);

void set_optimizer_state(torch::optim::Optimizer& optimizer, const at::Tensor& parameter,
                         const NamedTensors& saved);

}  // namespace pcomp::checkpoint

#if !defined(PCOMP_COMPILED)
#include "impl/optimizer_state.ipp"
#endif
