// What every program with LibTorch has, beside `using namespace pcomp`: `using torch::Tensor`, `namespace nn` and modules
// that are called what their authors call them.
#include <pcomp/cpu.hpp>

namespace torch {
struct Tensor {};
namespace nn {
struct Module {};
}  // namespace nn
}  // namespace torch

using namespace pcomp;
using torch::Tensor;
namespace nn = torch::nn;

#define MODULE(name)                       \
  struct name : nn::Module {               \
    Tensor forward(Tensor x) { return x; } \
  };                                       \
  inline Tensor of_##name = name().forward(Tensor())
MODULE(Block);
MODULE(Size);
MODULE(Trace);
MODULE(Range);
MODULE(Message);
MODULE(Link);
MODULE(Segment);
MODULE(In);
MODULE(Out);
MODULE(Group);
MODULE(Sample);
MODULE(Name);
MODULE(Report);
MODULE(Policy);
MODULE(Memory);
MODULE(Loss);
MODULE(Codec);
MODULE(Chain);

inline constexpr auto wire = Quant<8> | TopK<Ratio<1, 10>, PerSample>;
static_assert(wire_bytes(wire, Shape<2, 8>{}) > 0);
