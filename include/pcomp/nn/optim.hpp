#pragma once
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/sgd.h>

#include "../base/compiled.hpp"

/// Optimisers that update each parameter in one pass over memory, where LibTorch's C++ optimisers take one for each term.
namespace pcomp::optim {

/// Stochastic gradient descent in one pass, with the options, state and constructors of torch::optim::SGD.
///
/// Law: torch::optim::SGD's update, bit for bit, but for the elements of a tensor behind its last whole vector of the
///   processor, which may differ by a rounding. Checkpoints hold its state, and each continues the other's.
/// Shapes: parameters in floating point whose elements fill their memory, in any order of dimensions, on any device for
///   which LibTorch has the kernel (CPU, CUDA); their gradients of the same dtype and device.
/// Errors: `Error` for other parameters and gradients, before any is changed.
/// Source: at::_fused_sgd_ of LibTorch.
/// Example: docs/train.md
class SGD : public torch::optim::SGD {
 public:
  using torch::optim::SGD::SGD;
  at::Tensor step(LossClosure closure = nullptr) override;
};

/// Adam in one pass, with the options, state and constructors of torch::optim::Adam.
///
/// Law: torch::optim::Adam's update up to rounding: its terms are the same, in another order.
/// Shapes, errors: as SGD.
/// Source: at::_fused_adam_ of LibTorch.
class Adam : public torch::optim::Adam {
 public:
  using torch::optim::Adam::Adam;
  at::Tensor step(LossClosure closure = nullptr) override;
};

/// AdamW in one pass, with the options, state and constructors of torch::optim::AdamW.
///
/// Law: torch::optim::AdamW's update up to rounding: its terms are the same, in another order.
/// Shapes, errors: as SGD.
/// Source: at::_fused_adamw_ of LibTorch.
class AdamW : public torch::optim::AdamW {
 public:
  using torch::optim::AdamW::AdamW;
  at::Tensor step(LossClosure closure = nullptr) override;
};

}  // namespace pcomp::optim

#if !defined(PCOMP_COMPILED)
#include "impl/optim.ipp"
#endif
