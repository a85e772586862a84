#pragma once
#include <pcomp/core.hpp>

namespace cifar {

/// Calls f(name, wire) for every choice of --wire: wires.cpp makes their tables, wires.cu their GPU kernels.
template <class F>
void for_each_wire(F&& f) {
  using namespace pcomp;
  f("raw", Raw);
  f("half", Half);
  f("bfloat16", BFloat16);
  f("quant16", Quant<16>);
  f("quant8", Quant<8>);
  f("quant6", Quant<6>);
  f("quant4", Quant<4>);
  f("quant3", Quant<3, PerGroup<256>>);
  f("quant2", Quant<2>);
  f("quant4-grad8", Wire<Quant<4>, Quant<8>>{});
  f("quant4-chance", Wire<Quant<4>, Quant<4, PerGroup<128>, Stochastic>>{});
  f("hadamard-quant4", Hadamard<64> | Quant<4>);
  f("hadamard-quant2", Hadamard<64> | Quant<2>);
  f("signs-quant2", Hadamard<64, codec::RandomSigns> | Quant<2>);
  f("quant2-signs-grad", Wire<Quant<2>, Hadamard<64, codec::RandomSigns> | Quant<2>>{});
  f("step", Step<Ratio<1, 16>, 8>);
  f("downsample2", Downsample<2>);
  f("downsample4", Downsample<4>);
  f("down2-quant3", Downsample<2> | Quant<3, PerGroup<256>>);
  f("down2-quant6", Downsample<2> | Quant<6>);
  f("down4-quant4", Downsample<4> | Quant<4>);
  f("down4-quant6", Downsample<4> | Quant<6>);
  f("down4-quant8", Downsample<4> | Quant<8>);
  f("quant3-down2-grad", Wire<Quant<3, PerGroup<256>>, Downsample<2> | Quant<3, PerGroup<256>>>{});
  f("quant3-down4-grad", Wire<Quant<3, PerGroup<256>>, Downsample<4> | Quant<4, PerGroup<256>>>{});
  f("down2-quant3-down8-grad",
    Wire<Downsample<2> | Quant<3, PerGroup<256>>, Downsample<4> | Quant<4, PerGroup<256>>>{});
  f("down2-quant4-topk10-grad",
    Wire<Downsample<2> | Quant<4, PerGroup<256>>, TopK<Ratio<1, 10>> | Quant<8>>{});
  f("down2-quant5-down4-grad",
    Wire<Downsample<2> | Quant<5, PerGroup<256>>, Downsample<2> | Quant<4, PerGroup<256>>>{});
  f("down2-quant6-down8-grad",
    Wire<Downsample<2> | Quant<6, PerGroup<256>>, Downsample<4> | Quant<4, PerGroup<256>>>{});
  f("topk80", TopK<Ratio<8, 10>>);
  f("topk60", TopK<Ratio<6, 10>>);
  f("topk40", TopK<Ratio<4, 10>>);
  f("topk20", TopK<Ratio<2, 10>>);
  f("topk10", TopK<Ratio<1, 10>>);
  f("topk05", TopK<Ratio<1, 20>>);
  f("topk20-quant16", TopK<Ratio<2, 10>> | Quant<16>);
  f("topk10-quant16", TopK<Ratio<1, 10>> | Quant<16>);
  f("topk05-quant16", TopK<Ratio<1, 20>> | Quant<16>);
  f("topk20-quant8", TopK<Ratio<2, 10>> | Quant<8>);
  f("topk10-quant8", TopK<Ratio<1, 10>> | Quant<8>);
  f("topk05-quant8", TopK<Ratio<1, 20>> | Quant<8>);
  f("topk10-sample-quant8", TopK<Ratio<1, 10>, PerSample> | Quant<8>);
  f("topk10-block-quant8", TopK<Ratio<1, 10>, PerGroup<256>> | Quant<8>);
  f("ef-topk10-quant8", ErrorFeedback | TopK<Ratio<1, 10>> | Quant<8>);
  f("ef21-topk10-quant8", EF21 | TopK<Ratio<1, 10>> | Quant<8>);
  f("quant4-ef-grad", Wire<Quant<4>, ErrorFeedback | Quant<4>>{});
  f("delta-quant4", Delta<> | Quant<4>);
  f("delta-quant2", Wire<Delta<> | Quant<2>, Quant<4>>{});
  f("delta-topk10-quant8", Delta<Raw, BFloat16> | TopK<Ratio<1, 10>> | Quant<8>);
  f("thin", Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>);
}

}  // namespace cifar
