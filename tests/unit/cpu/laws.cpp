#include <pcomp/cpu.hpp>
#include <pcomp/testing/check_codec.hpp>

#include "catch.hpp"
#include "reference.hpp"
#include "wires.hpp"

namespace {

using namespace pcomp;

struct Coder : Composable {
  static constexpr Role role = Role::code;
  static constexpr int bits = 8;
};
/// A coder that states a tighter bound than it keeps.
struct TooProud : Coder {
  static constexpr codec::FixedString name = "TooProud";
  static constexpr std::uint32_t encode(float x) { return x > 0 ? 1 : 0; }
  static constexpr float decode(std::uint32_t c) { return c ? 1.0f : -1.0f; }
  static constexpr double bound(double) { return 0.5; }
};
/// A coder whose result depends on how often it was called.
struct Forgetful : Coder {
  static constexpr codec::FixedString name = "Forgetful";
  static std::uint32_t encode(float) {
    static unsigned calls = 0;
    return ++calls / 3 & 0xffu;
  }
  static constexpr float decode(std::uint32_t c) { return static_cast<float>(c); }
};
/// A coder whose decoder is not a function of the bytes.
struct Moody : Coder {
  static constexpr codec::FixedString name = "Moody";
  static constexpr std::uint32_t encode(float) { return 0; }
  static float decode(std::uint32_t) {
    static float calls = 0;
    return calls += 1;
  }
};
/// A coder that fits its range to the least value alone, so that the others fall outside.
struct HalfBlind : Coder {
  static constexpr codec::FixedString name = "HalfBlind";
  static constexpr std::int64_t group = 128;
  struct Scale {
    float lo, step;
  };
  static constexpr Scale fit(codec::Range r) { return {r.lo, 1e-3f}; }
  static std::uint32_t encode(float x, const Scale& s) {
    const float t = (x - s.lo) / s.step;
    return t > 0 ? static_cast<std::uint32_t>(std::min(t, 255.0f)) : 0u;
  }
  static float decode(std::uint32_t c, const Scale& s) { return s.lo + static_cast<float>(c) * s.step; }
  static constexpr double bound(double, const Scale& s) { return static_cast<double>(s.step); }
};
/// A coder that has no code for NaN.
struct Forgiving : Coder {
  static constexpr codec::FixedString name = "Forgiving";
  static constexpr std::uint32_t encode(float x) { return x < 0 ? 0u : 255u; }
  static constexpr float decode(std::uint32_t c) { return c < 128 ? -1.0f : 1.0f; }
};
/// A coder whose largest value decodes to infinity.
struct Overflowing : Coder {
  static constexpr codec::FixedString name = "Overflowing";
  static constexpr int bits = 16;
  static constexpr std::uint32_t encode(float x) { return (std::bit_cast<std::uint32_t>(x) + 0x8000u) >> 16; }
  static constexpr float decode(std::uint32_t c) { return std::bit_cast<float>(c << 16); }
};
/// A selection that prefers small values, and would so lose what is not finite.
struct Least : Composable {
  static constexpr Role role = Role::select;
  static constexpr codec::FixedString name = "Least";
  static constexpr std::int64_t segment(const Extents& e) { return e.size(); }
  static constexpr std::int64_t keep(std::int64_t n) { return (n + 9) / 10; }
  static constexpr std::uint32_t score(float x, std::int64_t) {
    return ~(std::bit_cast<std::uint32_t>(x) & 0x7fffffffu);
  }
};

/// A stochastic coder that never rounds up.
struct Biased : Coder {
  static constexpr codec::FixedString name = "Biased";
  static constexpr std::int64_t group = 128;
  static constexpr bool stochastic = true;
  struct Scale {
    float lo, step;
  };
  static constexpr Scale fit(codec::Range r) { return {r.lo, (r.hi - r.lo) / 255}; }
  static std::uint32_t encode(float x, const Scale& s, float) {
    const float t = s.step > 0 ? (x - s.lo) / s.step : 0;
    return t > 0 ? static_cast<std::uint32_t>(std::min(t, 255.0f)) : 0;
  }
  static float decode(std::uint32_t c, const Scale& s) { return s.lo + static_cast<float>(c) * s.step; }
};
/// A rotation whose signs are others each time, so that it does not come back.
struct Dizzy : Composable {
  static constexpr Role role = Role::rotate;
  static constexpr codec::FixedString name = "Dizzy";
  static constexpr int block = 32;
  static constexpr bool random_signs = true;
  static constexpr float scale = 0.17677669529663687f;
  static std::uint32_t signs(std::int64_t, int) {
    static std::uint32_t calls = 0;
    return ++calls * 2654435761u;
  }
};

/// The mean square of a message's error, relative to that of the values.
template <class W>
double error_of(W w, const std::vector<float>& x) {
  const Extents e{static_cast<std::int64_t>(x.size())};
  std::vector<std::byte> payload(wire_bytes(w, e));
  std::vector<float> y(x.size());
  encode(w, std::span<const float>(x), e, payload);
  decode(w, payload, e, std::span<float>(y));
  double error = 0, all = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    error += static_cast<double>((y[i] - x[i]) * (y[i] - x[i])), all += static_cast<double>(x[i] * x[i]);
  return error / all;
}

bool broken(const testing::CodecLog& log, const std::string& law) {
  for (const auto& l : log.laws)
    if (l.name.find(law) != std::string::npos) return !l.held;
  return false;
}

}  // namespace

