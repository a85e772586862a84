#pragma once
#include <torch/optim/sgd.h>

#include <filesystem>
#include <pcomp/runtime/engine.hpp>
#include <utility>

#include "metrics.hpp"

namespace cifar {

/// A run's progress; weights and momentum are in the engine and the optimiser.
struct State {
  std::vector<std::pair<std::string, std::string>> identity;
  std::string data;                ///< `identity` of its images; empty: saved before that was recorded
  std::vector<Metrics> metrics;    ///< of every finished epoch
  std::int64_t images = 0;         ///< trained on so far
  pcomp::runtime::Report traffic;  ///< of this run before it was resumed
};

/// Saves the whole run into a checkpoint folder, or leaves the last checkpoint there.
///
/// Law: after `load` and `restore` the run continues bit for bit as if uninterrupted; on the other device too, with
///   that device's sums.
/// Errors: `pcomp::Error` if a file cannot be written; the last checkpoint is unchanged.
void save(const std::filesystem::path& folder, const State& state, pcomp::Engine& engine,
          const torch::optim::SGD& optimiser);

/// Errors: `pcomp::Error` that names the file if it is missing, damaged or not this program's.
State load(const std::filesystem::path& folder);
void restore(const std::filesystem::path& folder, pcomp::Engine& engine, torch::optim::SGD& optimiser);

void add(pcomp::runtime::Report& to, const pcomp::runtime::Report& more);

}  // namespace cifar
