#pragma once
#include "loss.hpp"
#include "micro_batches.hpp"
#include "probe.hpp"

namespace pcomp::detail {

/// What every rank works on in one step.
struct Batch {
  std::vector<MicroBatch> parts;
  at::Tensor x, y;
  const Loss* loss = nullptr;           ///< null: inference
  std::vector<Activation> activations;  ///< of every stage
  std::vector<std::int64_t> ids{};      ///< of the samples; empty: not given
  int frozen = 0;                       ///< how many first stages only run forward

  /// Whether this stage has a backward pass, and so the boundary after it carries gradients.
  bool trains(int stage) const { return loss && stage >= frozen; }

  /// The output shape of `stage` for micro-batch `micro`.
  Extents shape(int stage, int micro) const {
    return activations[static_cast<std::size_t>(stage)].of(parts[static_cast<std::size_t>(micro)].count);
  }
};

inline void expect_batch(const at::Tensor& x) {
  if (!x.defined() || x.dim() < 1 || x.size(0) < 1)
    throw Error("pcomp: a batch needs a first dimension of at least 1 sample, not " +
                (x.defined() ? to_string(extents_of(x)) : std::string("an undefined tensor")));
}
inline void expect_targets(const at::Tensor& y, const at::Tensor& x) {
  if (y.defined() && (y.dim() < 1 || y.size(0) != x.size(0)))
    throw Error("pcomp: the batch has " + std::to_string(x.size(0)) + " samples, but the targets are " +
                (y.dim() ? std::to_string(y.size(0)) : "one number"));
}

}  // namespace pcomp::detail
