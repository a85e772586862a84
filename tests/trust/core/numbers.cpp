// Rows of numbers: what is not finite stays so behind every wire, what is finite stays finite. Nothing here looks at how
// the kernels find out: only at what goes in and what comes out.
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <pcomp/cpu.hpp>
#include <string_view>
#include <thread>

#include "../../unit/cpu/catch.hpp"
#include "../../unit/kernels/kernels.hpp"

namespace {

using namespace pcomp;
using Floats = std::vector<float>;

constexpr float quiet = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity(),
                most = std::numeric_limits<float>::max();

struct Threads {
  int count;
  void operator()(std::int64_t n, std::int64_t, kernel::ParallelFor::Body body) const {
    std::vector<std::thread> workers;
    for (int t = 1; t < count; ++t)
      workers.emplace_back([=, parts = count] {
        if (n * t / parts < n * (t + 1) / parts) body(n * t / parts, n * (t + 1) / parts);
      });
    if (n / count > 0) body(0, n / count);
    for (auto& w : workers) w.join();
  }
};

struct AllIsas {
  template <class F>
  void operator()(F&& f) const {
    const auto best = detail::best_isa();
    for (auto isa : {detail::Isa::baseline, detail::Isa::avx2, detail::Isa::avx512}) {
      if (isa > best) continue;
      detail::isa() = isa;
      f(isa == best);
    }
    detail::isa() = best;
  }
};

Floats waves(std::size_t n, unsigned rng_counter) {
  Floats x(n);
  for (std::size_t i = 0; i < n; ++i)
    x[i] =
        static_cast<float>(((static_cast<unsigned>(i) + rng_counter) * 2654435761u) >> 8) * 0x1p-21f - 4.0f;
  return x;
}

/// A wire's four calls on tensors of one dtype; `shift` elements move input and output off their alignment.
template <class T>
struct Both {
  std::vector<T> y, dx;

  Both(const kernel::WireKernels& k, const std::vector<T>& x, const std::vector<T>& dy, const Extents& e,
       kernel::DType t, std::size_t shift = 0, kernel::ParallelFor par = {}) {
    const std::size_t n = x.size();
    std::vector<T> room(n + shift), grad_room(n + shift), out(n + shift);
    std::copy(x.begin(), x.end(), room.begin() + static_cast<std::ptrdiff_t>(shift));
    std::copy(dy.begin(), dy.end(), grad_room.begin() + static_cast<std::ptrdiff_t>(shift));
    std::vector<std::byte> p(k.bytes(e)), g(k.grad_bytes(e));
    k.encode(kernel::TensorView(room.data() + shift, t, e.size()), e, p, par);
    k.decode(p, e, kernel::MutableTensorView(out.data() + shift, t, e.size()), par);
    y.assign(out.begin() + static_cast<std::ptrdiff_t>(shift), out.end());
    k.encode_grad(kernel::TensorView(grad_room.data() + shift, t, e.size()), e, p, g, par);
    k.decode_grad(g, e, p, kernel::MutableTensorView(out.data() + shift, t, e.size()), par);
    dx.assign(out.begin() + static_cast<std::ptrdiff_t>(shift), out.end());
  }
};

bool holds(const kernel::WireKernels& k, const char* what) {
  return k.name.view().find(what) != std::string_view::npos;
}

/// A NaN or an infinity at place `i`, there and back.
void arrives(const kernel::WireKernels& k, const Extents& e, std::size_t i, std::size_t shift,
             kernel::ParallelFor par) {
  const auto n = static_cast<std::size_t>(e.size());
  for (const float odd : {quiet, inf, -inf}) {
    Floats x = waves(n, 0), dy = waves(n, 1000);
    x[i] = dy[i] = odd;
    const Both<float> came(k, x, dy, e, kernel::DType::f32, shift, par);
    INFO(k.name.view() << " on " << to_string(e) << ", " << odd << " at " << i << ", shifted by " << shift);
    CHECK(!std::isfinite(came.y[i]));
    // A selection of the gradient's own may leave it out only for a greater one.
    if (!holds(k, " / "))
      CHECK(!std::isfinite(came.dx[i]));
    else
      CHECK(!std::all_of(came.dx.begin(), came.dx.end(), [](float v) { return std::isfinite(v); }));
  }
}

/// The kernels of one-dimensional wires cross their thresholds at these lengths: vectors, blocks of codes, rotations,
/// groups, windows of the decoder, chunks, and what a selection sorts as a whole.
const std::int64_t lengths[] = {1,    7,    8,    9,    31,   32,   33,   63,   64,    65,   127,
                                128,  129,  255,  256,  257,  511,  512,  513,  1023,  1024, 1025,
                                2047, 2048, 2049, 4095, 4097, 6000, 6001, 9000, 16384, 16385};

}  // namespace

