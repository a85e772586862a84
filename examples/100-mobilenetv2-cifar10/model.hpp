#pragma once
#include <pcomp/pipeline/stage_module.hpp>

#include "network.hpp"

namespace cifar {

/// The modules of each stage of the cut, to be built by the ranks that hold them.
///
/// Law: a unit's initial weights depend on `seed` and on its row alone, not on the cut. `deferred`: running statistics
///   of whole batches (pcomp::DeferredBatchNorm2d), the same parameters and names.
std::vector<pcomp::StageSpec> stages(double width, const Cut& cut, std::uint64_t seed, bool deferred = false);

}  // namespace cifar
