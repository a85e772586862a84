#include <cstring>
#include <pcomp/cpu.hpp>
#include <random>

#include "../kernels/kernels.hpp"
#include "catch.hpp"
#include "reference.hpp"
#include "threads.hpp"
#include "wires.hpp"

namespace {

using namespace pcomp;

/// Values with everything that may trip a codec: ties, zeros of both signs, subnormals, huge and non-finite ones.
std::vector<float> values(const Extents& e, int kind, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<std::size_t>(e.size()));
  for (float& v : x) {
    v = normal(random);
    if (kind == 1) v = v > 0 ? v : random() % 2 ? 0.0f : -0.0f;                // after a ReLU: half are zero
    if (kind == 2) v = std::round(v * 2) / 2;                                  // ties everywhere
    if (kind == 3) v = std::ldexp(v, static_cast<int>(random() % 260) - 140);  // every magnitude
    if (kind == 4 && random() % 50 == 0) {
      const float odd[] = {INFINITY, -INFINITY, NAN, -0.0f, 3.4e38f, -3.4e38f, 1e-45f};
      v = odd[random() % 7];
    }
    if (kind == 5) v = 7.25f;                                     // all the same
    if (kind == 6) v = std::clamp(v * 2e38f, -3.4e38f, 3.4e38f);  // wider than the float range
    if (kind == 7) v = std::ldexp(v, -138);                       // a range below the least normal float
  }
  return x;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0 && !(std::isnan(a[i]) && std::isnan(b[i])))
      return false;
  return a.size() == b.size();
}

/// Codec C without what the loops know of it: the reference computes by its scalar functions.
template <class C>
struct Scalar : C {};

/// Whether the loops of a coder, on the instruction set in isa(), send and receive what its scalar functions do.
template <class W>
void as_scalar(W w, int kind, kernel::DType t) {
  const Extents e{3, 1111};  // whole chunks, whole blocks, a part of one
  std::vector<float> x = values(e, kind, 3);
  std::vector<std::uint16_t> x16(x.size()), y16(x.size());
  const auto narrow = [&](float v) {
    return t == kernel::DType::bf16 ? detail::to_bf16(v) : detail::to_half(v);
  };
  const auto wide = [&](std::uint16_t v) {
    return t == kernel::DType::bf16 ? detail::from_bf16(v) : detail::from_half(v);
  };
  const bool is_wide = t == kernel::DType::f32;
  if (!is_wide)
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = wide(x16[i] = narrow(x[i]));
  kernel::TensorView in =
      is_wide ? kernel::TensorView(std::span<const float>(x)) : kernel::TensorView(x16.data(), t, e.size());
  in.noise = kernel::rng_counter(3, false, static_cast<std::uint64_t>(kind));
  const reference::Wire<Scalar<typename detail::Form<W>::Code>> expected(x, x, e, in.noise);
  const kernel::WireKernels& k = kernels_of(w);
  std::vector<std::byte> payload(k.bytes(e));
  std::vector<float> y(x.size());
  INFO(name(w).view() << ", values of kind " << kind << ", dtype " << static_cast<int>(t));
  k.encode(in, e, payload, {});
  CHECK((payload == expected.forward.bytes));
  if (is_wide) {
    k.decode(payload, e, std::span<float>(y), {});
    CHECK(same(y, expected.y));
  } else {
    k.decode(payload, e, kernel::MutableTensorView(y16.data(), t, e.size()), {});
    std::vector<float> back(x.size());
    for (std::size_t i = 0; i < y.size(); ++i) y[i] = wide(y16[i]), back[i] = wide(narrow(expected.y[i]));
    CHECK(same(y, back));
  }
}

template <class W>
void agrees(W w, const Extents& given, int kind, kernel::ParallelFor par) {
  const Extents e = fitting(kernels_of(w), given);
  const auto x = values(e, kind, 1), dy = values(e, kind == 4 ? 4 : 0, 2);
  kernel::TensorView in_x{std::span<const float>(x)}, in_dy{std::span<const float>(dy)};
  in_x.noise = in_dy.noise = kind == 0 ? 0 : kernel::rng_counter(3, false, static_cast<std::uint64_t>(kind));
  const reference::Wire<W> expected(x, dy, e, in_x.noise);
  const kernel::WireKernels& k = kernels_of(w);
  std::vector<std::byte> payload(wire_bytes(w, e), std::byte{0xaa}),
      grad(grad_wire_bytes(w, e), std::byte{0xaa});
  std::vector<float> y(x.size(), 99.0f), dx(x.size(), 99.0f);
  INFO(name(w).view() << " on " << to_string(e) << ", values of kind " << kind);
  k.encode(in_x, e, payload, par);
  CHECK((payload == expected.forward.bytes));
  k.decode(payload, e, std::span<float>(y), par);
  CHECK(same(y, expected.y));
  k.encode_grad(in_dy, e, payload, grad, par);
  CHECK((grad == expected.backward.bytes));
  const std::vector<std::byte> index(payload.begin(),
                                     payload.begin() + static_cast<std::ptrdiff_t>(k.index_bytes(e)));
  k.decode_grad(grad, e, index, std::span<float>(dx), par);  // the index block alone is enough
  CHECK(same(dx, expected.dx));
}

}  // namespace

