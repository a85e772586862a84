// A U-Net of two levels on three ranks. The outer skip stays on rank 0, which holds the first and the last stage: no
// message. The inner one goes from rank 1 to rank 2 beside what it skips, over a wire of its own.
#include <cstdio>
#include <pcomp/pcomp.hpp>

using namespace pcomp;
using torch::Tensor;

constexpr std::int64_t channels = 8;

struct Conv : torch::nn::Module {
  Conv(std::int64_t in, std::int64_t out) {
    conv = register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, 3).padding(1)));
    norm = register_module("norm", torch::nn::GroupNorm(2, out));
  }
  Tensor operator()(const Tensor& x) { return torch::relu(norm(conv(x))); }
  torch::nn::Conv2d conv{nullptr};
  torch::nn::GroupNorm norm{nullptr};
};

struct OuterDown : torch::nn::Module {
  OuterDown() { conv = register_module("conv", std::make_shared<Conv>(1, channels)); }
  Tensor forward(const Tensor& x, const Microbatch& m) {
    const Tensor h = (*conv)(x);
    m.stash("outer", h);
    return torch::max_pool2d(h, 2);
  }
  std::shared_ptr<Conv> conv;
};
struct InnerDown : torch::nn::Module {
  InnerDown() { conv = register_module("conv", std::make_shared<Conv>(channels, 2 * channels)); }
  std::pair<Tensor, Tensor> forward(const Tensor& x) {
    const Tensor h = (*conv)(x);
    return {torch::max_pool2d(h, 2), h};
  }
  std::shared_ptr<Conv> conv;
};
struct InnerUp : torch::nn::Module {
  InnerUp() {
    bottom = register_module("bottom", std::make_shared<Conv>(2 * channels, 2 * channels));
    conv = register_module("conv", std::make_shared<Conv>(4 * channels, channels));
  }
  Tensor forward(const Tensor& x, const Tensor& skip) {
    return (*conv)(torch::cat({torch::upsample_nearest2d((*bottom)(x), skip.sizes().slice(2)), skip}, 1));
  }
  std::shared_ptr<Conv> bottom, conv;
};
struct OuterUp : torch::nn::Module {
  OuterUp() {
    conv = register_module("conv", std::make_shared<Conv>(2 * channels, channels));
    out = register_module("out", torch::nn::Conv2d(channels, 1, 1));
  }
  Tensor forward(const Tensor& x, const Microbatch& m) {
    const Tensor skip = m.pop("outer");
    return out((*conv)(torch::cat({torch::upsample_nearest2d(x, skip.sizes().slice(2)), skip}, 1)));
  }
  std::shared_ptr<Conv> conv;
  torch::nn::Conv2d out{nullptr};
};

using Net =
    Pipeline<Stage<OuterDown, Wire<Quant<8>>>,                                  //
             Stage<InnerDown, Wire<Quant<8>>, Wire<Quant<4> | Downsample<2>>>,  // the skip may be coarser
             Stage<InnerUp, Wire<Quant<8>>>, Stage<OuterUp>>;
using Plan = Net::Plan<OneFOneB, 4, Placement<0, 1, 2, 0>>;
static_assert(Net::bytes_per_step<Plan>(1, {{4, 16, 4, 4}, {4, 16, 8, 8}}) <
              Net::bytes_per_step<Plan>(1, {{4, 16, 8, 8}, {4, 16, 8, 8}}));

int main(int argc, char** argv) {
  const int steps = argc > 1 ? std::atoi(argv[1]) : 60;
  torch::manual_seed(1);
  World world = World::from_env();
  world.threads_per_rank = 1;
  Engine pipe(world, Net{}, Plan{});
  torch::optim::Adam adam(pipe.parameters(), torch::optim::AdamOptions(1e-2));
  const auto mse = [](const Tensor& a, const Tensor& b) { return torch::mse_loss(a, b); };
  double first = 0, last = 0;
  for (int step = 0; step < steps; ++step) {
    // Noisy squares in, squares out.
    Tensor clean = torch::zeros({16, 1, 16, 16});
    for (int i = 0; i < 16; ++i)
      clean[i].slice(1, i % 8, i % 8 + 6).slice(2, (3 * i) % 9, (3 * i) % 9 + 6).fill_(1);
    adam.zero_grad();
    last = pipe.step(clean + 0.5 * torch::randn_like(clean), clean, mse).item<double>();
    adam.step();
    if (step == 0) first = last;
  }
  const runtime::Report total = runtime::total_report(pipe);
  for (const runtime::BoundaryReport& b : total.boundaries)
    std::printf("boundary %d, rank %d to %d: %lld bytes a step forward over %s\n", b.boundary, b.from_rank,
                b.to_rank, static_cast<long long>(b.forward.bytes / steps), b.wire.c_str());
  std::printf("the error has fallen to a fifth: %s\n", last < first / 5 ? "yes" : "no");
}
