#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <ostream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "../kernel/codec_calls.hpp"

namespace pcomp::testing {

/// What check_codec found: one line per law, with what was measured.
///
/// Law: true if and only if every law that applies held.
/// Shapes: `laws` in the order in which they were tried.
/// Example: examples/030-your-own-codec
struct CodecLog {
  struct Law {
    std::string name;
    bool held = true;
    std::string measured;
  };
  std::string codec;
  std::vector<Law> laws;

  bool passed() const {
    for (const Law& l : laws)
      if (!l.held) return false;
    return !laws.empty();
  }
  explicit operator bool() const { return passed(); }

  friend std::ostream& operator<<(std::ostream& out, const CodecLog& log) {
    out << log.codec << ": " << (log.passed() ? "all laws hold" : "a law is broken") << '\n';
    for (const Law& l : log.laws)
      out << (l.held ? "  ok      " : "  BROKEN  ") << l.name << ": " << l.measured << '\n';
    return out;
  }
  std::string str() const {
    std::ostringstream s;
    s << *this;
    return s.str();
  }
};

}  // namespace pcomp::testing

/// What check_codec runs the laws on: a wire's calls, and values.
namespace pcomp::detail {

using Floats = std::vector<float>;
using Bytes = std::vector<std::byte>;

/// One wire's calls on vectors of exactly the right size, so that a sanitizer catches every access out of bounds.
template <class W>
struct Bench {
  Extents e;
  Floats zeros() const { return Floats(static_cast<std::size_t>(e.size())); }
  Bytes sent(const Floats& x, std::byte before = {}, kernel::ParallelFor par = {}) const {
    Bytes p(wire_bytes(W{}, e), before);
    pcomp::encode(W{}, std::span<const float>(x), e, p, par);
    return p;
  }
  Floats received(const Bytes& p) const {
    Floats y = zeros();
    pcomp::decode(W{}, p, e, std::span<float>(y));
    return y;
  }
  Bytes grad_sent(const Floats& dy, const Bytes& p) const {
    Bytes g(grad_wire_bytes(W{}, e));
    pcomp::encode_grad(W{}, std::span<const float>(dy), e, p, g);
    return g;
  }
  Floats grad_received(const Bytes& g, const Bytes& p) const {
    Floats dx = zeros();
    pcomp::decode_grad(W{}, g, e, p, std::span<float>(dx));
    return dx;
  }
};

enum class Values { normal, relu, every_magnitude, equal, odd };
inline constexpr Values all_values[] = {Values::normal, Values::relu, Values::every_magnitude, Values::equal,
                                        Values::odd};

inline Floats test_values(const Extents& e, Values kind, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Floats x(static_cast<std::size_t>(e.size()));
  for (float& v : x) {
    v = normal(random);
    if (kind == Values::relu) v = v > 0 ? v : 0;
    if (kind == Values::every_magnitude) v = std::ldexp(v, static_cast<int>(random() % 240) - 120);
    if (kind == Values::equal) v = 7.25f;
    if (kind == Values::odd && random() % 20 == 0) {
      constexpr float inf = std::numeric_limits<float>::infinity();
      const float odd[] = {inf,        -inf,  std::numeric_limits<float>::quiet_NaN(), -0.0f, float_max,
                           -float_max, 1e-45f};
      v = odd[random() % 7];
    }
  }
  return x;
}

inline bool same_values(const Floats& a, const Floats& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](float x, float y) { return x == y || (x != x && y != y); });
}

/// Runs a kernel's pieces backwards and in odd sizes, as no sane thread pool would.
struct OddPieces {
  void operator()(std::int64_t n, std::int64_t, kernel::ParallelFor::Body body) const {
    for (std::int64_t end = n; end > 0; end -= std::min<std::int64_t>(end, 3))
      body(end - std::min<std::int64_t>(end, 3), end);
  }
};

