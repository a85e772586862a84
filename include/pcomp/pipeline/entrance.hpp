#pragma once
#include <torch/csrc/autograd/custom_function.h>

namespace pcomp::detail {

/// Where a received activation enters a stage's graph; the backward pass stores its gradient in a slot.
///
/// Why not a leaf: a stage may begin with an in-place operation, which autograd refuses on a leaf.
class Entrance : public torch::autograd::Function<Entrance> {
 public:
  /// `anchor` is any tensor that requires grad; `slot` must outlive the backward pass.
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& anchor,
                            const at::Tensor* received, at::Tensor* slot) {
    (void)anchor;
    ctx->saved_data["slot"] = reinterpret_cast<std::int64_t>(slot);
    return *received;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    *reinterpret_cast<at::Tensor*>(ctx->saved_data["slot"].toInt()) = grads[0];
    return {at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace pcomp::detail
