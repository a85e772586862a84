#pragma once
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>
#include <torch/nn/modules/batchnorm.h>

#include "../base/error.hpp"
#include "../stage/surroundings.hpp"
#include "batch_end.hpp"

namespace pcomp::training {

/// BatchNorm2d whose running statistics are those of whole batches, not of micro-batches.
///
/// Law: its outputs in training, and so the gradients, are those of BatchNorm2d bit for bit: each micro-batch is
///   normalised by its own mean and variance, as later ones have not arrived yet. `infer` changes no statistics.
///   Running mean and variance (unbiased) are updated once per batch, from all its elements: for the same inputs, as
///   BatchNorm2d would over the undivided batch, up to the rounding of the sum, even if micro-batches differ in
///   size. Inputs are the same only up to the network's first normalisation: after it they were normalised by
///   micro-batch, and a full-batch run differs.
/// Shapes: as BatchNorm2d. In a pipeline the engine says when a batch is over; elsewhere call `batch_over(true)`. The
///   names of parameters and buffers are BatchNorm2d's, so checkpoints of the two are interchangeable.
/// Errors: `Error` for options without running statistics.
/// Source: DeferredBatchNorm of torchgpipe (Kim et al., 2020), whose running variance is the biased one.
/// Example: apps/train, --deferred-batch-norm
class DeferredBatchNorm2dImpl : public torch::nn::BatchNorm2dImpl, public BatchEnd {
 public:
  explicit DeferredBatchNorm2dImpl(const torch::nn::BatchNorm2dOptions& o) : BatchNorm2dImpl(o) {
    if (!o.track_running_stats())
      throw Error("pcomp: DeferredBatchNorm2d defers running statistics: it needs track_running_stats(true)");
  }

  at::Tensor forward(const at::Tensor& x) {
    if (!is_training()) return BatchNorm2dImpl::forward(x);
    // With a momentum of 1 the running statistics become the micro-batch's own.
    at::Tensor mean = at::zeros_like(running_mean), variance = at::zeros_like(running_var);
    _check_input_dim(x);
    const at::Tensor y =
        torch::nn::functional::detail::batch_norm(x, mean, variance, weight, bias, true, 1.0, options.eps());
    add(static_cast<double>(x.numel() / x.size(1)), mean.to(at::kDouble), variance.to(at::kDouble));
    return y;
  }

  void batch_over(bool whole) override {
    const at::AutoGradMode no_grad(false);
    if (whole && count_ > 0) {
      num_batches_tracked += 1;
      const double momentum =
          options.momentum() ? *options.momentum() : 1 / num_batches_tracked.item<double>();
      running_mean.copy_(running_mean * (1 - momentum) + mean_ * momentum);
      running_var.copy_(running_var * (1 - momentum) + squares_ / (count_ - 1) * momentum);
    }
    count_ = 0;
    mean_ = squares_ = at::Tensor();
  }

 private:
  /// Merges the mean and squared deviations of two sets (Chan et al., 1979).
  void add(double n, const at::Tensor& mean, const at::Tensor& variance) {
    if (detail::SecondRun::now()) return;
    const at::AutoGradMode no_grad(false);
    const at::Tensor squares = variance * (n - 1);
    if (count_ == 0) {
      count_ = n, mean_ = mean, squares_ = squares;
      return;
    }
    const double all = count_ + n;
    const at::Tensor apart = mean - mean_;
    mean_ = mean_ + apart * (n / all);
    squares_ = squares_ + squares + apart * apart * (count_ * n / all);
    count_ = all;
  }

  double count_ = 0;  ///< elements per channel so far
  at::Tensor mean_, squares_;
};
TORCH_MODULE(DeferredBatchNorm2d);

}  // namespace pcomp::training
