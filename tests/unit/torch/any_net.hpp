#pragma once
#include <torch/torch.h>

#include <array>
#include <pcomp/autograd/boundary.hpp>
#include <pcomp/runtime/pipeline.hpp>
#include <tuple>

/// A network of three stages that hand over several tensors, with a mask of bools and a side input, whose first and last
/// stage hold the same weight.
namespace net {

using at::Tensor;

struct Embed : torch::nn::Module {
  Embed() {
    torch::manual_seed(1);
    table = register_module("table", torch::nn::Embedding(7, 6));
  }
  std::tuple<Tensor, Tensor, Tensor> forward(const Tensor& ids) {
    const Tensor h = table(ids);
    return {h, h.mean(1), ids.ne(0)};
  }
  torch::nn::Embedding table{nullptr};
};
struct Mix : torch::nn::Module {
  Mix() {
    torch::manual_seed(2);
    a = register_module("a", torch::nn::Linear(6, 6));
    b = register_module("b", torch::nn::Linear(6, 6));
  }
  std::array<Tensor, 3> mix(const Tensor& h, const Tensor& mean, const Tensor& mask, const Tensor& scale) {
    return {torch::tanh(a(h) + mean.unsqueeze(1)) * mask.unsqueeze(-1),
            torch::tanh(b(mean)) * scale.unsqueeze(-1), mask};
  }
  std::array<Tensor, 3> forward(const Tensor& h, const Tensor& mean, const Tensor& mask,
                                const pcomp::Microbatch& m) {
    return mix(h, mean, mask, m.side[0]);
  }
  torch::nn::Linear a{nullptr}, b{nullptr};
};
struct Top : torch::nn::Module {
  Top() {
    torch::manual_seed(3);
    out = register_module("out", torch::nn::Linear(torch::nn::LinearOptions(6, 7).bias(false)));
  }
  Tensor forward(const std::vector<Tensor>& given) {
    return out((given[0] * given[2].unsqueeze(-1)).sum(1) + given[1]);
  }
  torch::nn::Linear out{nullptr};
};

inline std::vector<pcomp::runtime::StageSpec> several_stages() {
  return {pcomp::runtime::stage_spec([] { return std::make_shared<Embed>(); }),
          pcomp::runtime::stage_spec([] { return std::make_shared<Mix>(); }),
          pcomp::runtime::stage_spec([] { return std::make_shared<Top>(); })};
}

struct SeveralData {
  Tensor x, y, scale;
  explicit SeveralData(std::int64_t n) {
    torch::manual_seed(9);
    x = torch::randint(7, {n, 5}), y = torch::randint(7, {n}), scale = torch::rand({n});
  }
};

/// The same as a plain loop: over two wires, `first` and `second`, each once on either boundary.
struct SeveralLoop {
  SeveralLoop(const pcomp::kernel::WireKernels& first, const pcomp::kernel::WireKernels& second)
      : b00(first, 0), b01(second, 1 << 20), b10(second, 1), b11(first, 1 + (1 << 20)) {}
  Tensor forward(const Tensor& ids, const Tensor& scale, int micro) {
    auto [h, mean, mask] = embed.forward(ids);
    auto [h2, mean2, mask2] = mix.mix(b00(h, micro), b01(mean, micro), mask, scale);
    return top.forward({b10(h2, micro), b11(mean2, micro), mask2});
  }
  Tensor step(const SeveralData& d, int microbatches) {
    Tensor sum = torch::zeros({});
    int m = 0;
    for (const auto& part : pcomp::training::split(d.x.size(0), microbatches)) {
      const auto of = [&](const Tensor& t) { return t.narrow(0, part.first, part.count); };
      const Tensor l = pcomp::cross_entropy(forward(of(d.x), of(d.scale), m++), of(d.y)) * part.weight;
      l.backward();
      sum = sum + l.detach();
    }
    return sum;
  }
  /// The two copies of one weight.
  void tie() {
    const torch::NoGradGuard none;
    top.out->weight.copy_(embed.table->weight);
  }
  void add_up() {
    const Tensor sum = top.out->weight.grad() + embed.table->weight.grad();
    top.out->weight.mutable_grad() = sum;
    embed.table->weight.mutable_grad() = sum.clone();
  }
  std::vector<Tensor> parameters() const {
    std::vector<Tensor> all;
    for (const torch::nn::Module* part : std::initializer_list<const torch::nn::Module*>{&embed, &mix, &top})
      for (const Tensor& p : part->parameters()) all.push_back(p);
    return all;
  }
  Embed embed;
  Mix mix;
  Top top;
  pcomp::Boundary b00, b01, b10, b11;
};

/// A U-Net's levels: what goes down is stashed, what comes up pops it.
struct Down : torch::nn::Module {
  explicit Down(std::uint64_t seed, std::string n) : name(std::move(n)) {
    torch::manual_seed(seed);
    conv = register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(4, 4, 3).padding(1)));
    side = register_module("side", torch::nn::Conv2d(torch::nn::Conv2dOptions(4, 4, 1)));
  }
  Tensor forward(const Tensor& x, const pcomp::Microbatch& m) {
    const Tensor h = torch::relu(conv(x));
    m.stash(name, side(h));
    return torch::max_pool2d(h, 2);
  }
  std::string name;
  torch::nn::Conv2d conv{nullptr}, side{nullptr};
};
struct Up : torch::nn::Module {
  explicit Up(std::uint64_t seed, std::string n) : name(std::move(n)) {
    torch::manual_seed(seed);
    conv = register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(8, 4, 3).padding(1)));
  }
  Tensor forward(const Tensor& x, const pcomp::Microbatch& m) { return join(x, m.pop(name)); }
  Tensor join(const Tensor& x, const Tensor& skip) {
    return torch::tanh(conv(torch::cat({torch::upsample_nearest2d(x, skip.sizes().slice(2)), skip}, 1)));
  }
  std::string name;
  torch::nn::Conv2d conv{nullptr};
};

