#pragma once
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

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
  [[nodiscard]] static std::optional<LauncherEnvironment> from_env() {
    struct Names {
      const char *by, *rank, *size, *local, *local_rank, *run;
    };
    static constexpr const char* slurm = "SLURM_NTASKS";
    constexpr Names known[] = {
        {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RUN_ID"},
        {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE",
         "OMPI_COMM_WORLD_LOCAL_RANK", "PMIX_NAMESPACE"},
        {"mpirun", "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS", "MPI_LOCALRANKID", "PMI_JOBID"},
        {"srun", "SLURM_PROCID", slurm, "SLURM_NTASKS_PER_NODE", "SLURM_LOCALID", "SLURM_JOB_ID"}};
    for (const Names& names : known) {
      if (!std::getenv(names.size)) continue;
      // Inside a job script but not started by srun: the job's tasks are not this program's.
      if (std::getenv("SLURM_JOB_ID") && !std::getenv("SLURM_STEP_NUM_TASKS") && names.size == slurm)
        continue;
      LauncherEnvironment l;
      l.by = names.by;
      l.size = number(names.size, 1, 1 << 20);
      if (l.size == 1) break;  // a launcher within another one's job
      if (!std::getenv(names.rank))
        throw Error(std::string("pcomp: ") + names.size + "=" + std::getenv(names.size) +
                    " asks for several processes, but " + names.rank +
                    ", which says which one this is, is not set");
      l.rank = number(names.rank, 0, l.size - 1);
      if (std::getenv(names.local)) l.local_size = number(names.local, 1, 1 << 20);
      if (std::getenv(names.local_rank)) l.local_rank = number(names.local_rank, 0, l.size - 1);
      if (std::getenv("MASTER_PORT")) l.port = number("MASTER_PORT", 1, 65535);
      if (const char* host = std::getenv("MASTER_ADDR"))
        l.host = host;
      else if (l.local_size > 0 && l.local_size < l.size)
        throw Error("pcomp: " + l.by + " started " + std::to_string(l.size) + " processes, " +
                    std::to_string(l.local_size) +
                    " of them on this machine: set MASTER_ADDR to an address of rank 0's machine that the "
                    "others reach");
      if (std::getenv("TORCHELASTIC_RESTART_COUNT"))
        l.attempt = number("TORCHELASTIC_RESTART_COUNT", 0, 1 << 30);
      l.run = name_of_run(names.run);
      if (const char* agent = std::getenv("TORCHELASTIC_USE_AGENT_STORE"))
        l.agent_store = std::string_view(agent) == "True";
      return l;
    }
    return std::nullopt;
  }

  /// Which of the machine's `devices` this process uses.
  int device(int devices) const { return (local_rank < 0 ? rank : local_rank) % devices; }
  /// "127.0.0.1:29500".
  std::string where() const { return host + ":" + std::to_string(port); }

 private:
  static std::string name_of_run(const char* launchers) {
    for (const char* name : {"PCOMP_RUN_ID", launchers})
      if (const char* value = std::getenv(name); value && *value && std::string_view(value) != "none") {
        const char* const step =
            std::string_view(name) == "SLURM_JOB_ID" ? std::getenv("SLURM_STEP_ID") : nullptr;
        return std::string(value) + (step ? std::string(".") + step : "");
      }
    return "";
  }
  static int number(const char* name, int least, int most) {
    const std::string_view text = std::getenv(name);
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < least || value > most)
      throw Error(std::string("pcomp: ") + name + "=" + std::string(text) + ": expected a number from " +
                  std::to_string(least) + " to " + std::to_string(most));
    return value;
  }
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
