// Compiled into two libraries, with and without -march=native.
#include "kernels.hpp"

#include <pcomp/cpu.hpp>

using namespace pcomp;

extern "C" [[gnu::visibility("default")]] const Kernels* first_kernels() {
  static const Kernels all[wire_count] = {
      {"raw", &boundary_ops(Raw)},
      {"half", &boundary_ops(Half)},
      {"quant8", &boundary_ops(Quant<8>)},
      {"quant4", &boundary_ops(Quant<4>)},
      {"step", &boundary_ops(Step<Ratio<1, 16>, 8>)},
      {"downsample2", &boundary_ops(Downsample<2>)},
      {"topk10-quant8", &boundary_ops(TopK<Ratio<1, 10>> | Quant<8>)},
      {"thin", &boundary_ops(Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>)}};
  return all;
}
