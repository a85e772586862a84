#include <torch/torch.h>

#include <pcomp/checkpoint/checkpoint.hpp>
#include <pcomp/core.hpp>
#include <pcomp/kernel/wire_kernels.hpp>
#include <pcomp/runtime/pipeline.hpp>
#include <pcomp/stage/cut.hpp>

#include "catch.hpp"

using namespace pcomp;

namespace {
torch::nn::Sequential network() {
  torch::nn::Sequential net;
  net->push_back("first", torch::nn::Linear(6, 32));
  net->push_back(torch::nn::ReLU());
  net->push_back(torch::nn::Linear(32, 32));
  net->push_back(torch::nn::BatchNorm1d(32));
  net->push_back("last", torch::nn::Linear(32, 3));
  return net;
}
}  // namespace

TEST_CASE("A sequence is cut into stages that are the network") {
  torch::manual_seed(1);
  torch::nn::Sequential net = network();
  const at::Tensor x = torch::randn({8, 6}), y = torch::randint(3, {8});
  std::vector<const kernel::WireKernels*> raw(2, &kernel::wire_kernels(Raw));
  Engine pipe(World::threads(), cut(net, {1, 3}), raw, make_schedule(GPipe{}, 3, 1));
  const at::Tensor loss = pipe.step(x, y, cross_entropy);
  std::vector<at::Tensor> piped;
  for (const at::Tensor& p : net->parameters())
    piped.push_back(p.grad().clone()), p.mutable_grad() = at::Tensor();
  for (auto& b : net->named_buffers())
    if (b.key().find("running") != std::string::npos)
      b.value().fill_(b.key().find("var") != std::string::npos);
  const at::Tensor plain = at::cross_entropy_loss(net->forward(x), y);
  plain.backward();
  CHECK(torch::equal(loss, plain.detach()));
  std::size_t i = 0;
  for (const at::Tensor& p : net->parameters()) CHECK(torch::equal(piped[i++], p.grad()));
  CHECK(i == 8);
  std::vector<std::string> names;
  for (int s = 0; s < 3; ++s)
    for (const auto& p : pipe.module(s)->named_parameters()) names.push_back(p.key());
  std::vector<std::string> whole;
  for (const auto& p : net->named_parameters()) whole.push_back(p.key());
  CHECK(names == whole);
}

TEST_CASE("A sequence is cut by number and by time, and is left as it was") {
  torch::nn::Sequential net = network();
  const auto sizes = [](const std::vector<runtime::StageSpec>& stages) {
    std::vector<std::string> names;
    for (const auto& s : stages) names.push_back(s.name);
    return names;
  };
  CHECK(sizes(cut(net, 1)) == std::vector<std::string>{"modules 0 to 4 of 5"});
  CHECK(sizes(cut(net, 5)).size() == 5);
  CHECK(cut(net, 2).size() == 2);

  torch::nn::Sequential uneven(torch::nn::ReLU(), torch::nn::ReLU(), torch::nn::Linear(700, 700),
                               torch::nn::ReLU());
  const at::Tensor wide = torch::randn({256, 700});
  CHECK(runtime::cut_by_time(uneven, 2, wide)[0] >= 2);  // the linear layer outweighs all others

  std::vector<at::Tensor> before;
  for (const at::Tensor& b : net->buffers()) before.push_back(b.clone());
  torch::manual_seed(7);
  const at::Tensor random = torch::rand(3);
  torch::manual_seed(7);
  CHECK(cut(net, 3, torch::randn({4, 6})).size() == 3);
  torch::manual_seed(7);
  static_cast<void>(runtime::cut_by_time(net, 2, torch::ones({4, 6})));
  CHECK(torch::equal(torch::rand(3), random));
  std::size_t i = 0;
  for (const at::Tensor& b : net->buffers()) CHECK(torch::equal(b, before[i++]));
  for (const at::Tensor& p : net->parameters()) CHECK(!p.grad().defined());
}

TEST_CASE("Cuts that leave a stage empty are refused") {
  torch::nn::Sequential net = network();
  CHECK_THROWS_WITH(
      static_cast<void>(cut(net, {3, 3})),
      "pcomp: a sequence of 5 modules is cut before ascending numbers from 1 to 4, not before 3 after 3");
  CHECK_THROWS_WITH(
      static_cast<void>(cut(net, {0})),
      "pcomp: a sequence of 5 modules is cut before ascending numbers from 1 to 4, not before 0 after 0");
  CHECK_THROWS_AS(static_cast<void>(cut(net, {5})), Error);
  CHECK_THROWS_WITH(static_cast<void>(cut(net, 6)),
                    "pcomp: a sequence of 5 modules cannot be cut into 6 stages: each needs at least one");
  CHECK_THROWS_AS(static_cast<void>(cut(net, 0)), Error);
}
