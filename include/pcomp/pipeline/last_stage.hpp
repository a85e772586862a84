#pragma once
#include "graph_check.hpp"
#include "loss.hpp"

namespace pcomp::detail {

/// What a loss or a metric made of a micro-batch.
inline at::Tensor one_number(const at::Tensor& made, const char* what) {
  if (!made.defined() || made.numel() != 1)
    throw Error(
        std::string(what) + " must be one number, not " +
        (made.defined() ? "a tensor of shape " + to_string(extents_of(made)) : "an undefined tensor"));
  return made.reshape({});
}

/// A micro-batch's loss, weighted by its share of the batch's.
inline at::Tensor loss_of(const Loss& loss, const at::Tensor& output, const at::Tensor& target,
                          double share) {
  const bool counts = share > 0;  // else a mean would be 0 / 0
  return one_number(counts ? loss(output, target) : output.narrow(0, 0, 0).sum(), "the loss") * share;
}

/// The same in training.
///
/// Errors: `Error` for a loss through which nothing would be trained; `check` looks at its whole graph.
inline at::Tensor trained_loss(const Loss& loss, const at::Tensor& output, const at::Tensor& target,
                               double share, bool check) {
  const torch::autograd::Edge from =
      output.requires_grad() ? torch::autograd::impl::gradient_edge(output) : torch::autograd::Edge();
  const at::Tensor weighted = loss_of(loss, output, target, share);
  if (from.function &&
      (!weighted.requires_grad() || (check && !reach_of(weighted, from.function.get()).input)))
    throw Error(
        "the loss does not depend on the output of the last stage, so nothing would be trained: look for "
        "a detach(), an item() or a NoGradGuard in the loss");
  return weighted;
}

}  // namespace pcomp::detail
