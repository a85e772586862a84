// A network in three stages on three ranks, trained through compressed boundaries.
#include <iomanip>
#include <iostream>
#include <numbers>
#include <pcomp/pcomp.hpp>

using namespace pcomp;
namespace nn = torch::nn;

// 1. What crosses the boundaries. The size of every payload is a constant.
inline constexpr auto thin = Quant<8> | TopK<Ratio<1, 4>> | Downsample<2>;
using Act = Shape<8, 16, 16, 16>;  // N, C, H, W of a micro-batch behind the stem
static_assert(30 * wire_bytes(thin, Act{}) < wire_bytes(Raw, Act{}));

// 2. The stages: ordinary LibTorch modules.
struct StemImpl : nn::SequentialImpl {
  StemImpl() : SequentialImpl(nn::Conv2d(nn::Conv2dOptions(1, 16, 3).padding(1)), nn::ReLU()) {}
};
struct BodyImpl : nn::SequentialImpl {
  BodyImpl()
      : SequentialImpl(nn::Conv2d(nn::Conv2dOptions(16, 32, 3).padding(1).stride(2)), nn::BatchNorm2d(32),
                       nn::ReLU()) {}
};
struct HeadImpl : nn::SequentialImpl {
  HeadImpl() : SequentialImpl(nn::AdaptiveAvgPool2d(1), nn::Flatten(), nn::Linear(32, 4)) {}
};
TORCH_MODULE(Stem);
TORCH_MODULE(Body);
TORCH_MODULE(Head);

// 3. The pipeline, and its schedule: 8 micro-batches a step, one forward and one backward in turn. Both are types,
// and the table of who does what when is proved free of deadlock before the program runs.
using Net = Pipeline<Stage<Stem, Wire<thin>>,                // gradients: the adjoint, same coder
                     Stage<Body, Wire<Quant<4>, Quant<8>>>,  // activations, gradients
                     Stage<Head>>;                           // the last sends nothing
using Plan = Net::Plan<OneFOneB, 8>;
static_assert(Plan::deadlock_free && Plan::peak_live[0] == 3);

/// 64 pictures of stripes under heavy noise; the class is their direction.
std::pair<at::Tensor, at::Tensor> batch() {
  const auto y = torch::randint(4, {64}, torch::kLong);
  const auto angle = y.view({-1, 1, 1, 1}) * (std::numbers::pi / 4), phase = 6 * torch::rand({64, 1, 1, 1});
  const auto row = torch::arange(16).view({1, 1, 16, 1}), column = row.transpose(2, 3);
  const auto x = torch::sin(1.5 * (row * torch::sin(angle) + column * torch::cos(angle)) + phase);
  return {x + 1.5 * torch::randn({64, 1, 16, 16}), y};
}

int main() {
  torch::manual_seed(1);
  auto world = World::from_env();  // alone: a thread for every rank
  Engine pipe(world, Net{}, Plan{});
  torch::optim::SGD opt(pipe.parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));

  std::cout << Plan::draw() << std::fixed << std::setprecision(1);
  double loss = 0;
  for (int step = 1; step <= 60; ++step) {
    const auto [x, y] = batch();
    opt.zero_grad();
    loss = pipe.step(x, y, cross_entropy).item<double>();  // every micro-batch, both ways
    opt.step();
    if (step % 20 == 1) std::cout << "\nstep " << step << ", loss " << loss;
  }

  pipe.eval();
  const auto [x, y] = batch();
  const auto right = pipe.infer(x).argmax(1).eq(y).sum().item<int>();
  std::cout << "\nafter 60 steps " << right << " of 64 new pictures are told right\n\n";
  pipe.report().print_traffic(std::cout);  // std::cout << pipe.report() adds where the time went
}
