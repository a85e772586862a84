// The 16-bit formats, judged by arithmetic in double that shares nothing with codec/float_bits.hpp, and the noise.
#include <bit>
#include <cmath>
#include <cstdint>
#include <pcomp/cpu.hpp>
#include <set>

#include "../kernels/kernels.hpp"
#include "catch.hpp"
#include "coders.hpp"

using namespace pcomp;

namespace {

using reference::Format, reference::binary16, reference::bfloat16;

bool same(double a, double b) {
  return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b);
}

/// Every value of the format, what lies half way to the next, and the floats around both.
std::vector<float> all_around(const Format& f) {
  std::vector<float> all{3.4e38f, 1e-45f, 65504.0f, 65519.0f, 65520.0f, 65536.0f};
  const auto add = [&](float x) {
    for (const float v : {x, std::nextafterf(x, INFINITY), std::nextafterf(x, -INFINITY)}) all.push_back(v);
  };
  for (std::uint32_t bits = 0; bits < 0x8000u; ++bits) {
    const double here = f.value(bits), next = f.value(bits + 1);
    if (!std::isfinite(here)) continue;
    add(static_cast<float>(here));
    if (std::isfinite(next)) add(static_cast<float>((here + next) / 2));
  }
  const std::size_t positive = all.size();
  for (std::size_t i = 0; i < positive; ++i) all.push_back(-all[i]);
  for (const float v :
       {INFINITY, -INFINITY, NAN, std::bit_cast<float>(0x7f800001u), std::bit_cast<float>(0xff801fffu)})
    all.push_back(v);
  all.resize(all.size() / 3 * 3 + 2);  // a tail that is no whole vector
  return all;
}

template <class F>
void on_every_instruction_set(F f) {
  const auto best = detail::best_isa();
  for (auto isa : {detail::Isa::baseline, detail::Isa::avx2, detail::Isa::avx512}) {
    if (isa > best) continue;
    detail::isa() = isa;
    INFO("instruction set " << static_cast<int>(isa));
    f();
  }
  detail::isa() = best;
}

void rounds(const kernel::WireKernels& w, const Format& f, kernel::DType t) {
  const std::vector<float> x = all_around(f);
  const kernel::WireKernels& raw = kernels_of(Raw);
  const auto n = static_cast<std::int64_t>(x.size());
  on_every_instruction_set([&] {
    std::vector<std::uint16_t> sent(x.size()), written(x.size());
    std::vector<float> y(x.size()), read(x.size());
    w.encode(std::span<const float>(x), Extents{n}, std::as_writable_bytes(std::span(sent)), {});
    w.decode(std::as_bytes(std::span(sent)), Extents{n}, std::span<float>(y), {});
    // A tensor of 16 bits, out and in again.
    raw.decode(std::as_bytes(std::span(x)), Extents{n}, kernel::MutableTensorView(written.data(), t, n), {});
    raw.encode(kernel::TensorView(written.data(), t, n), Extents{n}, std::as_writable_bytes(std::span(read)),
               {});
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double expected = f.nearest(static_cast<double>(x[i]));
      for (const double got : {f.value(sent[i]), static_cast<double>(y[i]), static_cast<double>(read[i])})
        wrong += !same(expected, got);
    }
    CHECK(wrong == 0);
  });
}

}  // namespace

TEST_CASE("every 16-bit value, every tie and their neighbours round as IEEE 754 says, but to no infinity",
          "[wire]") {
  CHECK(same(binary16.value(0x3c00), 1));
  CHECK(same(binary16.value(0x0001), 0x1p-24));
  CHECK(same(binary16.value(0xfbff), -65504));
  CHECK(same(bfloat16.value(0x3f80), 1));
  CHECK(same(binary16.nearest(2049), 2048));
  CHECK(same(binary16.nearest(2051), 2052));
  CHECK(same(bfloat16.nearest(257), 256));
  CHECK(same(bfloat16.nearest(259), 260));
  rounds(kernels_of(Half), binary16, kernel::DType::f16);
  rounds(kernels_of(BFloat16), bfloat16, kernel::DType::bf16);
}

