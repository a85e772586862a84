// Trains two stages for one step, linked with what pcomp compiled.
#include <torch/torch.h>

#include <cmath>
#include <pcomp/autograd/boundary.hpp>
#include <pcomp/checkpoint/checkpoint.hpp>
#include <pcomp/core.hpp>
#include <pcomp/runtime/pipeline.hpp>

struct Half : torch::nn::LinearImpl {
  Half() : LinearImpl(8, 8) {}
};

int main() {
  using Net = pcomp::Pipeline<pcomp::Stage<Half, pcomp::Wire<pcomp::Quant<8>>>, pcomp::Stage<Half>>;
  pcomp::Engine pipe(pcomp::World::threads(), Net{}, Net::Plan<pcomp::GPipe, 2>{});
  const at::Tensor x = torch::randn({4, 8}), y = torch::randint(8, {4});
  const double loss = pipe.step(x, y, pcomp::cross_entropy).item<double>();
  const bool crossed = pcomp::boundary<pcomp::Quant<8>>(x).sizes() == x.sizes();
  return std::isfinite(loss) && crossed && pipe.report().steps == 1 ? 0 : 1;
}
