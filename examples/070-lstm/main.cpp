// An LSTM cut in time: each stage reads its part of the sequences and hands (h, c) on, two tensors over two wires. The
// stages are copies of one LSTM, so their weights are shared; the later parts of the sequences are side inputs.
#include <cstdio>
#include <pcomp/pcomp.hpp>

using namespace pcomp;
using torch::Tensor;

constexpr std::int64_t letters = 6, width = 32, length = 4;  // of each part

struct Cell : torch::nn::Module {
  Cell() {
    lstm = register_module("lstm", torch::nn::LSTM(torch::nn::LSTMOptions(letters, width).batch_first(true)));
  }
  // LibTorch's states are [layers, N, width]; between stages the batch comes first.
  std::tuple<Tensor, Tensor> read(const Tensor& x, const Tensor& h, const Tensor& c) {
    const auto [h1, c1] = std::get<1>(lstm(x, std::make_tuple(h.unsqueeze(0), c.unsqueeze(0))));
    return {h1.squeeze(0), c1.squeeze(0)};
  }
  torch::nn::LSTM lstm{nullptr};
};
struct First : Cell {
  std::tuple<Tensor, Tensor> forward(const Tensor& x) {
    const Tensor none = torch::zeros({x.size(0), width});
    return read(x, none, none);
  }
};
struct Later : Cell {
  std::tuple<Tensor, Tensor> forward(const Tensor& h, const Tensor& c, const Microbatch& m) {
    return read(m.side[0], h, c);
  }
};
struct Top : torch::nn::Module {
  Top() { out = register_module("out", torch::nn::Linear(2 * width, letters)); }
  Tensor forward(const std::array<Tensor, 2>& state) { return out(torch::cat({state[0], state[1]}, 1)); }
  torch::nn::Linear out{nullptr};
};

using Net =
    Pipeline<Stage<First, Wire<Quant<8>>, Wire<Half>>, Stage<Later, Wire<Quant<8>>, Wire<Half>>, Stage<Top>>;
using Plan = Net::Plan<OneFOneB, 4>;

int main(int argc, char** argv) {
  const int steps = argc > 1 ? std::atoi(argv[1]) : 120;
  torch::manual_seed(1);
  World world = World::from_env();
  world.threads_per_rank = 1;
  Engine pipe(world, Net{}, Plan{});
  for (const char* name : {"lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.bias_ih_l0", "lstm.bias_hh_l0"})
    pipe.share({0, name}, {1, name});
  torch::optim::Adam adam(pipe.parameters(), torch::optim::AdamOptions(1e-2));

  double first = 0, last = 0;
  for (int step = 0; step < steps; ++step) {
    // Which letter was the first one of the whole sequence? Nothing but (h, c) can tell the last stage.
    const Tensor text = torch::randint(letters, {32, 2 * length});
    const Tensor x = torch::nn::functional::one_hot(text, letters).to(torch::kFloat);
    adam.zero_grad();
    last = pipe.step(x.slice(1, 0, length), text.select(1, 0), cross_entropy, {x.slice(1, length)})
               .item<double>();
    pipe.clip_grad_norm(1);
    adam.step();
    if (step == 0) first = last;
  }
  const auto report = runtime::total_report(pipe);
  std::printf("over each boundary: %s\n", report.boundaries[0].wire.c_str());
  std::printf(
      "bytes of a micro-batch: %lld forward, %lld back\n",
      static_cast<long long>(report.boundaries[0].forward.bytes / report.boundaries[0].forward.messages),
      static_cast<long long>(report.boundaries[0].gradient.bytes / report.boundaries[0].gradient.messages));
  std::printf("both stages have the same weights: %s\n",
              !pipe.here(0) || !pipe.here(1) ||
                      torch::equal(pipe.module(0)->parameters()[0], pipe.module(1)->parameters()[0])
                  ? "yes"
                  : "no");
  std::printf("the loss has fallen to a fifth: %s\n", last < first / 5 ? "yes" : "no");
}
