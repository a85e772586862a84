#pragma once
#include <ATen/core/Tensor.h>
#include <torch/nn/modules/container/sequential.h>

#include <string>
#include <utility>
#include <vector>

#include "../base/compiled.hpp"
#include "../kernel/wire_kernels.hpp"
#include "../plan/alone.hpp"
#include "../plan/rank.hpp"
#include "stage.hpp"

namespace pcomp::plan {

/// How to measure a network's blocks, and what to choose from afterwards.
struct Effort {
  int ranks = 2;  ///< machines like this one
  std::vector<int> microbatches{2, 4, 8};
  std::vector<std::pair<std::string, const kernel::WireKernels*>> wires;
  int times = 5;    ///< runs of which the median counts, after one that does not
  int at_once = 1;  ///< ranks that compute on this machine at once: blocks are measured alone and crowded
  int threads = 1;  ///< of each rank
  int optimiser_states = 0;  ///< tensors that the optimiser keeps for each weight: 1 for momentum, 2 for Adam
  std::string network = "network";  ///< its name, one word
};

/// Measures blocks in a row, forward and backward, and wires; all but the link and the limit of memory is chosen then.
///
/// Law: parameters, their gradients, buffers and the random number generator are left as they were; blocks are built once,
///   or once for each of `at_once`.
/// Bytes: weights, their gradients, the optimiser's states and buffers; what LibTorch allocates in a pass of a block. Not
///   measured while a profiler of the program is on.
/// Shapes: `batch` has the samples of a step in its first dimension, as every block's output has; each block makes one
///   tensor of one. A micro-batch is measured with its first samples.
/// Processes: times differ, so one process measures and ranks, or each sends its `Machine` as text.
/// Errors: `Error` for blocks that take or return several tensors, or on a GPU; for a network that cannot be measured at
///   once because its blocks share modules; under autocast. An error of a block names it.
/// Source: PipeDream's profiler (Harlap et al., 2018).
/// Example: docs/planning.md
[[nodiscard]] Choices measure(const std::vector<runtime::StageSpec>& blocks, const at::Tensor& batch,
                              const Effort& effort);
/// The children of a sequence as blocks.
[[nodiscard]] Choices measure(const torch::nn::Sequential& net, const at::Tensor& batch,
                              const Effort& effort);

/// Seconds per element that a wire's kernels take on this thread.
[[nodiscard]] WireCost measure(const kernel::WireKernels& wire, int times);

/// A wire to choose, by its kernels.
[[nodiscard]] WireChoice choice_of(const std::string& name, const kernel::WireKernels& wire);

}  // namespace pcomp::plan

namespace pcomp {

/// Cuts a sequence as a candidate says, and lets its stages recompute.
[[nodiscard]] std::vector<runtime::StageSpec> cut(const torch::nn::Sequential& net,
                                                  const plan::Candidate& candidate);

}  // namespace pcomp

#if !defined(PCOMP_COMPILED)
#include "impl/measure.ipp"
#endif