/// Counts what a wire makes of numbers that are not finite, and of the largest that are, forward and back.
template <codec::WireExpr C>
struct NumberLaws {
  using F = Form<C>;
  std::size_t spoilt = 0, vanished = 0, finite = 0, overflown = 0;

  explicit NumberLaws(const std::vector<Extents>& shapes) {
    for (const Extents& e : shapes) {
      lost(e);
      const auto n = static_cast<std::size_t>(e.size());
      for (Values kind : all_values)
        if (kind != Values::odd) stays<float>(test_values(e, kind, 1), e, kernel::DType::f32);
      for (const unsigned period :
           {1u, 2u, 7u}) {  // the largest: all of one sign, of both, and some among others
        const auto fill = [&](auto most, auto small) {
          std::vector<decltype(most)> x(n, most);
          for (std::size_t i = 0; i < n; ++i)
            if (period == 2 && i % 2)
              x[i] = small;
            else if (period == 7 && i % 7)
              x[i] = small;
          return x;
        };
        stays<float>(fill(float_max, -float_max), e, kernel::DType::f32);
        stays<std::uint16_t>(fill(std::uint16_t{0x7bff}, std::uint16_t{0xfbff}), e, kernel::DType::f16);
        stays<std::uint16_t>(fill(std::uint16_t{0x7f7f}, std::uint16_t{0xff7f}), e, kernel::DType::bf16);
        stays<std::uint16_t>(fill(std::uint16_t{0xfbff}, std::uint16_t{0x3c00}), e, kernel::DType::f16);
      }
    }
  }

 private:
  /// One value at a time that is not finite, at the ends and within. It must arrive, unless nothing of it is sent.
  void lost(const Extents& e) {
    const Bench<C> b{e};
    const Layout l = layout<C>(e);
    if (l.sent == 0) return;
    if constexpr (F::selects) {
      using S = typename F::Select;
      const std::int64_t each = S::segment(l.shaped), rest = each ? l.n % each : 0;
      if (l.n < each ? S::keep(l.n) == 0 : S::keep(each) == 0 || (rest && S::keep(rest) == 0)) return;
    }
    const auto n = static_cast<std::size_t>(e.size());
    for (const float odd : {float_nan, float_inf, -float_inf})
      for (const std::size_t i : {std::size_t{0}, n / 3, n / 2, n - 1}) {
        Floats x = test_values(e, Values::normal, 1), dy = test_values(e, Values::normal, 2);
        x[i] = dy[i] = odd;
        const Bytes p = b.sent(x);
        spoilt += 2;
        vanished += std::isfinite(b.received(p)[i]);
        vanished += std::isfinite(b.grad_received(b.grad_sent(dy, p), p)[i]);
      }
  }

  template <class T>
  void stays(const std::vector<T>& x, const Extents& e, kernel::DType t) {
    Bytes p(wire_bytes(C{}, e)), g(grad_wire_bytes(C{}, e));
    std::vector<T> y(x.size());
    const kernel::TensorView in(x.data(), t, e.size());
    const kernel::MutableTensorView out(y.data(), t, e.size());
    pcomp::encode(C{}, in, e, p);
    pcomp::decode(C{}, p, e, out);
    ++finite, overflown += !all_finite(y, t);
    pcomp::encode_grad(C{}, in, e, p, g);
    pcomp::decode_grad(C{}, g, e, p, out);
    ++finite, overflown += !all_finite(y, t);
  }

  template <class T>
  static bool all_finite(const std::vector<T>& y, kernel::DType t) {
    return std::all_of(y.begin(), y.end(), [t](T v) {
      if constexpr (std::is_same_v<T, float>)
        return std::isfinite(v);
      else
        return (v & (t == kernel::DType::f16 ? 0x7c00 : 0x7f80)) !=
               (t == kernel::DType::f16 ? 0x7c00 : 0x7f80);
    });
  }
};

}  // namespace pcomp::detail
