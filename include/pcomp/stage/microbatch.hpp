#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "../base/error.hpp"
#include "split.hpp"

namespace pcomp::training {

/// The side inputs of one micro-batch, in the order in which `step` was given them.
///
/// Errors: `Error` for one that this rank was not given.
class SideInputs {
 public:
  SideInputs() = default;
  explicit SideInputs(std::vector<at::Tensor> all) : all_(std::move(all)) {}

  const at::Tensor& operator[](std::size_t i) const {
    if (i >= all_.size() || !all_[i].defined())
      throw Error("the stage asks for side input " + std::to_string(i) + ", but this rank was given " +
                  std::to_string(all_.size()) +
                  ": pass them as step(x, y, loss, {mask, positions}), on every rank that has such a stage");
    return all_[i];
  }
  std::size_t size() const { return all_.size(); }
  bool empty() const { return all_.empty(); }

 private:
  std::vector<at::Tensor> all_;
};

}  // namespace pcomp::training

namespace pcomp::detail {

/// Where the stages of one rank leave tensors of one micro-batch for each other.
struct SkipStore {
  virtual void stash(const std::string& name, const at::Tensor& x) = 0;
  virtual at::Tensor pop(const std::string& name) = 0;

 protected:
  ~SkipStore() = default;
};

}  // namespace pcomp::detail

namespace pcomp {

/// The micro-batch that a stage computes, for stages that ask: `forward(x, const Microbatch&)`.
///
/// Law: the same for a stage whatever the schedule, the placement and whether ranks are threads or processes.
/// Shapes: `side[i]` has the micro-batch's samples in its first dimension, unless it was given as `whole`, and is on the
///   stage's device.
/// Errors: `Error` for a side input that this rank was not given, or a `pop` of what was not stashed.
/// Example: examples/080-transformer
class Microbatch {
 public:
  int index = 0, count = 1;             ///< which of how many
  std::int64_t first = 0, samples = 1;  ///< its samples within the batch
  bool probe = false;                   ///< no training, only to learn the shapes: one sample, perhaps zeros
  training::SideInputs side;

  Microbatch() = default;
  explicit Microbatch(detail::SkipStore* skips) : skips_(skips) {}

  /// Leaves a tensor for a later stage of the same rank, which pops it by its name: a skip connection without a message.
  ///
  /// Law: values and gradients are those of a tensor that is handed over in a plain loop.
  /// Errors: `Error` for a name that is stashed already, and where no later stage of this rank pops it.
  /// Source: torchgpipe's skip connections (Kim et al., 2020).
  void stash(const std::string& name, const at::Tensor& x) const { skips().stash(name, x); }
  [[nodiscard]] at::Tensor pop(const std::string& name) const { return skips().pop(name); }

 private:
  detail::SkipStore& skips() const {
    if (!skips_) throw Error("pcomp: stash and pop work in the stages of an Engine");
    return *skips_;
  }
  detail::SkipStore* skips_ = nullptr;
};

}  // namespace pcomp