TEST_CASE("every wire sends and receives what the documented format says", "[wire]") {
  const int kind = GENERATE(0, 1, 2, 3, 4, 5, 6, 7);
  for_each_wire([&](auto w) {
    agrees(w, Extents{3, 5, 9, 11}, kind, {});
    agrees(w, Extents{2, 130}, kind, {});
    agrees(w, Extents{1, 1, 1, 1}, kind, {});
  });
}

TEST_CASE("the bytes do not depend on threads or instruction set", "[wire]") {
  const int kind = GENERATE(0, 1, 4, 6);
  const auto best = detail::best_isa();
  for (auto isa : {detail::Isa::baseline, detail::Isa::avx2, detail::Isa::avx512}) {
    if (isa > best) continue;
    detail::isa() = isa;
    for_each_wire([&](auto w) { agrees(w, Extents{4, 3, 67, 65}, kind, Threads{isa == best ? 3 : 1}); });
  }
  detail::isa() = best;
}

TEST_CASE("the loops of SimdCoder compute what the codec's scalar functions do", "[wire]") {
  const int kind = GENERATE(0, 1, 2, 3, 4, 5, 6, 7);
  const auto best = detail::best_isa();
  for (auto isa : {detail::Isa::baseline, detail::Isa::avx2, detail::Isa::avx512}) {
    if (isa > best) continue;
    detail::isa() = isa;
    for (auto t : {kernel::DType::f32, kernel::DType::f16, kernel::DType::bf16})
      for_each_wire([&](auto w) {
        using W = decltype(w);
        if constexpr (codec::CodeCodec<W> || std::is_same_v<W, ops::Raw>) as_scalar(w, kind, t);
      });
  }
  detail::isa() = best;
}

TEST_CASE("one bit of a group wider than the float range stays within a step", "[wire]") {
  const std::vector<float> x{-3e38f, 3e38f, 0, 1e38f};
  const Extents e{4};
  const auto check = [&](auto w) {
    std::vector<std::byte> payload(wire_bytes(w, e));
    std::vector<float> y(x.size());
    encode(w, std::span<const float>(x), e, payload);
    decode(w, payload, e, std::span<float>(y));
    for (std::size_t i = 0; i < x.size(); ++i)
      CHECK(std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i])) <= 3.5e38);
    CHECK(y[1] == y[2]);
    CHECK(y[1] > 0);
    CHECK(y[0] < -2.9e38f);
  };
  check(Quant<1>);
  check(Quant<1, PerTensor>);
}

TEST_CASE("a signalling NaN of 16 bits is a quiet one on every instruction set", "[wire]") {
  const std::vector<std::uint16_t> half(64, 0x7c01);
  const Extents e{64};
  const auto best = detail::best_isa();
  for (auto isa : {detail::Isa::baseline, detail::Isa::avx2, detail::Isa::avx512}) {
    if (isa > best) continue;
    detail::isa() = isa;
    std::vector<std::uint32_t> bits(64);
    encode(Raw, kernel::TensorView(half.data(), kernel::DType::f16, 64), e,
           std::as_writable_bytes(std::span(bits)));
    CHECK(bits == std::vector<std::uint32_t>(64, 0x7fc02000));
    decode(Half, std::as_bytes(std::span(half)), e,
           kernel::MutableTensorView(bits.data(), kernel::DType::f32, 64));
    CHECK(bits == std::vector<std::uint32_t>(64, 0x7fc02000));
  }
  detail::isa() = best;
}

TEST_CASE("a selection that its sample misleads is still exact", "[wire]") {
  // The large values lie where no run of the sample looks: in blocks between the runs.
  const Extents e{1, 1 << 18};
  std::vector<float> x(static_cast<std::size_t>(e.size()));
  std::mt19937 random(5);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(random() % 1000) * 1e-4f;
  for (std::size_t i = 0; i < x.size(); ++i)
    if (i % 128 >= 40 && i % 128 < 60) x[i] = 100 + static_cast<float>(i % 977);
  const auto w = TopK<Ratio<1, 10>> | Quant<8>;
  const reference::Wire<std::remove_const_t<decltype(w)>> expected(x, x, e);
  std::vector<std::byte> payload(wire_bytes(w, e));
  encode(w, std::span<const float>(x), e, payload, Threads{2});
  CHECK((payload == expected.forward.bytes));
}

TEST_CASE("a selection's segments may be found in different ways", "[wire]") {
  // Full segments by a bracket; the last, shorter one by sorting or by a bracket of its own; one segment is all ties.
  const auto w = TopK<Ratio<1, 10>, PerGroup<32768>> | Quant<8>;
  for (const std::int64_t n : {75000, 2 * 32768 + 3, 3 * 32768 - 7}) {
    const Extents e{n};
    std::vector<float> x(static_cast<std::size_t>(n));
    std::mt19937 random(5);
    for (std::size_t i = 0; i < x.size(); ++i)
      x[i] = i / 32768 == 1 ? 1.0f : static_cast<float>(random() % 100000) * 1e-4f;
    const reference::Wire<std::remove_const_t<decltype(w)>> expected(x, x, e);
    for (const int threads : {1, 3}) {
      std::vector<std::byte> payload(wire_bytes(w, e));
      encode(w, std::span<const float>(x), e, payload, Threads{threads});
      INFO(n << " elements, " << threads << " threads");
      CHECK((payload == expected.forward.bytes));
    }
  }
}

