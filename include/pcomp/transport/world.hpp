#pragma once
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>

#include "launch.hpp"

namespace pcomp {

namespace detail {
class Board;
/// What all pipelines of one process share: the store where the ranks meet, once it is needed.
struct Meeting {
  std::shared_ptr<Board> board;
  int pipelines = 0;
};
}  // namespace detail

/// How payloads travel between processes.
enum class LinkKind { Gloo, Nccl };

/// Where the ranks of a pipeline live.
///
/// Law: under torchrun, mpirun or srun each rank is a process; in a single process, every rank of the schedule is a
///   thread. The program is the same. With several processes, all pipelines of each must be built on one World or
///   copies of it.
/// Errors: `Error` if a launcher started several processes and this build has no transport between them, or for an
///   environment that contradicts itself. Nothing is connected before a pipeline is built.
/// Example: examples/050-first-program
class World {
 public:
  /// Reads what torchrun (RANK, WORLD_SIZE), mpirun (OMPI_COMM_WORLD_*, PMI_*) and srun (SLURM_*) set, and
  /// MASTER_ADDR and MASTER_PORT; in a single process: threads.
  [[nodiscard]] static World from_env() {
    World world;
    world.launch_ = Launch::from_env();
#if !defined(USE_C10D_GLOO)
    if (world.launch_)
      throw Error("pcomp: " + world.launch_->by + " started " + std::to_string(world.launch_->size) +
                  " processes, but this build has no transport between processes: install Gloo's headers "
                  "(Debian: libgloo-dev), configure and build anew, or start one process");
#endif
    return world;
  }
  /// Every rank is a thread of this process, whatever the environment says.
  [[nodiscard]] static World threads() { return World(); }

  bool processes() const { return launch_.has_value(); }
  /// This process's rank, or 0 if the ranks are threads; for programs that print once.
  int rank() const { return launch_ ? launch_->rank : 0; }
  int size() const { return launch_ ? launch_->size : 1; }
  const Launch* launch() const { return launch_ ? &*launch_ : nullptr; }

  /// The time limit of one wait for a peer; a stage that computes for longer looks dead.
  std::chrono::milliseconds timeout = std::chrono::minutes(10);
  /// Intra-op threads of each rank; 0: OMP_NUM_THREADS, else the CPUs that this process may use (its affinity, its
  /// container's limit) divided by the ranks on this machine, at least 1.
  int threads_per_rank = 0;
  /// What this rank listens on: the name of an interface or an address of this machine. Empty: the address from
  /// which MASTER_ADDR is reached. Never all interfaces.
  std::string interface = from_environment("PCOMP_INTERFACE", "GLOO_SOCKET_IFNAME");
  LinkKind link = LinkKind::Gloo;

  /// For the pipelines built on this world.
  detail::Meeting& meeting() const { return *meeting_; }

 private:
  World() = default;
  static std::string from_environment(const char* first, const char* second) {
    for (const char* name : {first, second})
      if (const char* value = std::getenv(name)) return value;
    return "";
  }

  std::optional<Launch> launch_;
  std::shared_ptr<detail::Meeting> meeting_ = std::make_shared<detail::Meeting>();
};

}  // namespace pcomp
