#include <pcomp/core.hpp>

#include "../cpu/catch.hpp"

/// ops::X<...> is the type of the value X<...>, with the same defaults, for every spelling of a ratio or a list of axes.
namespace {

using namespace pcomp;

constexpr bool test_types() {
  return std::is_same_v<const ops::Raw, decltype(Raw)> && std::is_same_v<const ops::Half, decltype(Half)> &&
         std::is_same_v<const ops::BFloat16, decltype(BFloat16)> &&
         std::is_same_v<const ops::ErrorFeedback, decltype(ErrorFeedback)> &&
         std::is_same_v<const ops::EF21, decltype(EF21)> &&
         std::is_same_v<const ops::Quant<8>, decltype(Quant<8>)> &&
         std::is_same_v<const ops::Quant<4, PerTensor>, decltype(Quant<4, PerTensor>)> &&
         std::is_same_v<const ops::Quant<3, PerGroup<256>, Stochastic>,
                        decltype(Quant<3, PerGroup<256>, Stochastic>)> &&
         std::is_same_v<const ops::Step<Ratio<1, 10>>, decltype(Step<Ratio<1, 10>>)> &&
         std::is_same_v<const ops::Step<Ratio<2, 20>, 5>, decltype(Step<Ratio<1, 10>, 5>)> &&
         std::is_same_v<const ops::TopK<Ratio<1, 10>>, decltype(TopK<Ratio<1, 10>>)> &&
         std::is_same_v<const ops::TopK<Ratio<2, 20>, PerSample>, decltype(TopK<Ratio<1, 10>, PerSample>)> &&
         std::is_same_v<const ops::TopK<Ratio<1, 4>, PerGroup<64>>,
                        decltype(TopK<Ratio<2, 8>, PerGroup<64>>)> &&
         std::is_same_v<const ops::Downsample<2>, decltype(Downsample<2>)> &&
         std::is_same_v<const ops::Downsample<2, Axes<3, 2>>, decltype(Downsample<2, Axes<2, 3>>)> &&
         std::is_same_v<const ops::Hadamard<64>, decltype(Hadamard<64>)> &&
         std::is_same_v<const ops::Hadamard<32, codec::RandomSigns>,
                        decltype(Hadamard<32, codec::RandomSigns>)> &&
         std::is_same_v<const ops::Delta<>, decltype(Delta<>)> &&
         std::is_same_v<const ops::Delta<Quant<8>, BFloat16>, decltype(Delta<Quant<8>, BFloat16>)>;
}
static_assert(test_types());

/// So a type can stand in a signature, and several spellings of it are one function.
constexpr int bits_of(ops::Quant<8>) { return 8; }
constexpr int bits_of(ops::TopK<Ratio<2, 20>>) { return 32; }
constexpr int bits_of(ops::Step<Ratio<2, 20>>) { return 4; }
constexpr int bits_of(ops::Raw) { return 0; }
constexpr bool test_signatures() {
  return bits_of(Quant<8>) == 8 && bits_of(Quant<8, PerGroup<128>, Nearest>) == 8 &&
         bits_of(TopK<Ratio<1, 10>>) == 32 && bits_of(Step<Ratio<1, 10>>) == 4 && bits_of(Raw) == 0;
}
static_assert(test_signatures());

/// A type joins as its value does.
constexpr bool test_joins() {
  return (ops::Quant<8>{} | ops::TopK<Ratio<2, 20>>{} | ops::Downsample<2>{}) ==
         (Downsample<2> | TopK<Ratio<1, 10>> | Quant<8>)&&(ops::Raw{} | ops::Half{}) == Half;
}
static_assert(test_joins());

}  // namespace

TEST_CASE("ops::X is the type of the value X", "[static]") {
  CHECK(test_types());
  CHECK(test_signatures());
  CHECK(test_joins());
}