inline std::vector<pcomp::runtime::StageSpec> skip_stages() {
  return {pcomp::runtime::stage_spec([] { return std::make_shared<Down>(1, "outer"); }),
          pcomp::runtime::stage_spec([] { return std::make_shared<Down>(2, "inner"); }),
          pcomp::runtime::stage_spec([] { return std::make_shared<Up>(3, "inner"); }),
          pcomp::runtime::stage_spec([] { return std::make_shared<Up>(4, "outer"); })};
}
inline Tensor mse(const Tensor& a, const Tensor& b) { return torch::mse_loss(a, b); }

/// The same as a plain loop, over 8 bits.
struct SkipsLoop {
  Tensor step(const Tensor& x, const Tensor& y, int microbatches) {
    using pcomp::boundary, pcomp::Quant;
    Tensor sum = torch::zeros({});
    for (const auto& part : pcomp::training::split(x.size(0), microbatches)) {
      const Tensor h0 = torch::relu(d0.conv(x.narrow(0, part.first, part.count))), s0 = d0.side(h0);
      const Tensor h1 = torch::relu(d1.conv(boundary<Quant<8>>(torch::max_pool2d(h0, 2)))), s1 = d1.side(h1);
      const Tensor up = u1.join(boundary<Quant<8>>(torch::max_pool2d(h1, 2)), s1);
      const Tensor l =
          mse(u0.join(boundary<Quant<8>>(up), s0), y.narrow(0, part.first, part.count)) * part.weight;
      l.backward();
      sum = sum + l.detach();
    }
    return sum;
  }
  std::vector<torch::nn::Module*> parts() { return {&d0, &d1, &u1, &u0}; }
  Down d0{1, "outer"}, d1{2, "inner"};
  Up u1{3, "inner"}, u0{4, "outer"};
};

}  // namespace net
