// What every program with LibTorch has: `using torch::Tensor`, a `Block` of its own, and `using namespace pcomp`.
#include <pcomp/core.hpp>

namespace torch {
struct Tensor {};
}  // namespace torch
using namespace pcomp;
using torch::Tensor;

struct Block {
  Tensor forward(const Tensor& x) { return x; }
};
auto y = Block().forward(Tensor());
