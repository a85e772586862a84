// boundary<W> in an ordinary LibTorch model, on one device: what would compression cost here?
#include <torch/nn/modules/linear.h>
#include <torch/optim/sgd.h>

#include <cmath>
#include <cstdio>
#include <pcomp/autograd/boundary.hpp>
#include <pcomp/core.hpp>

using namespace pcomp;
namespace nn = torch::nn;

/// A model with one op more than usual: both passes cross W as they would cross a link. It learns to return its input,
/// so its error shows how much got through.
template <codec::AnyWire W>
struct Net : nn::Module {
  nn::Linear first = register_module("first", nn::Linear(32, 64));
  nn::Linear second = register_module("second", nn::Linear(64, 32));

  at::Tensor forward(const at::Tensor& x) {
    const auto sent = at::tanh(first(x));
    const auto received = boundary<W>(sent);
    return second(received);
  }
};

template <codec::AnyWire W>
void study(W wire) {
  torch::manual_seed(1);  // the same weights and data for every wire
  Net<W> net;
  torch::optim::SGD opt(net.parameters(), torch::optim::SGDOptions(0.5).momentum(0.9));
  double error = 0;
  for (int step = 0; step < 600; ++step) {
    const auto x = at::randn({128, 32});
    opt.zero_grad();
    const auto loss = at::mse_loss(net.forward(x), x);
    loss.backward();
    opt.step();
    if (step >= 500) error += loss.template item<double>() / 100;
  }
  using Act = Shape<128, 64>;
  constexpr auto forward = wire_bytes(wire, Act{}), gradient = grad_wire_bytes(wire, Act{}),
                 raw = wire_bytes(Raw, Act{});
  std::printf("%-24s%10zu%10zu%8.1f%%%8.2f\n", std::string(name(wire)).c_str(), forward, gradient,
              50.0 * static_cast<double>(forward + gradient) / static_cast<double>(raw), std::sqrt(error));
}

int main() {
  at::set_num_threads(1);
  std::printf("%-24s%10s%10s%9s%8s\n", "wire", "forward", "gradient", "of raw", "error");
  study(Raw);
  study(BFloat16);
  study(Quant<8>);
  study(Wire<Quant<4>, Quant<8>>{});
  study(TopK<Ratio<1, 2>> | Quant<8>);
  study(Quant<4>);
  study(Quant<2>);
  study(TopK<Ratio<1, 8>> | Quant<8>);
}
