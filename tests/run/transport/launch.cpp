// What a launcher's variables mean, and which GPU of its machine a process takes.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <map>
#include <pcomp/transport/launch.hpp>
#include <string>
#include <vector>

using pcomp::Launch;

namespace {

/// While it exists, these variables are set and those of any other launcher are not.
class Environment {
 public:
  explicit Environment(const std::map<std::string, std::string>& variables) {
    for (const char* name :
         {"RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT",
          "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE",
          "OMPI_COMM_WORLD_LOCAL_RANK", "PMI_RANK", "PMI_SIZE", "SLURM_PROCID", "SLURM_NTASKS",
          "SLURM_NTASKS_PER_NODE", "SLURM_LOCALID", "SLURM_JOB_ID", "SLURM_STEP_NUM_TASKS"}) {
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
      {{"SLURM_PROCID", "5"}, {"SLURM_NTASKS", "8"}, {"SLURM_NTASKS_PER_NODE", "4"}, {"SLURM_LOCALID", "1"}}};
  for (auto variables : known) {
    variables["MASTER_ADDR"] = "10.0.0.1";
    const Environment environment(variables);
    const auto launch = Launch::from_env();
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
    CHECK(!Launch::from_env());
  }
  job["SLURM_STEP_NUM_TASKS"] = "4";
  {
    const Environment step(job);
    CHECK(Launch::from_env()->size == 4);
  }
  job["RANK"] = "0", job["WORLD_SIZE"] = "1";
  const Environment torchrun(job);
  CHECK(!Launch::from_env());
}

TEST_CASE("without a local rank the rank decides, and a wrong one is refused") {
  {
    const Environment environment({{"RANK", "5"}, {"WORLD_SIZE", "8"}});
    CHECK(Launch::from_env()->device(4) == 1);
  }
  const Environment environment({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"LOCAL_RANK", "7"}});
  CHECK_THROWS_WITH(Launch::from_env(), "pcomp: LOCAL_RANK=7: expected a number from 0 to 1");
}
