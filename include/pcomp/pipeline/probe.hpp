#pragma once
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>

#include "../autograd/tensor.hpp"
#include "stage_module.hpp"

namespace pcomp::detail {

/// A stage's output for one sample: its shape, whose first dimension is the batch, its dtype and memory format.
struct Activation {
  Extents sample;
  at::ScalarType dtype = at::kFloat;
  at::MemoryFormat format = at::MemoryFormat::Contiguous;
  bool learns = false;  ///< the stage had parameters to train when this was learnt
  static Activation of_sample(const at::Tensor& x) {
    return {extents_of(x).with(0, 1), x.scalar_type(), x.suggest_memory_format(), false};
  }
  Extents of(std::int64_t samples) const { return sample.with(0, samples); }
  friend bool operator==(const Activation&, const Activation&) = default;
};

/// The autocast state of this thread, which changes the dtypes of stage outputs.
inline std::string autocast() {
  std::string all;
  for (at::DeviceType device : {at::kCPU, at::kCUDA})
    if (at::autocast::is_autocast_enabled(device))
      all += c10::DeviceTypeName(device, true) + " to " +
             c10::toString(at::autocast::get_autocast_dtype(device)) + " ";
  return all;
}

/// Puts a module into evaluation mode, then every submodule back into its own mode.
class EvalMode {
 public:
  explicit EvalMode(torch::nn::Module* m) {
    if (!m) return;
    for (const auto& part : m->modules()) modes_.emplace_back(part, part->is_training());
    m->eval();
  }
  EvalMode(const EvalMode&) = delete;
  EvalMode& operator=(const EvalMode&) = delete;
  ~EvalMode() {
    for (const auto& [part, training] : modes_) part->train(training);
  }

 private:
  std::vector<std::pair<std::shared_ptr<torch::nn::Module>, bool>> modes_;
};

inline std::string count_of(std::int64_t samples) {
  return samples == 1 ? "one sample" : std::to_string(samples) + " samples";
}

/// Sends some samples through a stage to learn its output shape; leaves the stage's state alone.
inline at::Tensor probe(const StageModule& stage, int number, bool last, at::Tensor x) {
  const std::int64_t samples = x.size(0);
  const at::AutoGradMode no_grad(false);
  const EvalMode eval(stage.module.get());
  std::string why;
  try {
    x = stage.forward(x.to(stage.device));
  } catch (const c10::Error& e) {
    why = e.what_without_backtrace();
  } catch (const std::exception& e) {
    why = e.what();
  }
  if (!why.empty())
    throw Error("pcomp: stage " + std::to_string(number) + " cannot take " + count_of(samples) + ": " + why);
  if (!x.defined() || x.dim() < 1 || x.size(0) != samples)
    throw Error("pcomp: stage " + std::to_string(number) + " made " +
                (x.defined() ? to_string(extents_of(x)) : std::string("an undefined tensor")) + " of " +
                count_of(samples) + ": the first dimension must stay the batch");
  if (!last) try {
      expect_dense(x);
    } catch (const Error& e) {
      throw Error("pcomp: boundary " + std::to_string(number) + ", behind stage " + std::to_string(number) +
                  ": " + bare(e.what()));
    }
  return x;
}

}  // namespace pcomp::detail
