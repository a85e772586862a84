#pragma once
#include <ATen/core/Tensor.h>

#include <memory>

#include "byte_store.hpp"
#include "split_backward.hpp"

namespace pcomp::detail {

/// What lives in one stage between the forward and the backward pass of one micro-batch.
struct Live {
  at::Tensor input, output;                         ///< graph ends of the stage
  at::Tensor input_grad, output_grad;               ///< set by the backward pass, and by the next stage
  std::shared_ptr<torch::autograd::Node> entrance;  ///< of the input, where the backward pass is split
  SplitBackward split;
  ByteStore index_in, index_out;  ///< of the forward payloads, on the stage's device

  /// Frees the graph; the index blocks keep their storage.
  void clear() {
    input = output = input_grad = output_grad = at::Tensor();
    entrance.reset();
    split = {};
  }
};

}  // namespace pcomp::detail
