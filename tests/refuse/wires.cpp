#include <pcomp/core.hpp>
using namespace pcomp;

auto fine = Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>;
Wire<Quant<8> | TopK<Ratio<1, 10>>, TopK<Ratio<1, 2>>> also_fine;

template <std::int64_t N>
struct Scaled : Composable {
  static constexpr Role role = Role::code;
  static constexpr codec::FixedString name = "Scaled";
  static constexpr int bits = 8;
  static constexpr std::int64_t group = N;
  struct Scale {
    float step;
  };
  static constexpr Scale fit(codec::Range r) { return {r.hi}; }
  static constexpr std::uint32_t encode(float, Scale) { return 0; }
  static constexpr float decode(std::uint32_t, Scale s) { return s.step; }
};
auto bytes = wire_bytes(Scaled<256>{}, Shape<4, 3>{});

#if CASE == 1  // TWO_CODECS_WITH_THE_SAME_ROLE_ON_ONE_WIRE
auto w = Quant<8> | Half;
#elif CASE == 2   // TWO_CODECS_WITH_THE_SAME_ROLE_ON_ONE_WIRE
auto w = Quant<8> | TopK<Ratio<1, 10>> | TopK<Ratio<1, 2>>;
#elif CASE == 3   // TWO_CODECS_WITH_THE_SAME_ROLE_ON_ONE_WIRE
auto w = (Downsample<2> | Quant<8>) | (Downsample<4> | TopK<Ratio<1, 2>>);
#elif CASE == 4   // TopK keeps a Ratio in \(0, 1\]
auto w = TopK<Ratio<11, 10>>;
#elif CASE == 5   // TopK keeps a Ratio in \(0, 1\]
auto w = TopK<Ratio<0, 10>>;
#elif CASE == 6   // Ratio<N, D> needs D of at least 1
auto w = TopK<Ratio<1, 0>>;
#elif CASE == 7   // Quant takes 1 to 8 or 16 bits
auto w = Quant<9>;
#elif CASE == 8   // Quant takes 1 to 8 or 16 bits
auto w = Quant<0>;
#elif CASE == 9   // Step takes 2 to 8 or 16 bits
auto w = Step<Ratio<1, 10>, 1>;
#elif CASE == 10  // Step's size must be above 0
auto w = Step<Ratio<0, 10>>;
#elif CASE == 11  // Quant has one scale PerTensor or PerGroup<N>, N 128, 256, 512, 1024 or 2048
auto w = Quant<8, PerGroup<100>>;
#elif CASE == 12  // PerGroup<N> needs N of at least 1
auto w = TopK<Ratio<1, 10>, PerGroup<0>>;
#elif CASE == 13  // Downsample<K> takes K from 1 to 256
auto w = Downsample<0>;
#elif CASE == 14  // Wire<...> takes codecs joined by \| \(or Raw\)
Wire<3> w;
#elif CASE == 15  // the gradient of a selection is a list: no Downsample or PerSample scope on it
Wire<TopK<Ratio<1, 10>>, Downsample<2>> w;
#elif CASE == 16  // the gradient of a selection is a list: no Downsample or PerSample scope on it
Wire<TopK<Ratio<1, 10>>, TopK<Ratio<1, 10>, PerSample>> w;
#elif CASE == 17  // a Shape has 1 to 8 extents, each at least 1
auto n = wire_bytes(Raw, Shape<>{});
#elif CASE == 18  // a Shape has 1 to 8 extents, each at least 1
auto n = wire_bytes(Raw, Shape<4, 0, 3>{});
#elif CASE == 19  // Hadamard<N> takes 32 or 64
auto w = Hadamard<48>;
#elif CASE == 20  // Hadamard<N, Signs> takes PlainSigns or RandomSigns
auto w = Hadamard<32, Nearest>;
#elif CASE == 21  // Hadamard rotates what a coder codes: join it with Quant or another coder
Wire<Hadamard<64> | TopK<Ratio<1, 10>>> w;
#elif CASE == 22  // Hadamard rotates what a coder codes: join it with Quant or another coder
auto n = grad_wire_bytes(Wire<Quant<4>, Hadamard<64>>{}, Shape<4, 3>{});
#elif CASE == 23  // TWO_CODECS_WITH_THE_SAME_ROLE_ON_ONE_WIRE
auto w = Hadamard<64> | Quant<4> | Hadamard<32>;
#elif CASE == 24  // TWO_CODECS_WITH_THE_SAME_ROLE_ON_ONE_WIRE
auto w = ErrorFeedback | Delta<> | Quant<4>;
#elif CASE == 25  // feedback is for what a codec loses: join it with Quant, TopK or another one
Wire<EF21> w;
#elif CASE == 26  // feedback is for what a codec loses: join it with Quant, TopK or another one
auto n = grad_wire_bytes(Wire<Quant<4>, ErrorFeedback>{}, Shape<4, 3>{});
#elif CASE == 27  // ErrorFeedback would never send what Downsample leaves out: use EF21 or Delta with it
auto n = wire_bytes(ErrorFeedback | Downsample<2> | Quant<8>, Shape<4, 3, 2, 2>{});
#elif CASE == 28  // the gradient of a selection or a Downsample takes ErrorFeedback alone
Wire<TopK<Ratio<1, 10>>, EF21 | Quant<8>> w;
#elif CASE == 29  // the gradient of a selection or a Downsample takes ErrorFeedback alone
Wire<Downsample<2>, Delta<> | Quant<8>> w;
#elif CASE == 30  // Delta<First> takes codecs joined by \| \(or Raw\), without feedback
auto w = Delta<ErrorFeedback | Quant<8>> | Quant<4>;
#elif CASE == 31  // Delta<First> takes codecs joined by \| \(or Raw\), without feedback
auto w = Delta<8> | Quant<4>;
#elif CASE == 32  // Delta<First, Keep> keeps messages as Raw or BFloat16
auto w = Delta<Raw, Half> | Quant<4>;
#elif CASE == 33  // a coder's group is 128, 256, 512, 1024 or 2048 elements, or 0
auto n = wire_bytes(Scaled<64>{}, Shape<4, 3>{});
#elif CASE == 34  // a coder's group is 128, 256, 512, 1024 or 2048 elements, or 0
auto n = wire_bytes(Scaled<4096>{}, Shape<4, 3>{});
#elif CASE == 35  // THIS_SHAPE_LACKS_THE_DIMENSIONS_THAT_DOWNSAMPLE_POOLS_FOUR_OR_MORE_OR_THOSE_NAMED
auto n = wire_bytes(Quant<8> | Downsample<2>, Shape<8, 16>{});
#elif CASE == 36  // THIS_SHAPE_LACKS_THE_DIMENSIONS_THAT_DOWNSAMPLE_POOLS
auto n = wire_bytes(Downsample<2, Axes<2>>, Shape<8, 16>{});
#elif CASE == 37  // THIS_SHAPE_LACKS_THE_DIMENSIONS_THAT_DOWNSAMPLE_POOLS
auto n = grad_wire_bytes(Wire<Quant<8>, Downsample<2>>{}, Shape<8, 16, 4>{});
#elif CASE == 38  // Axes<...> names dimensions 1 to 7, or -1 to -7 from the last one on, each once
auto w = Downsample<2, Axes<0, 1>>;
#elif CASE == 39  // Axes<...> names dimensions 1 to 7, or -1 to -7 from the last one on, each once
auto w = Downsample<2, Axes<2, 1, 2>>;
#elif CASE == 40  // Axes<...> names dimensions 1 to 7, or -1 to -7 from the last one on, each once
auto w = Downsample<2, Axes<8>>;
#elif CASE == 42  // VERBATIM_IS_A_WIRE_OF_ITS_OWN_AND_IS_NOT_JOINED_WITH_OTHERS
auto w = Verbatim | Quant<8>;
#elif CASE == 43  // VERBATIM_IS_A_WIRE_OF_ITS_OWN_AND_IS_NOT_JOINED_WITH_OTHERS
auto w = TopK<Ratio<1, 10>> | Quant<8> | Verbatim;
#elif CASE == 41  // Quant has one scale PerTensor or PerGroup<N>
auto w = Quant<8, PerSample>;
#endif
