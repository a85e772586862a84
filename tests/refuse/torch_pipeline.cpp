#include <pcomp/autograd/boundary.hpp>
#include <pcomp/codec/quant.hpp>
#include <pcomp/runtime/pipeline.hpp>
#include <pcomp/schedule/policies/gpipe.hpp>
using namespace pcomp;

struct Half1 : torch::nn::Module {
  at::Tensor forward(const at::Tensor& x) { return x; }
};
struct Two : torch::nn::Module {
  std::pair<at::Tensor, at::Tensor> forward(const at::Tensor& x) { return {x, x}; }
};
struct OfTwo : torch::nn::Module {
  at::Tensor forward(const at::Tensor& a, const at::Tensor& b) { return a + b; }
};
struct NoForward {};
using AlsoFine = Pipeline<Stage<Two, Wire<Quant<8>>, Wire<Verbatim>, Recompute>, Stage<OfTwo>>;
int fine = AlsoFine::size;
using Fine = Pipeline<Stage<Half1, Wire<Quant<8>>>, Stage<Half1>>;

#if CASE == 1  // the last stage of a Pipeline sends nothing: remove its Wire
int n = Pipeline<Stage<Half1, Wire<Quant<8>>>, Stage<Half1, Wire<Quant<8>>>>::size;
#elif CASE == 2   // every stage but the last needs a Wire to the next
int n = Pipeline<Stage<Half1>, Stage<Half1>>::size;
#elif CASE == 3   // a Pipeline takes one callable for every stage
Fine net{[] { return Half1(); }};
#elif CASE == 4   // a stage needs forward\(Tensor\) or operator\(\)\(Tensor\)
Pipeline<Stage<NoForward>> net{[] { return NoForward(); }};
#elif CASE == 5   // this Plan is for another number of stages
auto f(const World& w, const Fine& net) { return Engine(w, net, Schedule<GPipe, 3, 4>{}); }
#elif CASE == 6   // a wire with feedback has a memory: make a Boundary of it
auto f(const at::Tensor& x) { return boundary<Delta<> | Quant<4>>(x); }
#elif CASE == 7   // a stage needs one Wire for each tensor that it returns
int n = Pipeline<Stage<Two, Wire<Quant<8>>>, Stage<Half1>>::size;
#elif CASE == 8   // a stage takes as many tensors as the stage before it has wires
int n = Pipeline<Stage<Two, Wire<Quant<8>>, Wire<Raw>>, Stage<Half1>>::size;
#elif CASE == 9   // the last stage returns one tensor
int n = Pipeline<Stage<Half1, Wire<Raw>>, Stage<Two>>::size;
#elif CASE == 10  // Wire<...> takes codecs joined by
int n = Pipeline<Stage<Half1, int>, Stage<Half1>>::size;
#endif
