#pragma once
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "../base/compiled.hpp"
#include "../base/error.hpp"

namespace pcomp::transport {

/// What the launcher told this process: its rank, how many processes there are, and where they meet.
///
/// Errors: `Error` for variables that are missing, not numbers or out of range.
/// Example: docs/several-machines.md
struct LauncherEnvironment {
  std::string by;  ///< torchrun, mpirun, srun
  int rank = 0, size = 1;
  int local_size = 0;   ///< processes on this machine; 0: not known
  int local_rank = -1;  ///< which of them this one is; -1: not known
  std::string host = "127.0.0.1";
  int port = 29500;
  int attempt = 0;           ///< how often the launcher has restarted all ranks
  std::string run;           ///< the run's name: PCOMP_RUN_ID, or the launcher's; empty: none
  bool agent_store = false;  ///< the launcher hosts the store; else rank 0 does

  /// Reads the environment; nothing if there is a single process.
  [[nodiscard]] static std::optional<LauncherEnvironment> from_env();

  /// Which of the machine's `devices` this process uses.
  int device(int devices) const { return (local_rank < 0 ? rank : local_rank) % devices; }
  /// "127.0.0.1:29500".
  std::string where() const { return host + ":" + std::to_string(port); }

 private:
  static std::string name_of_run(const char* launchers);
  static int number(const char* name, int least, int most);
};

}  // namespace pcomp::transport

namespace pcomp::detail {

class Rendezvous;
/// What all pipelines of one process share: the store where the ranks meet, once it is needed.
struct ProcessContext {
  std::shared_ptr<Rendezvous> rendezvous;
  int pipelines = 0;
};

}  // namespace pcomp::detail

namespace pcomp::transport {

/// How payloads travel between processes.
enum class Backend { Gloo, Nccl };

}  // namespace pcomp::transport

namespace pcomp {

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
    world.launch_ = transport::LauncherEnvironment::from_env();
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
  const transport::LauncherEnvironment* launch() const { return launch_ ? &*launch_ : nullptr; }

  /// The time limit of one wait for a peer; a stage that computes for longer looks dead.
  std::chrono::milliseconds timeout = std::chrono::minutes(10);
  /// Intra-op threads of each rank; 0: OMP_NUM_THREADS, else the CPUs that this process may use (its affinity, its
  /// container's limit) divided by the ranks on this machine, at least 1.
  int threads_per_rank = 0;
  /// What this rank listens on: the name of an interface or an address of this machine. Empty: the address from
  /// which MASTER_ADDR is reached. Never all interfaces.
  std::string interface = from_environment("PCOMP_INTERFACE", "GLOO_SOCKET_IFNAME");
  transport::Backend link = transport::Backend::Gloo;

  /// For the pipelines built on this world.
  detail::ProcessContext& meeting() const { return *meeting_; }

 private:
  World() = default;
  static std::string from_environment(const char* first, const char* second) {
    for (const char* name : {first, second})
      if (const char* value = std::getenv(name)) return value;
    return "";
  }

  std::optional<transport::LauncherEnvironment> launch_;
  std::shared_ptr<detail::ProcessContext> meeting_ = std::make_shared<detail::ProcessContext>();
};

}  // namespace pcomp

#if !defined(PCOMP_COMPILED)
#include "impl/world.ipp"
#endif
