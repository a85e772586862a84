#include "model/amp.hpp"

#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <torch/optim/sgd.h>

#include <pcomp/nn/loss.hpp>
#include <pcomp/runtime/engine.hpp>
#include <pcomp/schedule/policies/zero_bubble.hpp>

#include "../../unit/torch/catch.hpp"
#include "model/model.hpp"
#include "model/wires.hpp"

using namespace cifar;

namespace {

at::Tensor loss_of(const at::Tensor& logits, const at::Tensor& classes) {
  return pcomp::cross_entropy(logits.to(at::kFloat), classes);
}

/// A step of a plain loop under autocast, which casts anew for each use.
at::Tensor plain_step(const std::vector<pcomp::runtime::StageModule>& all, const at::Tensor& x,
                      const at::Tensor& y, int microbatches) {
  using namespace at::autocast;
  at::Tensor sum = at::zeros({});
  const std::int64_t each = x.size(0) / microbatches;
  for (int m = 0; m < microbatches; ++m) {
    set_autocast_cache_enabled(false);
    set_autocast_enabled(at::kCPU, true);
    at::Tensor out = x.narrow(0, m * each, each);
    for (const pcomp::runtime::StageModule& stage : all) out = stage.forward(out);
    set_autocast_enabled(at::kCPU, false);
    set_autocast_cache_enabled(true);
    const at::Tensor loss = loss_of(out, y.narrow(0, m * each, each)) / microbatches;
    loss.backward();
    sum = sum + loss.detach();
  }
  return sum;
}

}  // namespace

TEST_CASE("With --amp a pipeline computes what autocast does in a plain loop, step after step") {
  at::set_num_threads(1);
  pcomp::World world = pcomp::World::threads();
  world.threads_per_rank = 1;
  // The wire `bfloat16` sends what the stages computed unchanged.
  for (const auto& [name, wire] : {std::pair{"edge", "raw"}, {"edge", "bfloat16"}, {"whole", "raw"}}) {
    const Cut& cut = find_cut(name);
    const int microbatches = cut.stages() == 1 ? 1 : 4;
    Computing how;
    how.amp = true;
    pcomp::Engine engine(
        world, stages(0.05, cut, 7, how),
        std::vector<const pcomp::kernel::WireKernels*>(static_cast<std::size_t>(cut.stages()) - 1,
                                                       find_wire(wire).ops),
        make_schedule(pcomp::ZeroBubble{}, cut.stages(), microbatches, pcomp::schedule::RankMap(cut.ranks)));
    std::vector<pcomp::runtime::StageModule> plain;
    std::vector<at::Tensor> weights;
    for (const pcomp::runtime::StageSpec& spec : stages(0.05, cut, 7)) {
      plain.push_back(spec.build());
      for (const at::Tensor& p : plain.back().module->parameters()) weights.push_back(p);
    }
    torch::optim::SGD sgd(engine.parameters(), 0.1), plain_sgd(weights, 0.1);
    at::manual_seed(1);
    const at::Tensor x = at::randn({16, 3, 32, 32}), y = at::randint(10, {16});
    // The engine learns the shapes during the first step; later steps would use old weights if a cast were kept.
    for (int step = 0; step < 3; ++step) {
      sgd.zero_grad();
      plain_sgd.zero_grad();
      const at::Tensor loss = engine.step(x, y, loss_of);
      forget_casts();
      CHECK(loss.item<float>() == plain_step(plain, x, y, microbatches).item<float>());
      const auto parameters = engine.parameters();
      int different = 0;
      for (std::size_t i = 0; i < weights.size(); ++i) {
        REQUIRE(parameters[i].grad().defined());
        different += !at::equal(parameters[i].grad(), weights[i].grad());
      }
      CHECK(different == 0);
      sgd.step();
      plain_sgd.step();
      CHECK(engine.infer(x).scalar_type() == at::kBFloat16);
    }
    CHECK(!at::autocast::is_autocast_enabled(at::kCPU));
  }
}
