#pragma once
#include <ATen/core/Tensor.h>

#include <memory>

#include "byte_store.hpp"
#include "split_backward.hpp"

namespace pcomp::detail {

/// What a stage keeps of one micro-batch between its forward and backward passes.
struct Live {
  at::Tensor input, output;                         ///< the ends of the stage's graph
  at::Tensor input_grad, output_grad;               ///< set by the backward pass, and by the next stage
  std::shared_ptr<torch::autograd::Node> entrance;  ///< the input's node, for a split backward pass
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
