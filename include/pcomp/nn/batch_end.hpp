#pragma once
#include <torch/nn/module.h>

#include <set>

namespace pcomp::training {

/// A second base for a module, beside torch::nn::Module, that is told when all micro-batches of a batch have passed it.
///
/// Law: the pipeline calls it once after each step and inference, on the calling thread, when every rank of this
///   process is done; `whole` is false after a failed step and after inference: discard what was gathered.
/// Example: include/pcomp/nn/deferred_batch_norm.hpp
struct BatchEnd {
  virtual void batch_over(bool whole) = 0;

 protected:
  ~BatchEnd() = default;
};

}  // namespace pcomp::training

namespace pcomp::detail {

/// Tells each module once, in which stages it ever is.
inline void tell_batch_over(const std::vector<std::shared_ptr<torch::nn::Module>>& stages, bool whole) {
  std::set<training::BatchEnd*> told;
  for (const auto& m : stages)
    if (m)
      for (const auto& part : m->modules())
        if (auto* wants = dynamic_cast<training::BatchEnd*>(part.get()); wants && told.insert(wants).second)
          wants->batch_over(whole);
}

}  // namespace pcomp::detail
