#include <pcomp/autograd/boundary.hpp>
#include <pcomp/codec/quant.hpp>
#include <pcomp/runtime/pipeline.hpp>
#include <pcomp/schedule/policies/gpipe.hpp>
using namespace pcomp;

struct Half1 : torch::nn::Module {
  at::Tensor forward(const at::Tensor& x) { return x; }
};
struct NoForward {};
using Fine = Pipeline<Stage<Half1, Wire<Quant<8>>>, Stage<Half1>>;

#if CASE == 1  // the last stage of a Pipeline sends nothing: remove its Wire
int n = Pipeline<Stage<Half1, Wire<Quant<8>>>, Stage<Half1, Wire<Quant<8>>>>::size;
#elif CASE == 2  // every stage but the last needs a Wire to the next
int n = Pipeline<Stage<Half1>, Stage<Half1>>::size;
#elif CASE == 3  // a Pipeline takes one callable for every stage
Fine net{[] { return Half1(); }};
#elif CASE == 4  // a stage needs forward\(Tensor\) or operator\(\)\(Tensor\)
Pipeline<Stage<NoForward>> net{[] { return NoForward(); }};
#elif CASE == 5  // this Plan is for another number of stages
auto f(const World& w, const Fine& net) { return Engine(w, net, Schedule<GPipe, 3, 4>{}); }
#elif CASE == 6  // a wire with feedback has a memory: make a Boundary of it
auto f(const at::Tensor& x) { return boundary<Delta<> | Quant<4>>(x); }
#endif
