// A transformer in four stages: a padding mask as a side input, an embedding whose weight is the head's too, blocks that
// keep only the payload they received and compute again, a looped placement with both ends on rank 0.
#include <cstdio>
#include <limits>
#include <pcomp/pcomp.hpp>

using namespace pcomp;
using torch::Tensor;

constexpr std::int64_t tokens = 11, width = 32, heads = 4, longest = 12, padding = 10;

struct Embed : torch::nn::Module {
  Embed() {
    token = register_module("token", torch::nn::Embedding(tokens, width));
    place = register_module("place", torch::nn::Embedding(longest, width));
  }
  Tensor forward(const Tensor& ids) { return token(ids) + place(torch::arange(ids.size(1))); }
  torch::nn::Embedding token{nullptr}, place{nullptr};
};

struct Block : torch::nn::Module {
  Block() {
    const auto linear = [&](const char* name, std::int64_t from, std::int64_t to) {
      return register_module(name, torch::nn::Linear(from, to));
    };
    qkv = linear("qkv", width, 3 * width), out = linear("out", width, width);
    up = linear("up", width, 4 * width), down = linear("down", 4 * width, width);
    first = register_module("first", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})));
    second = register_module("second", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})));
  }
  /// Each token attends to itself and to earlier ones that are no padding: `m.side[0]`, [N, T].
  Tensor forward(const Tensor& x, const Microbatch& m) {
    const std::int64_t n = x.size(0), t = x.size(1);
    const auto part = qkv(first(x)).view({n, t, 3, heads, width / heads}).permute({2, 0, 3, 1, 4}).unbind();
    const Tensor later = torch::ones({t, t}, torch::kBool).triu(1);
    const Tensor scores = part[0].matmul(part[1].transpose(-1, -2)) / std::sqrt(double{width / heads});
    const Tensor seen = scores.masked_fill(later | m.side[0].view({n, 1, 1, t}), -1e9).softmax(-1);
    const Tensor y = x + out(seen.matmul(part[2]).transpose(1, 2).reshape({n, t, width}));
    return y + down(torch::gelu(up(second(y))));
  }
  torch::nn::Linear qkv{nullptr}, out{nullptr}, up{nullptr}, down{nullptr};
  torch::nn::LayerNorm first{nullptr}, second{nullptr};
};

struct Head : torch::nn::Module {
  Head() {
    norm = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})));
    read = register_module("read", torch::nn::Linear(torch::nn::LinearOptions(width, tokens).bias(false)));
  }
  Tensor forward(const Tensor& x) { return read(norm(x)); }
  torch::nn::LayerNorm norm{nullptr};
  torch::nn::Linear read{nullptr};
};

using Net = Pipeline<Stage<Embed, Wire<Quant<8>>>, Stage<Block, Wire<Quant<8>>, Recompute>,
                     Stage<Block, Wire<Quant<8>>, Recompute>, Stage<Head>>;
using Plan = Net::Plan<OneFOneB, 4, Placement<0, 1, 2, 0>>;

/// Digits that count up from anywhere, of any length: ids, the next digit of each, and where there is padding.
std::array<Tensor, 3> batch(std::int64_t n) {
  const Tensor at = torch::arange(longest), start = torch::randint(10, {n, 1});
  const Tensor empty = at >= torch::randint(3, longest + 1, {n, 1});
  const Tensor ids = (start + at) % 10, next = (start + at + 1) % 10;
  return {ids.masked_fill(empty, padding), next.masked_fill(empty, -100), empty};
}

int main(int argc, char** argv) {
  const int steps = argc > 1 ? std::atoi(argv[1]) : 120;
  torch::manual_seed(1);
  World world = World::from_env();
  world.threads_per_rank = 1;
  Engine pipe(world, Net{}, Plan{});
  pipe.share({0, "token.weight"}, {3, "read.weight"});
  torch::optim::AdamW adam(pipe.parameters(), torch::optim::AdamWOptions(3e-3));
  for (int step = 0; step < steps; ++step) {
    const auto [ids, next, empty] = batch(32);
    adam.zero_grad();
    pipe.step(ids, next, cross_entropy, {empty});
    pipe.clip_grad_norm(1);
    adam.step();
  }
  pipe.eval();
  const auto [ids, next, empty] = batch(64);
  const training::Metric right = [](const Tensor& logits, const Tensor& t) {
    return (logits.argmax(-1).eq(t) & t.ne(-100)).sum();
  };
  const double share = pipe.evaluate(ids, next, cross_entropy, {right}, {empty}).metrics[0].item<double>() /
                       next.ne(-100).sum().item<double>();
  const runtime::BoundaryReport b = runtime::total_report(pipe).boundaries[0];
  std::printf("a boundary carries %lld bytes a step forward, raw %lld\n",
              static_cast<long long>(b.forward.bytes / steps), static_cast<long long>(b.forward.raw / steps));
  std::printf("next digits that are right: %s\n",
              share > 0.95 ? "more than 95 %" : std::to_string(share).c_str());
}
