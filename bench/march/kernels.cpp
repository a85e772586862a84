// Compiled into two libraries, with and without -march=native.
#include "kernels.hpp"

#include <pcomp/cpu.hpp>

using namespace pcomp;

extern "C" [[gnu::visibility("default")]] const Kernels* first_kernels() {
  static const Kernels all[wire_count] = {
      {"raw", &kernel::wire_kernels(Raw)},
      {"half", &kernel::wire_kernels(Half)},
      {"quant8", &kernel::wire_kernels(Quant<8>)},
      {"quant4", &kernel::wire_kernels(Quant<4>)},
      {"step", &kernel::wire_kernels(Step<Ratio<1, 16>, 8>)},
      {"downsample2", &kernel::wire_kernels(Downsample<2>)},
      {"topk10-quant8", &kernel::wire_kernels(TopK<Ratio<1, 10>> | Quant<8>)},
      {"thin", &kernel::wire_kernels(Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>)}};
  return all;
}
