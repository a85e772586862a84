#include <pcomp/core.hpp>

#include "../cpu/catch.hpp"

using namespace pcomp;

namespace {

constexpr auto thin = Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>;
using Act = Shape<64, 32, 32, 32>;
constexpr std::size_t raw = wire_bytes(Raw, Act{});

constexpr bool test_rates() {
  return raw == 64 * 32 * 32 * 32 * 4 && 80 * wire_bytes(thin, Act{}) <= raw &&
         20 * wire_bytes(TopK<Ratio<1, 10>> | Quant<8>, Act{}) <= raw && 20 * wire_bytes(thin, Act{}) < raw;
}

/// Bits per element, as in the README's table.
constexpr double bits(auto w) {
  return 8.0 * static_cast<double>(wire_bytes(w, Act{})) / static_cast<double>(raw / 4);
}
constexpr bool test_bits() {
  return bits(Raw) == 32 && bits(Quant<8>) == 8.25 && bits(Quant<4>) == 4.25 && bits(Quant<1>) == 1.25 &&
         bits(Half) == 16 && bits(BFloat16) == 16 && bits(Step<Ratio<1, 10>>) == 8 &&
         bits(Downsample<2>) == 8 && bits(TopK<Ratio<1, 10>>) < 3.75 && bits(TopK<Ratio<1, 10>>) > 3.65 &&
         bits(thin) < 0.37;
}

/// The size of each block for 1000 elements, calculated by hand.
constexpr bool test_blocks() {
  constexpr Extents e{1000};
  return wire_bytes(Quant<8>, e) == 1008 + 8 * 4               // 1000 codes, aligned; 8 groups
         && wire_bytes(Quant<8, PerTensor>, e) == 1008 + 8     // one float pair
         && wire_bytes(Quant<3>, e) == 384 + 8 * 4             // 375 bytes of codes, aligned
         && wire_bytes(TopK<Ratio<1, 2>>, e) == 128 + 500 * 4  // bitmap of 125 bytes, aligned
         && wire_bytes(TopK<Ratio<1, 1>>, e) == 4000           // all kept: no index
         && wire_bytes(TopK<Ratio<1, 1001>>, e) == 32 + 4      // one kept: 17 bytes of Elias-Fano, aligned
         && wire_bytes(TopK<Ratio<1, 1001>>, Extents{0}) == 0  // of nothing, nothing
         && wire_bytes(Quant<8>, Extents{0}) == 0;
}

/// The gradient carries no index, and only the elements that the forward mask kept.
constexpr bool test_gradient() {
  constexpr Extents e{8, 2, 8, 16};
  constexpr std::size_t n = 2048, kept = 204;
  return grad_wire_bytes(Wire<TopK<Ratio<1, 10>>>{}, e) == kept * 4 && grad_wire_bytes(Raw, e) == n * 4 &&
         grad_wire_bytes(Downsample<2>, e) == n &&
         grad_wire_bytes(Wire<Quant<4>, Quant<8>>{}, e) == n + n / 128 * 4 &&
         grad_wire_bytes(Wire<TopK<Ratio<1, 10>>, Half>{}, e) == kept * 2 &&
         wire_bytes(Wire<Quant<4>, Quant<8>>{}, e) == wire_bytes(Quant<4>, e);
}

/// Every bit counts: fewer bits, fewer kept, or smaller shapes never cost more.
constexpr bool test_monotone() {
  constexpr Extents e{3, 5, 33, 31};
  return wire_bytes(Quant<1>, e) < wire_bytes(Quant<2>, e) &&
         wire_bytes(Quant<2>, e) < wire_bytes(Quant<3>, e) &&
         wire_bytes(Quant<7>, e) < wire_bytes(Quant<8>, e) &&
         wire_bytes(Quant<8>, e) < wire_bytes(Quant<16>, e) &&
         wire_bytes(TopK<Ratio<1, 20>>, e) < wire_bytes(TopK<Ratio<1, 10>>, e) &&
         wire_bytes(TopK<Ratio<1, 10>> | Quant<8>, e) < wire_bytes(TopK<Ratio<1, 10>>, e) &&
         wire_bytes(Downsample<3>, e) < wire_bytes(Downsample<2>, e) &&
         wire_bytes(Downsample<1>, e) == wire_bytes(Raw, e) &&
         wire_bytes(Downsample<2, Axes<1>>, e) == 3 * 3 * 33 * 31 * 4 &&
         wire_bytes(Downsample<2, Axes<1, -1>>, Extents{7, 5, 3}) == 7 * 3 * 2 * 4;
}

/// Feedback changes what is coded, not how much is sent; its memory takes 4 bytes per element, or 2.
constexpr bool test_feedback() {
  constexpr Extents sample{1, 8, 32, 32}, e{4, 8, 32, 32};
  constexpr std::int64_t n = 8 * 32 * 32, kept = 50176;  // 50 000, rounded up to a multiple of 256
  return wire_bytes(EF21 | thin, e) == wire_bytes(thin, e) &&
         wire_bytes(Delta<> | Quant<4>, e) == wire_bytes(Quant<4>, e) &&
         grad_wire_bytes(ErrorFeedback | Quant<4>, e) == wire_bytes(Quant<4>, e) &&
         codec::state_bytes(thin, sample, 128, 50000) == 0 &&
         codec::state_bytes(ErrorFeedback | Quant<4>, sample, 128, 50000) == 128 * n * 4 &&
         codec::state_bytes(EF21 | Quant<4>, sample, 128, 50000) == 2 * 128 * n * 4 &&
         codec::state_bytes(Delta<> | Quant<4>, sample, 128, 50000, true) == kept * n * 4 &&
         codec::state_bytes(Wire<Delta<Raw, BFloat16> | Quant<4>, ErrorFeedback | Quant<4>>{}, sample, 128,
                            50000) == 2 * kept * n * 2 + 128 * n * 4;
}

static_assert(test_feedback());
static_assert(test_rates());
static_assert(test_bits());
static_assert(test_blocks());
static_assert(test_gradient());
static_assert(test_monotone());

}  // namespace

TEST_CASE("the size of a wire is a constant expression", "[static]") {
  CHECK(test_rates());
  CHECK(test_bits());
  CHECK(test_blocks());
  CHECK(test_feedback());
  CHECK(test_gradient());
  CHECK(test_monotone());
}

TEST_CASE("a shape that came at run time gives the same size", "[static]") {
  for (std::int64_t n : {1, 127, 128, 129, 1000, 4096}) {
    const Extents e{n, 1, 3, 4};
    CHECK(wire_bytes(thin, e) == wire_bytes(Downsample<2> | Quant<8> | TopK<Ratio<1, 10>>, e));
    CHECK(wire_bytes(Raw, e) == static_cast<std::size_t>(n * 48));
  }
}