TEST_CASE("every codec and chain keeps the laws", "[laws]") {
  for_each_wire([](auto w) {
    using W = std::remove_cv_t<decltype(w)>;
    if constexpr (codec::WireExpr<W>) {
      const testing::CodecLog log = check_codec<W>();
      INFO(log.str());
      CHECK(log);
    }
  });
}

TEST_CASE("a rotation pays for outliers, and with plain signs makes one of a common mean", "[laws]") {
  constexpr auto plain = Quant<2>;
  constexpr auto rotated = Hadamard<64> | plain;
  constexpr auto flipped = Hadamard<64, codec::RandomSigns> | plain;
  std::vector<float> outliers(1 << 14), mean(outliers.size());
  for (std::uint32_t i = 0; i < outliers.size(); ++i) {
    const float noise = static_cast<float>((i * 2654435761u) >> 8) * 0x1p-23f - 1;  // in [-1, 1)
    outliers[i] = i % 100 == 7 ? 30 * noise : noise;
    mean[i] = 2 + noise;
  }
  const Extents e{1 << 14};
  std::vector<std::byte> payload(wire_bytes(flipped, e));
  encode(flipped, std::span<const float>(mean), e, payload);
  CHECK((payload == reference::Wire<std::remove_const_t<decltype(flipped)>>(mean, mean, e).forward.bytes));
  CHECK(1.5 * error_of(rotated, outliers) < error_of(plain, outliers));
  CHECK(1.5 * error_of(flipped, outliers) < error_of(plain, outliers));
  CHECK(error_of(rotated, mean) > 2 * error_of(flipped, mean));
  CHECK(error_of(flipped, mean) > 2 * error_of(plain, mean));
}

TEST_CASE("a codec that breaks a law is told which", "[laws]") {
  CHECK(broken(check_codec<TooProud>(), "bound"));
  CHECK(broken(check_codec<HalfBlind>(), "bound"));
  CHECK(broken(check_codec<Forgetful>(), "same bytes"));
  CHECK(broken(check_codec<Moody>(), "the same each time"));
  CHECK(broken(check_codec<Forgiving>(), "what is not finite"));
  CHECK(broken(check_codec<Overflowing>(), "what is finite"));
  CHECK_FALSE(broken(check_codec<Overflowing>(), "what is not finite"));
  CHECK(broken(check_codec<Biased>(), "unbiased"));
  CHECK(broken(check_codec<Dizzy{} | Quant<8>>(), "R'R = 1"));
  CHECK_FALSE(check_codec<TooProud>().passed());
  CHECK(check_codec<TooProud>().str().starts_with("TooProud: a law is broken"));
  CHECK(check_codec<archetype::Sign{}>());
  const testing::CodecLog least = check_codec<Least{} | Quant<8>>();
  INFO(least.str());
  CHECK(least);
}
