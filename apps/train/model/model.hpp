#pragma once
#include <pcomp/stage/stage.hpp>

#include "network.hpp"

namespace cifar {

/// How the stages compute, and where.
struct Computing {
  bool deferred_batch_norm = false;  ///< pcomp::DeferredBatchNorm2d: running statistics of whole batches
  bool amp = false;                  ///< in bfloat16, as torch.autocast does
  at::Device device = at::kCPU;
};

/// The modules of each stage of the cut, to be built by the ranks that hold them.
///
/// Law: a unit's initial weights depend only on `seed` and its row, not on the cut or on `how`; nor do the parameters'
///   names.
std::vector<pcomp::runtime::StageSpec> stages(double width, const Cut& cut, std::uint64_t seed,
                                              const Computing& how = {});

}  // namespace cifar
