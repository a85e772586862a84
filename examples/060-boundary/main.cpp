// boundary<W> in an ordinary LibTorch model: what would compression do to its accuracy, on one device?
#include <torch/nn/modules/linear.h>
#include <torch/optim/sgd.h>

#include <cstdio>
#include <pcomp/autograd/boundary.hpp>
#include <pcomp/core.hpp>

using namespace pcomp;
namespace nn = torch::nn;

/// Two spirals wound into each other, `n` points of each: the class.
std::pair<at::Tensor, at::Tensor> spirals(std::int64_t n) {
  const auto t = at::linspace(0.1, 1, n);
  const auto arm = at::stack({t * at::cos(8 * t), t * at::sin(8 * t)}, 1);
  return {at::cat({arm, -arm}), at::cat({at::zeros(n, at::kLong), at::ones(n, at::kLong)})};
}

/// A model with one op more than usual: both passes cross W as they would cross a link.
template <AnyWire W>
struct Net : nn::Module {
  nn::Linear first = register_module("first", nn::Linear(2, 64));
  nn::Linear second = register_module("second", nn::Linear(64, 64));
  nn::Linear third = register_module("third", nn::Linear(64, 2));

  at::Tensor forward(const at::Tensor& x) {
    const auto sent = at::tanh(first(x));
    const auto received = boundary<W>(sent);
    return third(at::tanh(second(received)));
  }
};

template <AnyWire W>
void study(W wire) {
  torch::manual_seed(1);  // every wire starts from the same weights
  Net<W> net;
  torch::optim::SGD opt(net.parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
  const auto [x, y] = spirals(256);
  double loss = 0;
  for (int step = 0; step < 500; ++step) {
    opt.zero_grad();
    const auto error = at::cross_entropy_loss(net.forward(x), y);
    error.backward();
    opt.step();
    loss = error.template item<double>();
  }
  using Act = Shape<512, 64>;
  std::printf("%-24s%10zu%10zu%8.1f%%%8.2f\n", std::string(name(wire)).c_str(), wire_bytes(wire, Act{}),
              grad_wire_bytes(wire, Act{}),
              100.0 * static_cast<double>(wire_bytes(wire, Act{}) + grad_wire_bytes(wire, Act{})) /
                  static_cast<double>(2 * wire_bytes(Raw, Act{})),
              loss);
}

int main() {
  at::set_num_threads(1);
  std::printf("%-24s%10s%10s%9s%8s\n", "wire", "forward", "gradient", "of raw", "loss");
  study(Raw);
  study(BFloat16);
  study(Quant<8>);
  study(Wire<Quant<4>, Quant<8>>{});
  study(Quant<4>);
  study(Quant<2>);
  study(TopK<Ratio<1, 4>> | Quant<8>);
  study(TopK<Ratio<1, 10>> | Quant<8>);
}