TEST_CASE("numbers: a NaN or an infinity arrives as what is not finite, whatever the wire and the size",
          "[trust]") {
  AllIsas{}([&](bool best) {
    for (const kernel::WireKernels* k : all_kernels())
      for (const std::int64_t n : lengths) {
        if (!best && n > 2049) continue;
        const auto size = static_cast<std::size_t>(n);
        arrives(*k, {1, 1, 1, n}, 0, 0, {});
        arrives(*k, {1, 1, 1, n}, size - 1, 0, {});
        arrives(*k, {1, 1, 1, n}, size / 2, n % 2 ? 1 : 0, {});
      }
  });
}

TEST_CASE("numbers: three threads lose a NaN no more than one", "[trust]") {
  for (const kernel::WireKernels* k : all_kernels())
    for (const Extents& e : {Extents{3, 4, 65, 67}, Extents{2, 8, 64, 64}}) {
      const auto n = static_cast<std::size_t>(e.size());
      for (const std::size_t i : {std::size_t{0}, n / 3 + 1, n - 1})
        for (const int threads : {1, 3}) arrives(*k, e, i, i % 2, Threads{threads});
    }
}

TEST_CASE("numbers: every element spoilt, and every other one", "[trust]") {
  const Extents e{2, 3, 20, 30};
  const auto n = static_cast<std::size_t>(e.size());
  for (const kernel::WireKernels* k : all_kernels())
    for (const unsigned each : {1u, 2u}) {
      Floats x = waves(n, 0);
      for (std::size_t i = 0; i < n; i += each) x[i] = i % 3 ? quiet : i % 2 ? inf : -inf;
      const Both<float> came(*k, x, x, e, kernel::DType::f32);
      INFO(k->name.view());
      CHECK(std::none_of(came.y.begin(), came.y.end(), [](float v) { return std::isfinite(v) && v != 0; }) >=
            (each == 1));
      CHECK(std::any_of(came.y.begin(), came.y.end(), [](float v) { return !std::isfinite(v); }));
      CHECK(std::any_of(came.dx.begin(), came.dx.end(), [](float v) { return !std::isfinite(v); }));
    }
}

TEST_CASE("numbers: a group that is spoilt is NaN, and its neighbours are as they would be without it",
          "[trust]") {
  const Extents e{1, 1, 1, 1000};
  const auto clean = waves(1000, 0);
  const auto check = [&](const char* wire, std::size_t group) {
    const kernel::WireKernels* k = nullptr;
    for (const kernel::WireKernels* each : all_kernels())
      if (each->name == wire) k = each;
    REQUIRE(k);
    AllIsas{}([&](bool) {
      for (const float odd : {quiet, inf, -inf})
        for (const std::size_t i : {0u, 300u, 511u, 999u}) {
          Floats x = clean;
          x[i] = odd;
          const Both<float> whole(*k, clean, clean, e, kernel::DType::f32),
              spoilt(*k, x, x, e, kernel::DType::f32);
          bool right = true;
          for (std::size_t j = 0; j < x.size(); ++j)
            right =
                right && (j / group == i / group ? std::isnan(spoilt.y[j]) && std::isnan(spoilt.dx[j])
                                                 : spoilt.y[j] == whole.y[j] && spoilt.dx[j] == whole.dx[j]);
          INFO(wire << ", " << odd << " at " << i);
          CHECK(right);
        }
    });
  };
  check("Quant<1>", 128);
  check("Quant<3>", 128);
  check("Quant<8>", 128);
  check("Quant<16>", 128);
  check("Quant<4, PerGroup<512>>", 512);
  check("Quant<3, PerGroup<256>, Stochastic>", 256);
  check("Quant<16, Stochastic>", 128);
  check("Quant<8, PerTensor>", 1000);
  check("Quant<8, PerTensor, Stochastic>", 1000);
  check("Step<1/10, 8>", 1);
  check("Step<1/16, 5>", 1);
  check("Step<3/2, 16>", 1);
  check("Sign", 1);
}

