// The fused optimisers beside LibTorch's own.
#include <unistd.h>

#include <filesystem>
#include <pcomp/checkpoint/checkpoint.hpp>
#include <pcomp/checkpoint/optimizer_state.hpp>
#include <pcomp/nn/optim.hpp>

#include "catch.hpp"
#include "net.hpp"

using namespace pcomp;

namespace optimisers {

using at::Tensor;

/// Parameters of several shapes, dtypes and memory formats; the first sizes are whole vectors.
std::vector<Tensor> parameters() {
  torch::manual_seed(21);
  std::vector<Tensor> all{torch::randn({64}),
                          torch::randn({32, 16}),
                          torch::randn({16, 32}).t(),
                          torch::randn({4, 8, 4, 4}).contiguous(at::MemoryFormat::ChannelsLast),
                          torch::randn({16}, torch::kDouble),
                          torch::randn({13})};
  for (Tensor& p : all) p = p.detach().requires_grad_();
  return all;
}

/// Trains both alike; `check` is given each pair of parameters after each step.
template <class Fused, class Plain, class Options, class Check>
void train(const Options& options, Check check) {
  const std::vector<Tensor> ours = parameters(), theirs = parameters();
  Fused fused(ours, options);
  Plain plain(theirs, options);
  for (int step = 0; step < 6; ++step) {
    for (std::size_t i = 0; i < ours.size(); ++i) {
      const bool none = i == 1 && (step == 0 || step == 3);  // this one comes later, and pauses
      const Tensor g = none ? Tensor() : torch::randn_like(ours[i], at::MemoryFormat::Contiguous);
      ours[i].mutable_grad() = g;
      theirs[i].mutable_grad() = g.defined() ? g.clone() : g;
    }
    fused.step();
    plain.step();
    for (std::size_t i = 0; i < ours.size(); ++i) {
      INFO("step " << step << ", parameter " << i);
      check(i, ours[i], theirs[i]);
    }
  }
}

}  // namespace optimisers

TEST_CASE("Fused SGD is torch::optim::SGD, to the bit on whole vectors") {
  using torch::optim::SGDOptions;
  at::set_num_threads(1);
  for (const SGDOptions& options :
       {SGDOptions(0.1), SGDOptions(0.1).momentum(0.9), SGDOptions(0.1).momentum(0.9).weight_decay(1e-3),
        SGDOptions(0.1).momentum(0.9).nesterov(true).weight_decay(1e-3), SGDOptions(0.1).weight_decay(1e-3),
        SGDOptions(0.1).momentum(0.8).dampening(0.3)})
    optimisers::train<optim::SGD, torch::optim::SGD>(options,
                                                     [](std::size_t i, const auto& a, const auto& b) {
                                                       if (i < 5)
                                                         CHECK(torch::equal(a, b));
                                                       else
                                                         CHECK(torch::allclose(a, b, 1e-6, 1e-7));
                                                     });
}

TEST_CASE("Fused Adam and AdamW are LibTorch's up to rounding") {
  at::set_num_threads(1);
  const auto close = [](std::size_t, const auto& a, const auto& b) {
    CHECK(torch::allclose(a, b, 1e-5, 1e-6));
  };
  for (const bool amsgrad : {false, true})
    for (const double decay : {0.0, 0.01}) {
      optimisers::train<optim::Adam, torch::optim::Adam>(
          torch::optim::AdamOptions(1e-2).weight_decay(decay).amsgrad(amsgrad), close);
      optimisers::train<optim::AdamW, torch::optim::AdamW>(
          torch::optim::AdamWOptions(1e-2).weight_decay(decay).amsgrad(amsgrad), close);
    }
}

TEST_CASE("A fused optimiser refuses what its kernel would get wrong, and changes nothing") {
  const at::Tensor whole = torch::randn({8, 8}), first = torch::randn({4}).requires_grad_();
  const auto with = [&](at::Tensor p, at::Tensor g, const std::string& why) {
    p = p.detach().requires_grad_();
    if (g.defined()) p.mutable_grad() = g;
    first.mutable_grad() = torch::ones({4});
    const at::Tensor before = first.detach().clone();
    const std::vector<torch::optim::OptimizerParamGroup> groups{torch::optim::OptimizerParamGroup({first}),
                                                                torch::optim::OptimizerParamGroup({p})};
    optim::SGD sgd(groups, torch::optim::SGDOptions(0.1).momentum(0.9));
    optim::AdamW adam(groups, torch::optim::AdamWOptions(0.1));
    for (torch::optim::Optimizer* o : std::initializer_list<torch::optim::Optimizer*>{&sgd, &adam}) {
      const std::string said = thrown([&] { o->step(); });
      INFO(said);
      CHECK(said.find(why) != std::string::npos);
      CHECK(torch::equal(first, before));
    }
  };
  with(whole.narrow(1, 0, 4), torch::ones({8, 4}), "its elements do not fill its memory");
  with(torch::ones({3}), torch::ones({3}).to_sparse(), "its gradient is sparse");
}

TEST_CASE("A fused optimiser's state is saved, and continues that of LibTorch's own") {
  at::set_num_threads(1);
  const auto trains = [](torch::optim::Optimizer& o, const std::vector<at::Tensor>& all, int steps,
                         int seed) {
    torch::manual_seed(seed);
    for (int i = 0; i < steps; ++i) {
      for (const at::Tensor& p : all) p.mutable_grad() = torch::randn_like(p);
      o.step();
    }
  };
  const auto options = torch::optim::SGDOptions(0.1).momentum(0.9);
  const auto make = [] {
    torch::manual_seed(3);
    return std::vector<at::Tensor>{torch::randn({64}).requires_grad_(),
                                   torch::randn({8, 8}).requires_grad_()};
  };
  const std::vector<at::Tensor> one = make(), other = make();
  optim::SGD fused(one, options);
  torch::optim::SGD plain(other, options);
  CHECK_NOTHROW(checkpoint::expect_saveable(fused));
  trains(fused, one, 3, 5), trains(plain, other, 3, 5);
  const std::vector<at::Tensor> third = make();
  optim::SGD again(third, options);
  for (std::size_t i = 0; i < third.size(); ++i) {
    const torch::NoGradGuard none;
    third[i].copy_(other[i]);
    checkpoint::set_optimizer_state(again, third[i], checkpoint::optimizer_state(plain, other[i]));
  }
  trains(fused, one, 3, 6), trains(again, third, 3, 6);
  for (std::size_t i = 0; i < one.size(); ++i) CHECK(torch::equal(one[i], third[i]));
  const at::Tensor p = torch::randn({4}).requires_grad_();
  optim::AdamW w({p}, torch::optim::AdamWOptions(0.1));
  optim::Adam a({p}, torch::optim::AdamOptions(0.1));
  CHECK_NOTHROW(checkpoint::expect_saveable(w));
  CHECK_NOTHROW(checkpoint::expect_saveable(a));
}
