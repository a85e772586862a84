#pragma once
#include <charconv>
#include <cstdlib>

#include "../world.hpp"

namespace pcomp::transport {

PCOMP_IMPL std::optional<LauncherEnvironment> LauncherEnvironment::from_env() {
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
    if (std::getenv("SLURM_JOB_ID") && !std::getenv("SLURM_STEP_NUM_TASKS") && names.size == slurm) continue;
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

PCOMP_IMPL std::string LauncherEnvironment::name_of_run(const char* launchers) {
  for (const char* name : {"PCOMP_RUN_ID", launchers})
    if (const char* value = std::getenv(name); value && *value && std::string_view(value) != "none") {
      const char* const step =
          std::string_view(name) == "SLURM_JOB_ID" ? std::getenv("SLURM_STEP_ID") : nullptr;
      return std::string(value) + (step ? std::string(".") + step : "");
    }
  return "";
}

PCOMP_IMPL int LauncherEnvironment::number(const char* name, int least, int most) {
  const std::string_view text = std::getenv(name);
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most)
    throw Error(std::string("pcomp: ") + name + "=" + std::string(text) + ": expected a number from " +
                std::to_string(least) + " to " + std::to_string(most));
  return value;
}

}  // namespace pcomp::transport