TEST_CASE("the noise of two directions, boundaries or messages differs, and is the documented one",
          "[wire]") {
  std::set<std::uint64_t> seen;
  for (std::uint64_t boundary = 0; boundary < 20; ++boundary)
    for (const bool gradient : {false, true})
      for (std::uint64_t message = 0; message < 50; ++message)
        seen.insert(kernel::rng_counter(boundary, gradient, message));
  CHECK(seen.size() == 20 * 2 * 50);
  CHECK(!seen.contains(0));
  // SplitMix64's mixer, once more: (2 boundary + gradient + 1) 0x9e3779b97f4a7c15 + message 0xd1342543de82ef95.
  const auto mixed = [](std::uint64_t z) {
    z ^= z >> 30, z *= 0xbf58476d1ce4e5b9u;
    z ^= z >> 27, z *= 0x94d049bb133111ebu;
    return z ^ z >> 31;
  };
  CHECK(kernel::rng_counter(0, false, 0) == mixed(0x9e3779b97f4a7c15u));
  CHECK(kernel::rng_counter(3, true, 7) == mixed(8 * 0x9e3779b97f4a7c15u + 7 * 0xd1342543de82ef95u));
  // All 64 bits count: two messages whose noise differs in the upper half alone are coded differently.
  std::vector<float> x(2000);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 37) / 36;
  const kernel::WireKernels& w = kernels_of(Quant<3, PerGroup<256>, Stochastic>);
  const Extents e{2000};
  std::vector<std::byte> payload[2], grad[2];
  for (std::size_t i : {0u, 1u}) {
    kernel::TensorView in{std::span<const float>(x)};
    in.noise = i ? std::uint64_t{5} << 32 | 1 : 1;
    payload[i].resize(w.bytes(e)), grad[i].resize(w.grad_bytes(e));
    w.encode(in, e, payload[i], {});
    w.encode_grad(in, e, payload[i], grad[i], {});
  }
  CHECK(payload[0] != payload[1]);
  CHECK(grad[0] != grad[1]);
}

TEST_CASE("the number of codes, the name and the shape of a tensor have limits that are errors", "[wire]") {
  CHECK_THROWS_WITH((Extents{2, -1}), "pcomp: an extent must be at least 0, not -1");
  CHECK_NOTHROW((Extents{1, 2, 3, 4, 5, 6, 7, 0}));
  const std::vector<std::int64_t> nine(9, 1), eight(8, 2);
  CHECK_THROWS_WITH(Extents(nine.begin(), nine.end()), "pcomp: a shape has at most 8 dimensions");
  CHECK(Extents(eight.begin(), eight.end()).size() == 256);
  CHECK((Extents{std::int64_t{1} << 28, std::int64_t{1} << 28}.size()) == std::int64_t{1} << 56);
  CHECK_THROWS_WITH((Extents{std::int64_t{1} << 28, (std::int64_t{1} << 28) + 1}.size()),
                    "pcomp: a shape has at most 2^56 elements, not 268435456x268435457");
  CHECK((Extents{std::int64_t{1} << 40, 0, std::int64_t{1} << 40}.size()) == 0);
  const std::string most(511, 'n'), more(512, 'n');
  CHECK(codec::FixedString(most.c_str()).view() == most);
  CHECK_THROWS_WITH(codec::FixedString(more.c_str()),
                    "pcomp: this text has more characters than its FixedString holds");
  CHECK((codec::FixedString("x") + std::int64_t{-120} + "y").view() == "x-120y");
  CHECK((codec::FixedString() + std::numeric_limits<std::int64_t>::min()).view() == "-9223372036854775808");
  CHECK((codec::FixedString<5>() << "abc"
                                 << "def")
            .view() == "abcde");
  CHECK((codec::FixedString<5>() << "abcdef" << 7).first<3>().view() == "abc");
  CHECK((detail::LongText() << -120 << "," << 0 << "," << 1000000).string() == "-120,0,1000000");
  CHECK((detail::LongText() << std::numeric_limits<int>::min()).string() == "-2147483648");
}

TEST_CASE("the memory of feedback is counted in whole units, once on a rank with both ends", "[wire]") {
  const Extents sample{1, 10};
  for (const std::int64_t samples : {1, 255, 256})
    CHECK(codec::state_bytes(Delta<> | Quant<4>, sample, 8, samples, true) == 256 * 10 * 4);
  CHECK(codec::state_bytes(Delta<> | Quant<4>, sample, 8, 257, true) == 512 * 10 * 4);
  CHECK(codec::state_bytes(Delta<> | Quant<4>, sample, 8, 257) == 2 * 512 * 10 * 4);
  CHECK(codec::state_bytes(ErrorFeedback | Quant<4>, sample, 8, 0) == 8 * 10 * 4);
}

TEST_CASE("a vector of floats is a tensor as it is", "[wire]") {
  const std::vector<float> x{1, -2, 3, 0.5f};
  std::vector<float> y(4), z(4);
  const Extents e{4};
  std::vector<std::byte> payload(wire_bytes(Half, e)), same(payload.size());
  encode(Half, x, e, payload);
  encode(Half, std::span<const float>(x), e, same);
  CHECK(payload == same);
  decode(Half, payload, e, y);
  CHECK(y == x);
  const Wire<Half> wire{};
  std::vector<std::byte> grad(grad_wire_bytes(wire, e));
  encode_grad(wire, x, e, payload, grad);
  decode_grad(wire, grad, e, payload, z);
  CHECK(z == x);
  y.pop_back();
  CHECK_THROWS_AS(decode(Half, payload, e, y), Error);
}
