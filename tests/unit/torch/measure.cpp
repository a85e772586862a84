// A network of one's own: measured block by block, ranked, cut and run.
#include <torch/torch.h>

#include <pcomp/core.hpp>
#include <pcomp/runtime/pipeline.hpp>
#include <pcomp/stage/cut.hpp>
#include <pcomp/stage/measure.hpp>

#include "catch.hpp"

using namespace pcomp;

namespace {

plan::Effort quickly() {
  plan::Effort effort;
  effort.microbatches = {2, 4};
  effort.wires = {{"raw", &kernel::wire_kernels(Raw)}, {"quant8", &kernel::wire_kernels(Quant<8>)}};
  effort.times = 1;
  return effort;
}

torch::nn::Sequential layers(int n, int width) {
  torch::nn::Sequential net;
  for (int i = 0; i < n; ++i) {
    net->push_back(torch::nn::Linear(width, width));
    net->push_back(torch::nn::Tanh());
  }
  return net;
}

}  // namespace

TEST_CASE("Measuring leaves a network as it was") {
  torch::manual_seed(3);
  torch::nn::Sequential net(torch::nn::ReLU(torch::nn::ReLUOptions().inplace(true)), torch::nn::Linear(6, 8),
                            torch::nn::BatchNorm1d(8), torch::nn::Dropout(0.5), torch::nn::Linear(8, 3));
  net->children()[3]->eval();
  const auto parameters = net->parameters();
  const at::Tensor gradient = torch::randn({3});
  parameters.back().mutable_grad() = gradient;
  std::vector<at::Tensor> before, gradients;
  for (const at::Tensor& p : parameters) before.push_back(p.detach().clone());
  std::vector<const void*> memory;
  for (const at::Tensor& b : net->buffers()) before.push_back(b.clone()), memory.push_back(b.data_ptr());
  const at::Tensor kept = gradient.clone(), x = torch::randn({8, 6}), x_before = x.clone(),
                   narrow = torch::randn({8, 5});
  const int threads = at::get_num_threads();
  torch::manual_seed(7);
  const at::Tensor random = torch::rand(3);
  torch::manual_seed(7);
  const auto unchanged = [&] {
    CHECK(torch::equal(torch::rand(3), random));
    std::size_t i = 0, b = 0;
    for (const at::Tensor& p : net->parameters()) {
      CHECK(torch::equal(p, before[i++]));
      CHECK(p.grad().is_same(i == parameters.size() ? gradient : at::Tensor()));
    }
    CHECK(torch::equal(gradient, kept));
    for (const at::Tensor& t : net->buffers()) {
      CHECK(torch::equal(t, before[i++]));
      CHECK(t.data_ptr() == memory[b++]);
    }
    CHECK(b == 3);
    CHECK(torch::equal(x, x_before));
    CHECK((net->children()[2]->is_training() && !net->children()[3]->is_training()));
    CHECK(at::get_num_threads() == threads);
    torch::manual_seed(7);
  };
  const plan::Choices c = plan::measure(net, x, quickly());
  unchanged();
  CHECK(cut(net, 2, x).size() == 2);
  unchanged();
  REQUIRE(c.machines.size() == 2);
  CHECK((c.batch == 8 && c.blocks() == 5 && c.sample_bytes == 6 * 4));
  CHECK(c.activation(1, 3) == Extents{3, 8});
  CHECK(c.wires[0].bytes(Extents{2, 8}) == schedule::BoundaryBytes{64, 64});
  for (const auto& [n, blocks] : c.machines[1].blocks)
    for (std::size_t b = 0; b < 5; ++b) {
      CHECK(blocks[b].forward > 0);
      CHECK((blocks[b].backward > 0) == (b > 0));  // nothing is learnt before the first weight
    }
  CHECK(plan::read(plan::write(c.machines[0])).blocks.at(4)[2].bytes == c.machines[0].blocks.at(4)[2].bytes);
  // A network that throws is left as it was too.
  CHECK(thrown([&] {
          (void)plan::measure(net, narrow, quickly());
        }).find("block 1 of 5 (modules 1 to 1 of 5) fails: ") != std::string::npos);
  unchanged();
}

TEST_CASE("A block's bytes are what LibTorch allocates for it") {
  const std::int64_t n = 256, width = 128;
  const std::int64_t activation = n * width * 4, weights = (width + 1) * width * 4;
  plan::Effort effort = quickly();
  effort.microbatches = {2};
  effort.optimiser_states = 2;
  const plan::Choices c = plan::measure(layers(2, width), torch::randn({2 * n, width}), effort);
  const auto& blocks = c.machines[0].blocks.at(2);
  const auto close = [](std::int64_t is, std::int64_t expected) {
    INFO(is << " bytes, expected " << expected);
    CHECK(std::abs(is - expected) <= expected / 50 + 4096);
  };
  for (const std::size_t linear : {0u, 2u}) {
    CHECK(blocks[linear].bytes.fixed == 4 * weights);
    CHECK(blocks[linear + 1].bytes.fixed == 0);
    // Tanh keeps its output alone: what the linear layer made is gone then.
    close(blocks[linear].bytes.live, activation);
    close(blocks[linear + 1].bytes.live, 0);
    for (const std::size_t b : {linear, linear + 1}) close(blocks[b].bytes.forward, activation);
    CHECK(blocks[linear].bytes.backward >= weights);         // beside the gradients that are there
    CHECK(blocks[linear + 1].bytes.backward >= activation);  // its input's gradient
  }
}

