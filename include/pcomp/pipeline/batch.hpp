#pragma once
#include <functional>

#include "micro_batches.hpp"
#include "probe.hpp"

namespace pcomp {

/// The loss of one micro-batch: a mean over its samples, of (output of the last stage, target).
using Loss = std::function<at::Tensor(const at::Tensor&, const at::Tensor&)>;

namespace detail {

/// What every rank works on in one step.
struct Batch {
  std::vector<MicroBatch> parts;
  at::Tensor x, y;
  const Loss* loss = nullptr;           ///< none: inference
  std::vector<Activation> activations;  ///< behind every stage
  std::vector<std::int64_t> ids{};      ///< of the samples; none: they were not given

  /// What stage `stage` puts out for micro-batch `micro`.
  Extents shape(int stage, int micro) const {
    return activations[static_cast<std::size_t>(stage)].of(parts[static_cast<std::size_t>(micro)].count);
  }
};

}  // namespace detail
}  // namespace pcomp
