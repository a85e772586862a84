#include "model/model.hpp"

#include <ATen/ops/allclose.h>
#include <torch/optim/sgd.h>
#include <unistd.h>

#include <fstream>
#include <pcomp/nn/loss.hpp>
#include <pcomp/runtime/engine.hpp>
#include <pcomp/schedule/policies/gpipe.hpp>

#include "../../unit/torch/catch.hpp"
#include "model/wires.hpp"
#include "run/checkpoint.hpp"

using namespace cifar;

namespace {

std::vector<at::Tensor> parameters(double width, const Cut& cut, std::uint64_t seed,
                                   const Computing& how = {}) {
  std::vector<at::Tensor> all;
  for (const auto& spec : stages(width, cut, seed, how))
    for (const at::Tensor& p : spec.build().module->parameters()) all.push_back(p);
  return all;
}

struct Session {
  explicit Session(std::uint64_t seed)
      : engine(world(), stages(0.05, find_cut("edge"), seed),
               std::vector<const pcomp::kernel::WireKernels*>(4, find_wire("topk10-quant8").ops),
               make_schedule(pcomp::GPipe{}, 5, 2, pcomp::schedule::RankMap(find_cut("edge").ranks))),
        sgd(engine.parameters(), torch::optim::SGDOptions(0.1).momentum(0.9).weight_decay(1e-3)) {}
  static pcomp::World world() {
    auto w = pcomp::World::threads();
    w.threads_per_rank = 1;
    return w;
  }
  void step(int n) {
    at::manual_seed(static_cast<std::uint64_t>(n));
    const at::Tensor x = at::randn({8, 3, 32, 32}), y = at::randint(10, {8});
    sgd.zero_grad();
    engine.step(x, y, pcomp::cross_entropy);
    sgd.step();
  }
  std::vector<at::Tensor> state() const {
    std::vector<at::Tensor> all = engine.parameters();
    for (int s = 0; s < 5; ++s)
      for (const at::Tensor& b : engine.module(s)->buffers()) all.push_back(b);
    return all;
  }
  pcomp::Engine engine;
  torch::optim::SGD sgd;
};

bool equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!at::equal(a[i], b[i])) return false;
  return true;
}

}  // namespace

TEST_CASE("MobileNetV2 has 2,296,922 parameters, and the same ones at every cut") {
  const auto edge = parameters(1, find_cut("edge"), 7);
  std::int64_t count = 0;
  for (const at::Tensor& p : edge) count += p.numel();
  CHECK(count == 2296922);
  const auto small = parameters(0.25, find_cut("edge"), 7);
  CHECK(equal(parameters(0.25, find_cut("cloud"), 7), small));
  CHECK(equal(parameters(0.25, find_cut("edge-cloud"), 7), small));
  CHECK(equal(parameters(0.25, find_cut("cloud-edge"), 7), small));
  CHECK(equal(parameters(0.25, find_cut("head"), 7), small));
  CHECK(equal(parameters(0.25, find_cut("narrow"), 7), small));
  CHECK(equal(parameters(0.25, find_cut("board"), 7), small));
  CHECK(equal(parameters(0.25, find_cut("two"), 7), small));
  CHECK(equal(parameters(0.25, find_cut("whole"), 7), small));
  CHECK(equal(parameters(0.25, find_cut("two"), 7, {true, true}), small));
  CHECK_FALSE(equal(parameters(0.25, find_cut("two"), 8), small));
}

TEST_CASE("Stages return what the table says") {
  for (const Cut& cut : cuts()) {
    at::Tensor x = at::zeros({2, 3, 32, 32});
    const auto specs = stages(0.25, cut, 1);
    for (int s = 0; s < cut.stages(); ++s) {
      x = specs[static_cast<std::size_t>(s)].build().forward(x);
      const auto expected =
          s + 1 < cut.stages() ? activation(mobilenetv2(0.25), cut, s, 2) : pcomp::Extents{2, 10};
      CHECK(pcomp::detail::extents_of(x) == expected);
    }
  }
}

TEST_CASE("Behind bn2 Downsample<4> is the network's own pooling, before it, it is not") {
  const auto step = [](const char* name, const char* wire) {
    const Cut& cut = find_cut(name);
    const pcomp::kernel::WireKernels* raw = find_wire("raw").ops;
    pcomp::Engine engine(Session::world(), stages(0.05, cut, 1), {raw, raw, raw, find_wire(wire).ops},
                         make_schedule(pcomp::GPipe{}, 5, 2, pcomp::schedule::RankMap(cut.ranks)));
    at::manual_seed(1);
    const at::Tensor x = at::randn({8, 3, 32, 32}), y = at::randint(10, {8});
    std::vector<at::Tensor> all{engine.step(x, y, pcomp::cross_entropy)};
    for (const at::Tensor& p : engine.parameters()) all.push_back(p.grad());
    return all;
  };
  const auto close = [](const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const at::Tensor& u, const at::Tensor& v) {
      return at::allclose(u, v, 1e-3, 1e-5);
    });
  };
  CHECK(close(step("head", "downsample4"), step("head", "raw")));
  CHECK_FALSE(close(step("cloud", "downsample4"), step("cloud", "raw")));
}

TEST_CASE("A checkpoint gives back every bit, momentum included, a damaged one is refused by name") {
  const auto path = std::filesystem::temp_directory_path() / ("pcomp-test-" + std::to_string(getpid()));
  Session undisturbed(1);
  undisturbed.step(1);
  State state;
  state.identity = {{"wire", "topk10-quant8"}, {"lr", "0.1"}};
  state.metrics.push_back({1, 2.5, 0.25, 0.1, 3, 100, 11, 22});
  state.images = 8;
  save(path, state, undisturbed.engine, undisturbed.sgd);
  undisturbed.step(2);
  undisturbed.step(3);

  Session second(2);
  const State loaded = load(path);
  restore(path, second.engine, second.sgd);
  CHECK(loaded.identity == state.identity);
  REQUIRE(loaded.metrics.size() == 1);
  CHECK(loaded.metrics[0].gradient_bytes == 22);
  CHECK(loaded.images == 8);
  CHECK(loaded.traffic.steps == 1);
  second.step(2);
  second.step(3);
  CHECK(equal(second.state(), undisturbed.state()));
  pcomp::runtime::Report all = second.engine.report();
  add(all, loaded.traffic);
  CHECK(all.boundaries[3].forward.bytes == undisturbed.engine.report().boundaries[3].forward.bytes);
  CHECK(all.boundaries[0].gradient.predicted == undisturbed.engine.report().boundaries[0].gradient.bytes);

  const auto file = path / "run.1.pt";
  std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
  const auto refusal = [&] {
    try {
      load(path);
    } catch (const pcomp::Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK(refusal().starts_with("pcomp: " + file.string() + ": this file is damaged"));
  std::filesystem::remove_all(path);
  CHECK(refusal() == "pcomp: " + path.string() + ": there is no such checkpoint");
}