TEST_CASE("From a sequence to ranked candidates to an engine that runs the recommended one") {
  torch::manual_seed(1);
  torch::nn::Sequential net = layers(6, 128);
  const at::Tensor x = torch::randn({1024, 128}), y = torch::randn({1024, 128});

  plan::Effort effort = quickly();
  plan::Choices choices = plan::measure(net, x, effort);
  choices.link = {12.5e6, 0.02};  // 100 Mbit/s, 20 ms
  std::vector<plan::Candidate> ranked = plan::rank(choices);
  CHECK(ranked.size() == 11 * 2 * 3 * 2);
  const std::string verdict = plan::verdict(plan::recommend(ranked, 0.03), plan::alone(choices));
  CHECK(verdict.find("the pipeline") == 0);

  // What the engine measures of a step is what was predicted, with recomputation and without.
  at::set_num_threads(1);
  World world = World::threads();
  world.threads_per_rank = 1;
  for (const auto mode : {plan::Recomputation::never, plan::Recomputation::always})
    for (const char* schedule : {"gpipe", "1f1b", "zero-bubble"}) {
      choices.recompute = mode;
      choices.schedules = {schedule};
      choices.microbatches = {4};
      ranked = plan::rank(choices);
      // The fastest of those cut in the middle: which is fastest of all differs from run to run, and where the last
      // stage is short its loss, which is no block, needs more than it.
      const auto middle = std::find_if(ranked.begin(), ranked.end(), [](const plan::Candidate& c) {
        return c.first == std::vector<int>{0, 6};
      });
      REQUIRE(middle != ranked.end());
      const plan::Candidate& best = *middle;
      for (const at::Tensor& p : net->parameters()) p.mutable_grad() = at::Tensor();
      Engine pipe(world, cut(net, best),
                  std::vector<const kernel::WireKernels*>{
                      best.wire == "raw" ? &kernel::wire_kernels(Raw) : &kernel::wire_kernels(Quant<8>)},
                  plan::table_of(best.schedule, 2, best.microbatches));
      for (int i = 0; i < 2; ++i)
        pipe.step(x, y, [](const at::Tensor& out, const at::Tensor& t) { return (out - t).square().mean(); });
      const runtime::Report report = pipe.report();
      for (std::size_t r = 0; r < 2; ++r) {
        const auto predicted = static_cast<double>(best.peak_bytes[r]) - (r == 0 ? 1024 * 128 * 4 : 0);
        const auto measured = static_cast<double>(report.ranks[r].peak_bytes);
        INFO(schedule << ", recompute " << best.recompute[0] << ", rank " << r << ", first " << best.first[1]
                      << ": " << predicted << " predicted, " << measured << " measured");
        CHECK(measured > 0);
        CHECK(predicted > 0.75 * measured);
        CHECK(predicted < 1.35 * measured);
      }
    }
}

TEST_CASE("What cannot be measured is one error") {
  torch::nn::Sequential net = layers(2, 6);
  const at::Tensor x = torch::randn({8, 6});
  const auto refused = [&](auto change, const std::string& because) {
    plan::Effort effort = quickly();
    change(effort);
    const std::string said = thrown([&] { (void)plan::measure(net, x, effort); });
    INFO(said);
    CHECK(said.find(because) != std::string::npos);
  };
  using E = plan::Effort;
  refused([](E& e) { e.microbatches = {2, 9}; }, "a batch of 8 samples cannot be cut into 9 micro-batches");
  refused([](E& e) { e.microbatches.clear(); }, "no number of micro-batches");
  refused([](E& e) { e.wires.clear(); }, "or no wire, to measure");
  refused([](E& e) { e.wires[0].second = nullptr; }, "the wire raw has no kernels");
  refused([](E& e) { e.ranks = 5; }, "4 blocks cannot be put on 5 ranks");
  refused([](E& e) { e.times = 0; }, "are at least 1");
  refused([](E& e) { e.optimiser_states = -1; }, "at least 0 tensors");
  refused([](E& e) { e.at_once = 2; }, "share a module, so they cannot be measured at once");
  const auto error_of = [&](std::vector<runtime::StageSpec> blocks) {
    plan::Effort effort = quickly();
    effort.ranks = 1;
    return thrown([&] { (void)plan::measure(blocks, x, effort); });
  };
  using at::Tensor;
  const auto lambda = [](auto f) { return runtime::stage_spec([f] { return f; }, "mine"); };
  const auto twice = lambda([](const Tensor& t) { return std::tuple(t, t); });
  CHECK(error_of({twice}) ==
        "pcomp: block 0 of 1 (mine) returns several tensors: the planner takes blocks that make one tensor "
        "of one");
  CHECK(error_of({lambda([](const Tensor& a, const Tensor& b) {
          return a + b;
        })}).find("block 0 of 1 (mine) fails: ") != std::string::npos);
  CHECK(error_of({lambda([](const Tensor& t) { return t.argmax(1); })}).find("no floating-point tensor") !=
        std::string::npos);
  CHECK(error_of({lambda([](const Tensor& t) { return t.sum(0); })}).find("not that of the samples") !=
        std::string::npos);
  CHECK(error_of({}).find("there is no block to measure") != std::string::npos);
  CHECK(thrown([&] { (void)plan::measure(torch::nn::Sequential(), x, quickly()); }).find("no block") !=
        std::string::npos);
  CHECK(thrown([&] {
          (void)cut(net, plan::Candidate{{1, 2}, "raw", "gpipe"});
        }).find("begins at block 0") != std::string::npos);
  // Blocks that are made anew each time can be measured while others compute.
  plan::Effort effort = quickly();
  effort.at_once = 2;
  const auto linear = runtime::stage_spec([] { return torch::nn::Linear(6, 6); });
  const plan::Choices c = plan::measure({linear, linear}, x, effort);
  CHECK((c.machines[0].crowded.at(4).size() == 2 && c.machines[0].crowded.at(4)[1].forward > 0));
}
