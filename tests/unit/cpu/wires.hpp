#pragma once
#include <pcomp/core.hpp>
#include <tuple>
#include <utility>

/// The wires on which every law is tested: each codec with each of its options, and chains of each pair of roles.
inline constexpr auto all_wires = [] {
  using namespace pcomp;
  return std::tuple{Raw,
                    Quant<1>,
                    Quant<2>,
                    Quant<3>,
                    Quant<4>,
                    Quant<5>,
                    Quant<6>,
                    Quant<7>,
                    Quant<8>,
                    Quant<16>,
                    Quant<8, PerTensor>,
                    Quant<16, PerTensor>,
                    Quant<4, PerGroup<512>>,
                    Quant<3, PerGroup<256>, Stochastic>,
                    Quant<8, PerTensor, Stochastic>,
                    Quant<16, PerGroup<128>, Stochastic>,
                    Step<Ratio<1, 10>>,
                    Step<Ratio<1, 16>, 5>,
                    Step<Ratio<3, 2>, 16>,
                    Half,
                    BFloat16,
                    archetype::Sign{},
                    TopK<Ratio<1, 10>>,
                    TopK<Ratio<1, 2>>,
                    TopK<Ratio<1, 1>>,
                    TopK<Ratio<1, 700>>,
                    TopK<Ratio<9, 10>> | Half,
                    TopK<Ratio<1, 10>, PerSample> | Quant<8>,
                    TopK<Ratio<1, 4>, PerGroup<64>> | Quant<4>,
                    TopK<Ratio<1, 5>, PerGroup<3000>> | BFloat16,
                    TopK<Ratio<1, 10>> | Quant<8>,
                    TopK<Ratio<1, 10>> | Quant<6, PerTensor>,
                    TopK<Ratio<1, 3>> | Step<Ratio<1, 10>>,
                    Downsample<1>,
                    Downsample<2>,
                    Downsample<3> | Quant<8>,
                    Downsample<7> | Half,
                    Downsample<64> | BFloat16,
                    Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>,
                    Quant<4, PerTensor> | TopK<Ratio<1, 4>, PerSample> | Downsample<4>,
                    Downsample<2, Axes<1>> | Quant<8>,
                    Downsample<3, Axes<1, -1>> | TopK<Ratio<1, 4>, PerSample>,
                    Hadamard<64> | Quant<4>,
                    Hadamard<32, codec::RandomSigns> | Quant<2, PerTensor> | TopK<Ratio<1, 3>>,
                    Hadamard<32> | BFloat16 | Downsample<2>,
                    Wire<Quant<4>, Quant<8>>{},
                    Wire<Raw, TopK<Ratio<1, 10>> | Quant<8>>{},
                    Wire<Downsample<2>, Downsample<2> | Quant<8>>{},
                    Wire<Downsample<3>, TopK<Ratio<1, 4>, PerSample>>{},
                    Wire<Downsample<2, Axes<-2>>, Downsample<2, Axes<1, 2>> | Half>{},
                    Wire<TopK<Ratio<1, 4>>, TopK<Ratio<1, 2>> | Quant<8>>{},
                    Wire<TopK<Ratio<1, 2>>, TopK<Ratio<1, 700>>>{},
                    Wire<TopK<Ratio<1, 10>> | Quant<8>, Raw>{},
                    Wire<TopK<Ratio<1, 2>>, Hadamard<64> | Quant<3, PerTensor, Stochastic>>{}};
}();

/// Calls f with the wires number part, part + parts, ...
template <std::size_t part, std::size_t parts, class F>
void for_each_wire_of(F&& f) {
  constexpr std::size_t count = std::tuple_size_v<std::remove_const_t<decltype(all_wires)>>;
  [&]<std::size_t... i>(std::index_sequence<i...>) {
    (f(std::get<part + i * parts>(all_wires)), ...);
  }(std::make_index_sequence<(count - part + parts - 1) / parts>());
}

template <class F>
void for_each_wire(F&& f) {
  for_each_wire_of<0, 1>(f);
}
