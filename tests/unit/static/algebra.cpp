#include <pcomp/core.hpp>

#include "../cpu/catch.hpp"

// No `using namespace pcomp` in this first part: | and == are found through their arguments.
constexpr bool test_lookup() {
  constexpr auto w = pcomp::Quant<8> | pcomp::TopK<pcomp::Ratio<1, 10>>;
  return w == (pcomp::TopK<pcomp::Ratio<1, 10>> | pcomp::Quant<8>);
}
static_assert(test_lookup());

using namespace pcomp;

constexpr auto q = Quant<8>;
constexpr auto t = TopK<Ratio<1, 10>>;
constexpr auto d = Downsample<2>;

constexpr bool test_commutes() {
  return (q | t) == (t | q) && (t | d) == (d | t) && (q | d) == (d | q) && (q | t | d) == (d | q | t);
}
constexpr bool test_associates() {
  return ((q | t) | d) == (q | (t | d)) && ((d | q) | t) == (d | (q | t)) && ((t | d) | q) == (t | (d | q));
}
constexpr bool test_identity() {
  return (q | Raw) == q && (Raw | q) == q && (Raw | Raw) == Raw && (q | t | Raw) == (q | t) && !(q == Raw);
}
constexpr bool test_differs() {
  return !(Quant<8> == Quant<4>)&&!(Quant<8> == Quant<8, PerTensor>)&&!(
             TopK<Ratio<1, 10>> == TopK<Ratio<1, 5>>)&&TopK<Ratio<2, 20>> == TopK<Ratio<1, 10>> &&
         Step<Ratio<2, 32>> == Step<Ratio<1, 16>> &&
         !(TopK<Ratio<1, 10>, PerSample> == TopK<Ratio<1, 10>>)&&!((q | t) == q);
}

template <class A, class B>
concept Joins = requires(A a, B b) { a | b; };
template <const auto& A, const auto& B>
constexpr bool joins = Joins<std::remove_cvref_t<decltype(A)>, std::remove_cvref_t<decltype(B)>>;
constexpr auto chain = q | t;

/// Code can ask whether two codecs join.
constexpr bool test_refusals() {
  return joins<q, t> && joins<chain, d> && !joins<q, q> && !joins<q, Half> && !joins<chain, t> &&
         !joins<chain, chain> && !Joins<int, ops::Half> && !joins<ErrorFeedback, EF21> &&
         joins<EF21, chain> && !joins<Hadamard<32>, Hadamard<64>>;
}

/// A wire is identified by its name, so even a long name must be complete.
constexpr bool test_long_name() {
  constexpr auto f = Downsample<2> | TopK<Ratio<1, 10>, PerGroup<65536>> | Hadamard<64, codec::RandomSigns> |
                     Quant<8, PerGroup<1024>, Stochastic>;
  constexpr auto g = TopK<Ratio<1, 10>, PerGroup<4096>>;
  return !(name(Wire<f, g | Quant<4>>{}) == name(Wire<f, g | Quant<5>>{}).view());
}
static_assert(test_long_name());

constexpr bool test_names() {
  return name(q | t | d) == "Downsample<2> | TopK<1/10> | Quant<8>" && name(Raw) == "Raw" &&
         name(Quant<4, PerTensor, Stochastic>) == "Quant<4, PerTensor, Stochastic>" &&
         name(Quant<4, PerGroup<512>>) == "Quant<4, PerGroup<512>>" &&
         name(Wire<q, Half>{}) == "Quant<8> / Half" && name(Wire<q>{}) == "Quant<8>" &&
         name(TopK<Ratio<2, 8>, PerGroup<64>>) == "TopK<1/4, PerGroup<64>>" &&
         name(Step<Ratio<1, 10>>) == "Step<1/10, 8>" &&
         name(q | Hadamard<32, codec::RandomSigns> | t) ==
             "TopK<1/10> | Hadamard<32, RandomSigns> | Quant<8>" &&
         name(q | ErrorFeedback) == "ErrorFeedback | Quant<8>" &&
         name(Wire<q, EF21 | q>{}) == "Quant<8> / EF21 | Quant<8>" &&
         name(Delta<> | q) == "Delta<> | Quant<8>" &&
         name(Delta<Raw, BFloat16> | q) == "Delta<Raw, BFloat16> | Quant<8>" &&
         name(Delta<q | t> | q) == "Delta<TopK<1/10> | Quant<8>> | Quant<8>";
}

/// Codecs, chains and wires are empty values.
constexpr bool test_empty() {
  return std::is_empty_v<std::remove_const_t<decltype(q | t | d)>> && std::is_empty_v<Wire<q, t>> &&
         sizeof(q) == 1;
}

static_assert(test_commutes());
static_assert(test_associates());
static_assert(test_identity());
static_assert(test_differs());
static_assert(test_refusals());
static_assert(test_names());
static_assert(test_empty());

TEST_CASE("the algebra of wires", "[static]") {
  CHECK(test_lookup());
  CHECK(test_commutes());
  CHECK(test_associates());
  CHECK(test_identity());
  CHECK(test_differs());
  CHECK(test_refusals());
  CHECK(test_names());
  CHECK(test_empty());
}
