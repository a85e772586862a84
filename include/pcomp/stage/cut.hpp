#pragma once
#include <ATen/core/Tensor.h>
#include <torch/nn/modules/container/sequential.h>

#include <initializer_list>
#include <vector>

#include "../base/compiled.hpp"
#include "stage.hpp"

namespace pcomp {

/// Cuts a network that is a sequence of modules into stages: before the children with these numbers.
///
/// Law: the stages in order are the network; its modules, weights and their names stay what they are.
/// Processes: all cut alike, as the engine compares; with one seed on every rank, or weights that are loaded, each rank
///   has the same network. A rank keeps the stages that it holds, once the caller's `net` is gone.
/// Errors: `Error` for cuts that are not ascending, or leave a stage without a child.
/// Source: torchgpipe (Kim et al., 2020).
/// Example: docs/train.md
[[nodiscard]] std::vector<runtime::StageSpec> cut(const torch::nn::Sequential& net,
                                                  const std::vector<int>& before);
[[nodiscard]] inline std::vector<runtime::StageSpec> cut(const torch::nn::Sequential& net,
                                                         std::initializer_list<int> before) {
  return cut(net, std::vector<int>(before));
}
/// Into so many stages, of as equally many children as possible.
[[nodiscard]] std::vector<runtime::StageSpec> cut(const torch::nn::Sequential& net, int stages);
/// Into so many stages, the slowest of which takes as little time as possible: `cut_by_time`.
[[nodiscard]] std::vector<runtime::StageSpec> cut(const torch::nn::Sequential& net, int stages,
                                                  const at::Tensor& sample);

}  // namespace pcomp

namespace pcomp::runtime {

/// Where to cut so that the slowest stage takes as little time as possible, from the measured time of each child's forward
/// and backward pass on a sample batch.
///
/// Law: parameters, their gradients, buffers and the random number generator are left as they were.
/// Processes: times differ, so one process measures and gives its cuts to the others.
/// Errors: `Error` for more stages than children.
/// Source: torchgpipe's balance_by_time.
/// Example: docs/train.md
[[nodiscard]] std::vector<int> cut_by_time(const torch::nn::Sequential& net, int stages,
                                           const at::Tensor& sample);

}  // namespace pcomp::runtime

#if !defined(PCOMP_COMPILED)
#include "impl/cut.ipp"
#endif
