#pragma once
#include <chrono>
#include <cstdlib>
#include <string>

#include "../core/error.hpp"

namespace pcomp {

/// Where the ranks of a pipeline live.
///
/// Law: alone, every rank is a thread of this process, as many as the schedule has.
/// Errors: `Error` when the environment says that a launcher started several processes: transports between
///   processes are not built yet.
/// Example: examples/050-first-program
class World {
 public:
  /// Reads what torchrun, mpirun and srun set (WORLD_SIZE, OMPI_COMM_WORLD_SIZE, SLURM_NTASKS); alone: threads.
  static World from_env() {
    for (const char* variable : {"WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS"})
      if (const char* value = std::getenv(variable); value && std::strtol(value, nullptr, 10) > 1)
        throw Error(std::string("pcomp: ") + variable + "=" + value +
                    " asks for several processes, but ranks can only be threads of one process so far: "
                    "start one process, without a launcher");
    return World();
  }
  /// Every rank is a thread of this process, whatever the environment says.
  static World threads() { return World(); }

  /// The limit of one wait for a peer; a stage that computes longer than this looks like a dead one.
  std::chrono::milliseconds timeout = std::chrono::minutes(10);
  /// Intra-op threads of each rank; 0: the cores divided by the ranks, at least 1.
  int threads_per_rank = 0;

 private:
  World() = default;
};

}  // namespace pcomp
