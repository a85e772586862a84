#include <pcomp/core.hpp>

#include "catch.hpp"
#include "net.hpp"
#include "wires.hpp"

using namespace pcomp;

namespace {

struct Data {
  torch::Tensor x, y;
  Data(std::int64_t n, std::int64_t height, std::int64_t width, std::uint64_t seed) {
    torch::manual_seed(seed);
    x = torch::randn({n, 3, height, width});
    y = torch::randint(10, {n});
  }
};

/// Two steps with an optimiser between, so that weights, statistics and gradients all had their chance to differ.
template <class Net>
torch::Tensor two_steps(Net&& step, const std::vector<torch::Tensor>& parameters) {
  const Data a(10, 9, 7, 5), b(11, 9, 7, 6);
  torch::optim::SGD sgd(parameters, torch::optim::SGDOptions(0.05).momentum(0.9));
  const torch::Tensor first = step(a.x, a.y);
  sgd.step();
  sgd.zero_grad();
  return torch::stack({first, step(b.x, b.y)});
}

void check_equal(const std::vector<const BoundaryOps*>& wires, const ScheduleTable& table) {
  at::set_num_threads(1);
  net::Sequential plain(wires);
  std::vector<torch::Tensor> parameters;
  for (const auto& p : plain.parts)
    if (p.module)
      for (const torch::Tensor& t : p.module->parameters()) parameters.push_back(t);
  const torch::Tensor expected =
      two_steps([&](const torch::Tensor& x,
                    const torch::Tensor& y) { return plain.step(x, y, table.micros, cross_entropy); },
                parameters);

  Engine engine(net::one_thread_each(), net::stages(), wires, table);
  const torch::Tensor came = two_steps(
      [&](const torch::Tensor& x, const torch::Tensor& y) { return engine.step(x, y, cross_entropy); },
      engine.parameters());
  CHECK(torch::equal(came, expected));
  CHECK(net::differing(net::state(engine), plain.state()) == 0);
  for (const BoundaryReport& b : engine.report().boundaries) {
    CHECK(b.forward.messages == 2 * table.micros);
    CHECK(b.gradient.messages == 2 * table.micros);
    CHECK(b.forward.bytes == b.forward.predicted);
    CHECK(b.gradient.bytes == b.gradient.predicted);
  }
}

}  // namespace

TEST_CASE("A pipeline equals the sequential loop to the last bit, for every wire") {
  for (const BoundaryOps* w : all_wires()) {
    if (w->name.view().find("Downsample<64>") != std::string_view::npos) continue;
    INFO(w->name.view());
    const bool pools = w->name.view().find("Downsample") != std::string_view::npos;
    const auto* flat = pools ? &boundary_ops(Quant<8>) : w;  // the last boundary has no height and width
    check_equal({w, w, w, flat}, make_schedule(OneFOneB{}, 5, 4));
  }
}

TEST_CASE("A pipeline equals the sequential loop under every schedule and placement") {
  const std::vector<const BoundaryOps*> wires{&boundary_ops(Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>),
                                              &boundary_ops(Wire<Quant<4>, Quant<8>>{}), &boundary_ops(Raw),
                                              &boundary_ops(BFloat16)};
  const std::vector<RankMap> placements{RankMap(),
                                        RankMap{0, 1, 2, 3, 0},
                                        round_robin(2),
                                        RankMap{0, 0, 1, 1, 0},
                                        RankMap{0, 0, 0, 0, 0},
                                        RankMap{2, 1, 0, 1, 2}};
  for (std::size_t p = 0; p < placements.size(); ++p)
    for (int micros : {1, 3, 4, 8}) {
      INFO("placement " << p << ", micro-batches " << micros);
      check_equal(wires, make_schedule(GPipe{}, 5, micros, placements[p]));
      check_equal(wires, make_schedule(OneFOneB{}, 5, micros, placements[p]));
    }
}

TEST_CASE(
    "Inference equals the sequential loop in evaluation mode, also for fewer samples than micro-batches") {
  at::set_num_threads(1);
  const std::vector<const BoundaryOps*> wires(4, &boundary_ops(TopK<Ratio<1, 4>> | Quant<8>));
  net::Sequential plain(wires);
  for (auto& p : plain.parts)
    if (p.module) p.module->eval();
  Engine engine(net::one_thread_each(), net::stages(), wires, make_schedule(OneFOneB{}, 5, 4));
  engine.eval();
  const torch::NoGradGuard no_grad;
  for (std::int64_t n : {1, 3, 4, 9}) {
    const Data data(n, 8, 8, 3);
    std::vector<torch::Tensor> outputs;
    for (const auto& part : split(n, static_cast<int>(std::min<std::int64_t>(n, 4))))
      outputs.push_back(plain.forward(data.x.narrow(0, part.first, part.count)));
    const torch::Tensor came = engine.infer(data.x);
    CHECK(torch::equal(came, torch::cat(outputs)));
    CHECK_FALSE(came.requires_grad());
  }
}

TEST_CASE("Learning the shapes leaves modes, statistics and random numbers alone") {
  const std::vector<const BoundaryOps*> wires(4, &boundary_ops(Raw));
  Engine engine(net::one_thread_each(), net::stages(), wires, make_schedule(GPipe{}, 5, 2));
  auto& body = dynamic_cast<net::Body&>(*engine.module(1));
  body.norm->eval();
  const torch::Tensor mean = body.norm->running_mean.clone();
  const Data data(4, 8, 8, 3);
  torch::manual_seed(11);
  const torch::Tensor expected = torch::rand({4});
  torch::manual_seed(11);
  engine.step(data.x, data.y, cross_entropy);
  CHECK(torch::equal(torch::rand({4}), expected));
  CHECK_FALSE(body.norm->is_training());
  CHECK(body.conv->is_training());
  CHECK(torch::equal(body.norm->running_mean, mean));
}