TEST_CASE("numbers: Half and BFloat16 keep what kind of number it is", "[trust]") {
  const Extents e{1, 1, 1, 40};
  AllIsas{}([&](bool) {
    for (const kernel::WireKernels* k : all_kernels()) {
      if (k->name != "Half" && k->name != "BFloat16") continue;
      for (std::size_t i = 0; i < 40; ++i) {
        Floats x = waves(40, 0);
        for (const float odd : {quiet, inf, -inf, most, -most, 65519.996f, 65520.0f, -65520.0f, 1e30f}) {
          x[i] = odd;
          const float y = Both<float>(*k, x, x, e, kernel::DType::f32).y[i];
          INFO(k->name.view() << ", " << odd << " at " << i);
          CHECK(std::isnan(y) == std::isnan(odd));
          CHECK(std::isinf(y) == std::isinf(odd));
          CHECK((std::isnan(odd) || std::signbit(y) == std::signbit(odd)));
          if (k->name == "Half" && std::isfinite(odd)) CHECK(std::abs(y) == 65504);
        }
      }
    }
  });
}

TEST_CASE("numbers: Step sends the same in floats of every size, and one code less", "[trust]") {
  // 8 bits: 255 multiples, -127 to 127; code 0 is for what is not finite.
  const Extents e{1, 1, 1, 4};
  const Floats x{-1000, 1000, quiet, -12.75f};
  for (const kernel::WireKernels* k : all_kernels()) {
    if (k->name != "Step<1/10, 8>") continue;
    std::vector<std::byte> p(k->bytes(e));
    k->encode(std::span<const float>(x), e, p, {});
    CHECK(p == std::vector<std::byte>{std::byte{1}, std::byte{255}, std::byte{0}, std::byte{1}});
  }
}

TEST_CASE("numbers: finite values of a tensor's own dtype stay finite", "[trust]") {
  const auto check = [](const kernel::WireKernels& k, auto largest, auto least, auto small, kernel::DType t,
                        auto is_finite) {
    using T = decltype(largest);
    for (const Extents& e : {Extents{1, 1, 1, 1}, Extents{1, 1, 2, 129}, Extents{2, 2, 31, 33}}) {
      const auto n = static_cast<std::size_t>(e.size());
      for (const unsigned kind : {0u, 1u, 2u, 3u, 4u}) {
        std::vector<T> x(n, kind == 1 ? least : largest);
        for (std::size_t i = 0; i < n; ++i)
          if (kind == 2)
            x[i] = i % 2 ? largest : least;
          else if (kind > 2)
            x[i] = i % 67 == 5 ? (kind == 3 ? largest : least) : small;
        const Both<T> came(k, x, x, e, t, n % 2);
        INFO(k.name.view() << " on " << to_string(e) << ", dtype " << static_cast<int>(t) << ", kind "
                           << kind);
        CHECK(std::all_of(came.y.begin(), came.y.end(), is_finite));
        CHECK(std::all_of(came.dx.begin(), came.dx.end(), is_finite));
      }
    }
  };
  AllIsas{}([&](bool) {
    for (const kernel::WireKernels* k : all_kernels()) {
      check(*k, most, -most, 1.0f, kernel::DType::f32, [](float v) { return std::isfinite(v); });
      check(*k, std::uint16_t{0x7bff}, std::uint16_t{0xfbff}, std::uint16_t{0x3c00}, kernel::DType::f16,
            [](std::uint16_t v) { return (v & 0x7c00) != 0x7c00; });
      check(*k, std::uint16_t{0x7f7f}, std::uint16_t{0xff7f}, std::uint16_t{0x3f80}, kernel::DType::bf16,
            [](std::uint16_t v) { return (v & 0x7f80) != 0x7f80; });
    }
  });
}

TEST_CASE("numbers: an infinity or a NaN of 16 bits is seen, too", "[trust]") {
  const Extents e{1, 1, 3, 130};
  const auto n = static_cast<std::size_t>(e.size());
  for (const kernel::WireKernels* k : all_kernels())
    for (const kernel::DType t : {kernel::DType::f16, kernel::DType::bf16})
      for (const unsigned odd : {0x7c00u, 0xfc00u, 0x7e00u}) {
        std::vector<std::uint16_t> x(n, t == kernel::DType::f16 ? 0x3c00 : 0x3f80);
        const unsigned exponent = t == kernel::DType::f16 ? 0x7c00 : 0x7f80;
        x[131] = static_cast<std::uint16_t>(t == kernel::DType::f16 ? odd : odd | 0x0380u);
        const Both<std::uint16_t> came(*k, x, x, e, t);
        INFO(k->name.view() << ", dtype " << static_cast<int>(t) << ", bits " << odd);
        CHECK((came.y[131] & exponent) == exponent);
        if (!holds(*k, " / ")) CHECK((came.dx[131] & exponent) == exponent);
      }
}

