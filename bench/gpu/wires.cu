#include <pcomp/cuda.hpp>

#include "wires.hpp"

namespace bench {
namespace {

template <class W>
Wire wire(const char* name, W) {
  using namespace pcomp;
  return {name, &kernel::gpu_wire_kernels(W{}), [](const Extents& e) { return wire_bytes(W{}, e); },
          [](const Extents& e) { return grad_wire_bytes(W{}, e); },
          [](const Extents& e) { return kernel::index_bytes(W{}, e); }};
}

}  // namespace

const std::vector<Wire>& wires() {
  using namespace pcomp;
  static const std::vector<Wire> all{wire("raw", Raw),
                                     wire("half", Half),
                                     wire("quant8", Quant<8>),
                                     wire("quant4", Quant<4>),
                                     wire("quant6", Quant<6>),
                                     wire("quant16", Quant<16>),
                                     wire("quant8-per-tensor", Quant<8, PerTensor>),
                                     wire("step", Step<Ratio<1, 16>, 8>),
                                     wire("downsample2", Downsample<2>),
                                     wire("topk10", TopK<Ratio<1, 10>>),
                                     wire("topk10-quant8", TopK<Ratio<1, 10>> | Quant<8>),
                                     wire("topk05-quant8", TopK<Ratio<1, 20>> | Quant<8>),
                                     wire("topk10-sample", TopK<Ratio<1, 10>, PerSample> | Quant<8>),
                                     wire("thin", Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>)};
  return all;
}

}  // namespace bench
