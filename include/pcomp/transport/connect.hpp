#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "../base/compiled.hpp"
#include "communicator.hpp"
#include "world.hpp"

namespace pcomp::transport {

/// The links of a pipeline with its stages on these ranks: between threads, or from this process's rank to the others.
///
/// Errors: as `World` and `Processes`.
/// Example: docs/several-machines.md
std::unique_ptr<Communicator> connect(const World& world, int ranks, const std::vector<int>& rank_of);

/// How a pipeline gets its links: `connect`, or the function of a caller who brings a custom link.
using CommunicatorFactory =
    std::function<std::unique_ptr<Communicator>(const World&, int ranks, const std::vector<int>& rank_of)>;

}  // namespace pcomp::transport

#if !defined(PCOMP_COMPILED)
#include "c10d/impl/connect.ipp"
#endif
