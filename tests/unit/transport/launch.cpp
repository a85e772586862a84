// What a launcher's variables mean, and which GPU of its machine a process takes.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <map>
#include <pcomp/transport/world.hpp>
#include <string>
#include <vector>

using pcomp::transport::LauncherEnvironment;

namespace {

/// While it exists, these variables are set and those of any other launcher are not.
class Environment {
 public:
  explicit Environment(const std::map<std::string, std::string>& variables) {
    for (const char* name : {"RANK",
                             "WORLD_SIZE",
                             "LOCAL_WORLD_SIZE",
                             "LOCAL_RANK",
                             "MASTER_ADDR",
                             "MASTER_PORT",
                             "OMPI_COMM_WORLD_RANK",
                             "OMPI_COMM_WORLD_SIZE",
                             "OMPI_COMM_WORLD_LOCAL_SIZE",
                             "OMPI_COMM_WORLD_LOCAL_RANK",
                             "PMI_RANK",
                             "PMI_SIZE",
                             "MPI_LOCALNRANKS",
                             "MPI_LOCALRANKID",
                             "SLURM_PROCID",
                             "SLURM_NTASKS",
                             "TORCHELASTIC_RESTART_COUNT",
                             "TORCHELASTIC_USE_AGENT_STORE",
                             "SLURM_NTASKS_PER_NODE",
                             "SLURM_LOCALID",
                             "SLURM_JOB_ID",
                             "SLURM_STEP_NUM_TASKS"}) {
      const char* value = std::getenv(name);
      if (value) before_[name] = value;
      ::unsetenv(name);
    }
    for (const auto& [name, value] : variables)
      ::setenv(name.c_str(), value.c_str(), 1), set_.push_back(name);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() {
    for (const std::string& name : set_) ::unsetenv(name.c_str());
    for (const auto& [name, value] : before_) ::setenv(name.c_str(), value.c_str(), 1);
  }

 private:
  std::map<std::string, std::string> before_;
  std::vector<std::string> set_;
};

}  // namespace

TEST_CASE("every launcher says which process of its machine this one is, and that is its GPU") {
  const std::map<std::string, std::string> known[] = {
      {{"RANK", "5"}, {"WORLD_SIZE", "8"}, {"LOCAL_WORLD_SIZE", "4"}, {"LOCAL_RANK", "1"}},
      {{"OMPI_COMM_WORLD_RANK", "5"},
       {"OMPI_COMM_WORLD_SIZE", "8"},
       {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
       {"OMPI_COMM_WORLD_LOCAL_RANK", "1"}},
      {{"PMI_RANK", "5"}, {"PMI_SIZE", "8"}, {"MPI_LOCALNRANKS", "4"}, {"MPI_LOCALRANKID", "1"}},
      {{"SLURM_PROCID", "5"}, {"SLURM_NTASKS", "8"}, {"SLURM_NTASKS_PER_NODE", "4"}, {"SLURM_LOCALID", "1"}}};
  for (auto variables : known) {
    variables["MASTER_ADDR"] = "10.0.0.1";
    const Environment environment(variables);
    const auto launch = LauncherEnvironment::from_env();
    REQUIRE(launch);
    INFO(launch->by);
    CHECK(launch->rank == 5);
    CHECK(launch->local_size == 4);
    CHECK(launch->local_rank == 1);
    CHECK(launch->device(4) == 1);
    CHECK(launch->device(1) == 0);  // the launcher shows each process only its own GPU
  }
}

TEST_CASE("one process within somebody else's job is alone") {
  std::map<std::string, std::string> job{{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}};
  job["MASTER_ADDR"] = "10.0.0.1";
  {
    const Environment script(job);  // not started by srun
    CHECK(!LauncherEnvironment::from_env());
  }
  job["SLURM_STEP_NUM_TASKS"] = "4";
  {
    const Environment step(job);
    CHECK(LauncherEnvironment::from_env()->size == 4);
  }
  job["RANK"] = "0", job["WORLD_SIZE"] = "1";
  const Environment torchrun(job);
  CHECK(!LauncherEnvironment::from_env());
}

TEST_CASE("without a local rank the rank decides, and a wrong one is refused") {
  {
    const Environment environment({{"RANK", "5"}, {"WORLD_SIZE", "8"}});
    CHECK(LauncherEnvironment::from_env()->device(4) == 1);
  }
  const Environment environment({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"LOCAL_RANK", "7"}});
  CHECK_THROWS_WITH(LauncherEnvironment::from_env(), "pcomp: LOCAL_RANK=7: expected a number from 0 to 1");
}

namespace {

using Variables = std::map<std::string, std::string>;

/// The variables of each launcher for rank 1 of 2, both on this machine, in the order in which they are looked for.
const std::pair<const char*, Variables> launchers[] = {
    {"torchrun", {{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"LOCAL_WORLD_SIZE", "2"}, {"LOCAL_RANK", "1"}}},
    {"mpirun",
     {{"OMPI_COMM_WORLD_RANK", "1"},
      {"OMPI_COMM_WORLD_SIZE", "2"},
      {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
      {"OMPI_COMM_WORLD_LOCAL_RANK", "1"}}},
    {"mpirun", {{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MPI_LOCALNRANKS", "2"}, {"MPI_LOCALRANKID", "1"}}},
    {"srun",
     {{"SLURM_PROCID", "1"}, {"SLURM_NTASKS", "2"}, {"SLURM_NTASKS_PER_NODE", "2"}, {"SLURM_LOCALID", "1"}}}};

std::string refused(const Variables& variables) {
  const Environment environment(variables);
  try {
    static_cast<void>(LauncherEnvironment::from_env());
  } catch (const pcomp::Error& e) {
    return e.what();
  }
  return "nothing";
}

}  // namespace

TEST_CASE("where two launchers' variables are set, those of the first in the list count") {
  for (std::size_t other = 1; other < std::size(launchers); ++other)
    for (std::size_t first = 0; first < other; ++first) {
      Variables both = launchers[other].second;
      for (auto& [name, value] : both) value = value == "1" ? "5" : "8";
      for (const auto& [name, value] : launchers[first].second) both[name] = value;
      const Environment environment(both);
      const auto launch = LauncherEnvironment::from_env();
      REQUIRE(launch);
      INFO(launchers[first].first << " and " << launchers[other].first);
      CHECK(launch->by == launchers[first].first);
      CHECK(launch->rank == 1);
      CHECK(launch->size == 2);
      CHECK(launch->local_size == 2);
      CHECK(launch->local_rank == 1);
    }
}

TEST_CASE("on one machine nothing else need be set, on several MASTER_ADDR must be") {
  for (const auto& [by, variables] : launchers) {
    const Environment environment(variables);
    const auto launch = LauncherEnvironment::from_env();
    REQUIRE(launch);
    CHECK(launch->where() == "127.0.0.1:29500");
    CHECK(launch->attempt == 0);
    CHECK_FALSE(launch->agent_store);
  }
  for (auto [by, variables] : launchers) {
    for (auto& [name, value] : variables)
      if (value == "2" && name.find("LOCAL") == std::string::npos && name.find("NODE") == std::string::npos)
        value = "3";
    CHECK(refused(variables) == std::string("pcomp: ") + by +
                                    " started 3 processes, 2 of them on this machine: set MASTER_ADDR to an "
                                    "address of rank 0's machine that the others reach");
    variables["MASTER_ADDR"] = "10.0.0.1";
    CHECK(refused(variables) == "nothing");
  }
}

TEST_CASE("the port, the restarts and the agent's store are read") {
  Variables variables = launchers[0].second;
  variables["MASTER_ADDR"] = "node7", variables["MASTER_PORT"] = "1234";
  variables["TORCHELASTIC_RESTART_COUNT"] = "3", variables["TORCHELASTIC_USE_AGENT_STORE"] = "True";
  {
    const Environment environment(variables);
    const auto launch = LauncherEnvironment::from_env();
    CHECK(launch->where() == "node7:1234");
    CHECK(launch->attempt == 3);
    CHECK(launch->agent_store);
  }
  variables["TORCHELASTIC_USE_AGENT_STORE"] = "False";
  const Environment environment(variables);
  CHECK_FALSE(LauncherEnvironment::from_env()->agent_store);
}

TEST_CASE("every variable has a bad value of its own, and is named with it") {
  const auto bad = [](Variables variables, const std::string& name, int least, int most) {
    for (const std::string& value :
         {std::to_string(least - 1), std::to_string(std::int64_t{most} + 1), std::string(), std::string("x"),
          std::to_string(most) + "x", std::to_string(most) + " ", " " + std::to_string(most),
          std::string("99999999999")}) {
      variables[name] = value;
      CHECK(refused(variables) == "pcomp: " + name + "=" + value + ": expected a number from " +
                                      std::to_string(least) + " to " + std::to_string(most));
    }
  };
  struct Names {
    const char *rank, *size, *local, *local_rank;
  };
  const Names names[] = {{"RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_RANK"},
                         {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE",
                          "OMPI_COMM_WORLD_LOCAL_RANK"},
                         {"PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS", "MPI_LOCALRANKID"},
                         {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_LOCALID"}};
  for (std::size_t l = 0; l < std::size(launchers); ++l) {
    const Variables& right = launchers[l].second;
    CHECK(refused(right) == "nothing");
    bad(right, names[l].rank, 0, 1);
    bad(right, names[l].size, 1, 1 << 20);
    bad(right, names[l].local, 1, 1 << 20);
    bad(right, names[l].local_rank, 0, 1);
    bad(right, "MASTER_PORT", 1, 65535);
    bad(right, "TORCHELASTIC_RESTART_COUNT", 0, 1 << 30);
    Variables without = right;
    without.erase(names[l].rank);
    CHECK(refused(without) == std::string("pcomp: ") + names[l].size + "=2 asks for several processes, but " +
                                  names[l].rank + ", which says which one this is, is not set");
  }
}
