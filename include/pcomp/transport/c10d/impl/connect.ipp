#pragma once
#include "../../connect.hpp"
#include "../../threads.hpp"
#include "../processes.hpp"

namespace pcomp::transport {

PCOMP_IMPL std::unique_ptr<Communicator> connect(const World& world, int ranks,
                                                 const std::vector<int>& rank_of) {
#if defined(USE_C10D_GLOO)
  if (world.processes()) return std::make_unique<Processes>(world, rank_of);
#endif
  return std::make_unique<ThreadTransport>(ranks, static_cast<int>(rank_of.size()) - 1, world.timeout);
}

}  // namespace pcomp::transport
