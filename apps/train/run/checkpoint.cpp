#include "checkpoint.hpp"

#include <ATen/ops/empty.h>

#include <cstring>
#include <pcomp/checkpoint/checkpoint.hpp>
#include <pcomp/runtime/report.hpp>

namespace cifar {
namespace {

constexpr std::int64_t counted = 12;
constexpr std::int64_t columns = sizeof(Metrics) / sizeof(double);

/// A table of numbers as a tensor.
template <class T>
at::Tensor table(at::ScalarType dtype, std::int64_t rows, std::int64_t width, const T* from) {
  at::Tensor t = at::empty({rows, width}, dtype);
  if (rows > 0) std::memcpy(t.mutable_data_ptr(), from, static_cast<std::size_t>(rows * width) * sizeof(T));
  return t;
}
template <class T>
std::vector<T> numbers(const at::Tensor& t, at::ScalarType dtype, std::int64_t width) {
  if (t.dim() != 2 || t.size(1) != width || t.scalar_type() != dtype)
    throw pcomp::Error("the run in this checkpoint is not this program's");
  const T* const from = t.const_data_ptr<T>();
  return {from, from + t.numel()};
}

}  // namespace

void add(pcomp::runtime::Report& to, const pcomp::runtime::Report& more) {
  to.steps += more.steps;
  for (std::size_t e = 0; e < to.boundaries.size() && e < more.boundaries.size(); ++e) {
    to.boundaries[e].forward += more.boundaries[e].forward;
    to.boundaries[e].gradient += more.boundaries[e].gradient;
    to.boundaries[e].inference += more.boundaries[e].inference;
  }
}

void save(const std::filesystem::path& folder, const State& state, pcomp::Engine& engine,
          const torch::optim::SGD& optimiser) {
  pcomp::runtime::Report traffic = pcomp::runtime::total_report(engine);
  add(traffic, state.traffic);
  std::vector<std::int64_t> counts;
  for (pcomp::runtime::BoundaryReport& b : traffic.boundaries)
    for (const std::int64_t* n : pcomp::runtime::counters(b)) counts.push_back(*n);
  const auto epochs = static_cast<std::int64_t>(state.metrics.size());
  const std::int64_t trained[] = {state.images, traffic.steps};

  pcomp::checkpoint::Manifest manifest;
  manifest.epoch = epochs;
  manifest.step = traffic.steps;
  manifest.notes = state.identity;
  if (!state.data.empty()) manifest.notes.emplace_back("data", state.data);
  pcomp::save_checkpoint(pcomp::checkpoint::CheckpointFolder(folder), manifest, engine, optimiser,
                         {{"metrics", table(at::kDouble, epochs, columns,
                                            reinterpret_cast<const double*>(state.metrics.data()))},
                          {"traffic", table(at::kLong, static_cast<std::int64_t>(traffic.boundaries.size()),
                                            counted, counts.data())},
                          {"trained", table(at::kLong, 1, 2, trained)}});
}

State load(const std::filesystem::path& folder) {
  const pcomp::checkpoint::CheckpointFolder checkpoint(folder);
  const pcomp::checkpoint::Manifest manifest = checkpoint.manifest();
  const pcomp::checkpoint::NamedTensors run = pcomp::checkpoint::load_run(checkpoint, manifest);
  const auto saved = [&](const char* name) {
    return pcomp::checkpoint::find_tensor(run, name, folder.string());
  };
  State state;
  for (const auto& note : manifest.notes)
    if (note.first == "data")
      state.data = note.second;
    else
      state.identity.push_back(note);
  const auto metrics = numbers<double>(saved("metrics"), at::kDouble, columns);
  state.metrics.resize(metrics.size() / columns);
  if (!metrics.empty())
    std::memcpy(static_cast<void*>(state.metrics.data()), metrics.data(), metrics.size() * sizeof(double));
  const auto trained = numbers<std::int64_t>(saved("trained"), at::kLong, 2);
  state.images = trained.at(0);
  state.traffic.steps = trained.at(1);
  const auto counts = numbers<std::int64_t>(saved("traffic"), at::kLong, counted);
  state.traffic.boundaries.resize(counts.size() / counted);
  auto from = counts.begin();
  for (pcomp::runtime::BoundaryReport& b : state.traffic.boundaries)
    for (std::int64_t* n : pcomp::runtime::counters(b)) *n = *from++;
  return state;
}

void restore(const std::filesystem::path& folder, pcomp::Engine& engine, torch::optim::SGD& optimiser) {
  const pcomp::checkpoint::CheckpointFolder checkpoint(folder);
  pcomp::load_checkpoint(checkpoint, checkpoint.manifest(), engine, optimiser);
}

}  // namespace cifar
