#pragma once
#include <pcomp/cpu.hpp>

/// The wires that every law is tested on: each codec with each of its options, and chains of each pair of roles.
template <class F>
void for_each_wire(F&& f) {
  using namespace pcomp;
  f(Raw);
  f(Quant<1>);
  f(Quant<2>);
  f(Quant<3>);
  f(Quant<4>);
  f(Quant<5>);
  f(Quant<6>);
  f(Quant<7>);
  f(Quant<8>);
  f(Quant<16>);
  f(Quant<8, PerTensor>);
  f(Quant<16, PerTensor>);
  f(Quant<4, Group<512>>);
  f(Quant<3, Group<256>, Stochastic>);
  f(Quant<8, PerTensor, Stochastic>);
  f(Quant<16, Group<128>, Stochastic>);
  f(Step<Ratio<1, 10>>);
  f(Step<Ratio<1, 16>, 5>);
  f(Step<Ratio<3, 2>, 16>);
  f(Half);
  f(BFloat16);
  f(archetype::Sign{});
  f(TopK<Ratio<1, 10>>);
  f(TopK<Ratio<1, 2>>);
  f(TopK<Ratio<1, 1>>);
  f(TopK<Ratio<1, 700>>);
  f(TopK<Ratio<9, 10>> | Half);
  f(TopK<Ratio<1, 10>, Sample> | Quant<8>);
  f(TopK<Ratio<1, 4>, Block<64>> | Quant<4>);
  f(TopK<Ratio<1, 5>, Block<3000>> | BFloat16);
  f(TopK<Ratio<1, 10>> | Quant<8>);
  f(TopK<Ratio<1, 10>> | Quant<6, PerTensor>);
  f(TopK<Ratio<1, 3>> | Step<Ratio<1, 10>>);
  f(Downsample<1>);
  f(Downsample<2>);
  f(Downsample<3> | Quant<8>);
  f(Downsample<7> | Half);
  f(Downsample<64> | BFloat16);
  f(Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>);
  f(Quant<4, PerTensor> | TopK<Ratio<1, 4>, Sample> | Downsample<4>);
  f(Wire<Quant<4>, Quant<8>>{});
  f(Wire<Raw, TopK<Ratio<1, 10>> | Quant<8>>{});
  f(Wire<Downsample<2>, Downsample<2> | Quant<8>>{});
  f(Wire<Downsample<3>, TopK<Ratio<1, 4>, Sample>>{});
  f(Wire<TopK<Ratio<1, 4>>, TopK<Ratio<1, 2>> | Quant<8>>{});
  f(Wire<TopK<Ratio<1, 10>> | Quant<8>, Raw>{});
}