TEST_CASE("a selection over more elements than positions have numbers is an error", "[wire]") {
  CHECK_NOTHROW(wire_bytes(Quant<8>, Extents{1 << 20, 1 << 14}));
  CHECK_NOTHROW(wire_bytes(TopK<Ratio<1, 10>>, Extents{4294967294}));
  CHECK_THROWS_WITH(wire_bytes(TopK<Ratio<1, 10>>, Extents{4294967295}),
                    "pcomp: TopK<1/10> takes at most 4294967294 elements, and 4294967295 has 4294967295");
  CHECK_THROWS_WITH(wire_bytes(TopK<Ratio<1, 10>>, Extents{1 << 20, 1 << 14}),
                    "pcomp: TopK<1/10> takes at most 4294967294 elements, and 1048576x16384 has 17179869184");
}

TEST_CASE("bfloat16 and half tensors are read and written as the floats they stand for", "[wire]") {
  const Extents e{2, 3, 10, 13};
  const auto x = values(e, 0, 3);
  std::vector<std::uint16_t> x16(x.size()), y16(x.size());
  std::vector<float> wide(x.size()), y(x.size());
  for (const kernel::DType t : {kernel::DType::bf16, kernel::DType::f16}) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      x16[i] = t == kernel::DType::bf16 ? detail::to_bf16(x[i]) : detail::to_half(x[i]);
      wide[i] = t == kernel::DType::bf16 ? detail::from_bf16(x16[i]) : detail::from_half(x16[i]);
    }
    for_each_wire([&](auto w) {
      INFO(name(w).view());
      const kernel::WireKernels& k = kernels_of(w);
      std::vector<std::byte> a(wire_bytes(w, e)), b(a.size());
      k.encode(std::span<const float>(wide), e, a, {});
      k.encode(kernel::TensorView(x16.data(), t, e.size()), e, b, {});
      CHECK((a == b));
      k.decode(a, e, std::span<float>(y), {});
      k.decode(b, e, kernel::MutableTensorView(y16.data(), t, e.size()), {});
      bool equal = true;
      for (std::size_t i = 0; i < y.size(); ++i)
        equal = equal && y16[i] == (t == kernel::DType::bf16 ? detail::to_bf16(y[i]) : detail::to_half(y[i]));
      CHECK(equal);
    });
  }
}

TEST_CASE("a wrong length says what was expected and what came", "[wire]") {
  const Extents e{2, 8, 8};
  std::vector<float> x(128);
  std::vector<std::byte> payload(wire_bytes(Quant<8>, e) + 1);
  CHECK_THROWS_WITH(encode(Quant<8>, std::span<const float>(x), e, payload),
                    "pcomp: the payload has 133 bytes, but Quant<8> on 2x8x8 takes 132");
  CHECK_THROWS_WITH(encode(Quant<8>, std::span<const float>(x).first(127), e, payload),
                    "pcomp: the input has 127 elements, but the shape 2x8x8 has 128");
  CHECK_THROWS_WITH(
      encode(Downsample<2>, std::span<const float>(x), Extents{128}, payload),
      "pcomp: Downsample<2> pools rows and columns, the last two of four or more dimensions, but 128 has 1: "
      "it would average over samples or features; name the dimensions to pool, as in Downsample<2, "
      "Axes<1>>");
  CHECK_THROWS_AS(decode_grad(TopK<Ratio<1, 4>>, payload, e, payload, std::span<float>(x)), Error);
  // A gradient's forward payload is whole or its index block, of no length between.
  const kernel::WireKernels& k = kernels_of(TopK<Ratio<1, 10>>);
  std::vector<std::byte> forward(k.bytes(e)), grad(k.grad_bytes(e));
  k.encode(std::span<const float>(x), e, forward, {});
  const std::size_t index = k.index_bytes(e);
  for (const std::size_t size :
       {index - 1, index, index + 1, forward.size() - 1, forward.size(), forward.size() + 1}) {
    std::vector<std::byte> given = forward;
    given.resize(size);
    const std::string says = "pcomp: the forward payload has " + std::to_string(size) +
                             " bytes, but TopK<1/10> on 2x8x8 takes " + std::to_string(forward.size()) +
                             ", or its index block alone, " + std::to_string(index);
    if (size == index || size == forward.size()) {
      CHECK_NOTHROW(k.encode_grad(std::span<const float>(x), e, given, grad, {}));
      CHECK_NOTHROW(k.decode_grad(grad, e, given, std::span<float>(x), {}));
    } else {
      CHECK_THROWS_WITH(k.encode_grad(std::span<const float>(x), e, given, grad, {}), says);
      CHECK_THROWS_WITH(k.decode_grad(grad, e, given, std::span<float>(x), {}), says);
    }
  }
}