TEST_CASE("numbers: windows and rotations of huge values are averages, not infinities", "[trust]") {
  const Extents e{1, 2, 6, 8};
  const auto n = static_cast<std::size_t>(e.size());
  AllIsas{}([&](bool) {
    for (const kernel::WireKernels* k : all_kernels()) {
      INFO(k->name.view());
      if (k->name == "Downsample<2>" || k->name == "Downsample<1>") {
        const Both<float> came(*k, Floats(n, 3e38f), Floats(n, -3e38f), e, kernel::DType::f32);
        for (const float v : came.y) CHECK(v == Approx(3e38).epsilon(1e-6));
        for (const float v : came.dx) CHECK(v <= -8e37f);
        Floats x(n, 3e38f);
        for (std::size_t i = 0; i < n; i += 2) x[i] = -3e38f;  // each window adds up to nothing
        for (const float v : Both<float>(*k, x, x, e, kernel::DType::f32).y)
          CHECK(std::abs(v) == Approx(k->name == "Downsample<1>" ? 3e38 : 0.0).margin(1e-30));
      }
      if (k->name == "Hadamard<64> | Quant<4>") {
        const Extents line{1, 1, 1, 64};
        Floats x(64, 1e38f);
        const Both<float> came(*k, x, x, line, kernel::DType::f32);
        // The first element of the rotated block would be 8e38 and is cut to the largest float.
        for (const float v : came.y) CHECK(v == Approx(static_cast<double>(most) / 8).epsilon(0.1));
      }
    }
  });
}

TEST_CASE("numbers: 16-bit floats are rounded to even, and to the largest finite one at most", "[trust]") {
  // Rounded by hand: of the two neighbours, the nearer one, of equally near ones the even one.
  const auto nearest = [](float x, auto value, std::uint32_t largest) {
    const float a = std::abs(x);
    std::uint32_t lo = 0, hi = largest;
    while (lo < hi) {
      const std::uint32_t middle = (lo + hi + 1) / 2;
      if (value(middle) <= a)
        lo = middle;
      else
        hi = middle - 1;
    }
    if (lo == largest) return largest;
    const double below = static_cast<double>(a) - static_cast<double>(value(lo)),
                 above = static_cast<double>(value(lo + 1)) - static_cast<double>(a);
    return above < below || (above == below && lo % 2) ? lo + 1 : lo;
  };
  const auto half = [](std::uint32_t h) {
    const int exponent = static_cast<int>(h >> 10);
    return std::ldexp(static_cast<float>(exponent ? 1024 + (h & 1023) : h & 1023),
                      std::max(exponent, 1) - 25);
  };
  const auto bfloat = [](std::uint32_t h) {
    const int exponent = static_cast<int>(h >> 7);
    return std::ldexp(static_cast<float>(exponent ? 128 + (h & 127) : h & 127), std::max(exponent, 1) - 134);
  };
  Floats x;
  for (std::uint32_t u = 0; u < 0x7f800000u; u += 0x7ffb) x.push_back(std::bit_cast<float>(u));
  for (const std::uint32_t at :
       {0x477fe000u, 0x477ff000u, 0x47800000u, 0x7f7f0000u, 0x7f7f8000u, 0x33000000u})
    for (std::uint32_t u = at - 3; u < at + 4; ++u) x.push_back(std::bit_cast<float>(u));
  x.push_back(most);
  for (std::size_t i = 0; i < x.size(); i += 2) x[i] = -x[i];
  const Extents e{1, 1, 1, static_cast<std::int64_t>(x.size())};
  AllIsas{}([&](bool) {
    for (const kernel::WireKernels* k : all_kernels())
      for (const bool bf : {false, true}) {
        if (k->name != (bf ? "BFloat16" : "Half")) continue;
        std::vector<std::byte> p(k->bytes(e));
        k->encode(std::span<const float>(x), e, p, {});
        int wrong = 0;
        for (std::size_t i = 0; i < x.size(); ++i) {
          std::uint16_t code;
          std::memcpy(&code, p.data() + 2 * i, 2);
          const std::uint32_t want = bf ? nearest(x[i], bfloat, 0x7f7f) : nearest(x[i], half, 0x7bff);
          wrong += code != (want | (std::signbit(x[i]) ? 0x8000u : 0u));
        }
        INFO(k->name.view());
        CHECK(wrong == 0);
      }
  });
}
