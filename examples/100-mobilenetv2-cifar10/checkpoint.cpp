#include "checkpoint.hpp"

#include <torch/serialize.h>

#include <array>
#include <pcomp/pipeline/checkpoint.hpp>
#include <sstream>

namespace cifar {
namespace {

constexpr std::int64_t version = 1;

/// The numbers of a report that a checkpoint keeps, in one order for writing and for reading.
std::array<std::int64_t*, 12> numbers(pcomp::BoundaryReport& b) {
  std::array<std::int64_t*, 12> all{};
  std::size_t n = 0;
  for (pcomp::Traffic* t : {&b.forward, &b.gradient, &b.inference})
    for (std::int64_t* v : {&t->messages, &t->bytes, &t->predicted, &t->raw}) all[n++] = v;
  return all;
}
constexpr std::int64_t counted = 12;
constexpr std::int64_t columns = sizeof(Metrics) / sizeof(double);

torch::serialize::InputArchive open(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) throw pcomp::Error(path.string() + ": there is no such checkpoint");
  torch::serialize::InputArchive archive;
  c10::IValue found;
  try {
    archive.load_from(path.string());
  } catch (const std::exception&) {
    throw pcomp::Error(path.string() + ": this file is damaged or no checkpoint");
  }
  if (!archive.try_read("version", found) || !found.isInt() || found.toInt() != version)
    throw pcomp::Error(path.string() + ": expected a checkpoint of version " + std::to_string(version));
  return archive;
}

}  // namespace

void add(pcomp::Report& to, const pcomp::Report& more) {
  to.steps += more.steps;
  for (std::size_t e = 0; e < to.boundaries.size() && e < more.boundaries.size(); ++e) {
    to.boundaries[e].forward += more.boundaries[e].forward;
    to.boundaries[e].gradient += more.boundaries[e].gradient;
    to.boundaries[e].inference += more.boundaries[e].inference;
  }
}

void save(const std::filesystem::path& path, const State& state, const pcomp::Engine& engine,
          const torch::optim::SGD& optimiser) {
  torch::serialize::OutputArchive archive;
  archive.write("version", c10::IValue(version));
  std::string identity;
  for (const auto& [option, value] : state.identity) identity += option + " " + value + "\n";
  archive.write("identity", c10::IValue(identity));
  archive.write("images", c10::IValue(state.images));
  auto metrics = at::empty({static_cast<std::int64_t>(state.metrics.size()), columns}, at::kDouble);
  std::memcpy(metrics.mutable_data_ptr(), state.metrics.data(), state.metrics.size() * sizeof(Metrics));
  archive.write("metrics", metrics);

  pcomp::Report traffic = engine.report();
  add(traffic, state.traffic);
  archive.write("steps", c10::IValue(traffic.steps));
  auto counts = at::empty({static_cast<std::int64_t>(traffic.boundaries.size()), counted}, at::kLong);
  auto* to = counts.mutable_data_ptr<std::int64_t>();
  for (pcomp::BoundaryReport& b : traffic.boundaries)
    for (std::int64_t i = 0; i < counted; ++i) *to++ = *numbers(b)[static_cast<std::size_t>(i)];
  archive.write("traffic", counts);

  for (int s = 0; s < engine.schedule().stages; ++s) {
    torch::serialize::OutputArchive stage;
    engine.module(s)->save(stage);
    archive.write("stage" + std::to_string(s), stage);
  }
  torch::serialize::OutputArchive momentum;
  optimiser.save(momentum);
  archive.write("optimiser", momentum);

  std::ostringstream bytes;
  archive.save_to(bytes);
  pcomp::write_whole(path, std::move(bytes).str());
}

State load(const std::filesystem::path& path) {
  auto archive = open(path);
  State state;
  try {
    c10::IValue v;
    archive.read("identity", v);
    std::istringstream lines(v.toStringRef());
    for (std::string option, value; lines >> option >> value;) state.identity.emplace_back(option, value);
    archive.read("images", v);
    state.images = v.toInt();
    at::Tensor metrics, counts;  // one each: reading into a defined tensor keeps its dtype
    archive.read("metrics", metrics);
    TORCH_CHECK(metrics.dim() == 2 && metrics.size(1) == columns && metrics.scalar_type() == at::kDouble);
    state.metrics.resize(static_cast<std::size_t>(metrics.size(0)));
    std::memcpy(state.metrics.data(), metrics.const_data_ptr(), state.metrics.size() * sizeof(Metrics));
    archive.read("steps", v);
    state.traffic.steps = v.toInt();
    archive.read("traffic", counts);
    TORCH_CHECK(counts.dim() == 2 && counts.size(1) == counted && counts.scalar_type() == at::kLong);
    const auto* from = counts.const_data_ptr<std::int64_t>();
    state.traffic.boundaries.resize(static_cast<std::size_t>(counts.size(0)));
    for (pcomp::BoundaryReport& b : state.traffic.boundaries)
      for (std::int64_t i = 0; i < counted; ++i) *numbers(b)[static_cast<std::size_t>(i)] = *from++;
  } catch (const std::exception&) {
    throw pcomp::Error(path.string() + ": this checkpoint is damaged");
  }
  return state;
}

void restore(const std::filesystem::path& path, pcomp::Engine& engine, torch::optim::SGD& optimiser) {
  auto archive = open(path);
  try {
    for (int s = 0; s < engine.schedule().stages; ++s) {
      torch::serialize::InputArchive stage;
      archive.read("stage" + std::to_string(s), stage);
      engine.module(s)->load(stage);
    }
    torch::serialize::InputArchive momentum;
    archive.read("optimiser", momentum);
    optimiser.load(momentum);
  } catch (const c10::Error& e) {
    throw pcomp::Error(path.string() + ": the saved network does not fit: " + e.what_without_backtrace());
  }
}

}  // namespace cifar
