#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "../kernel/encode.hpp"
#include "../kernel/gradient.hpp"

/// What check_codec runs the laws on: a wire's calls, and values.
namespace pcomp::detail {

using Floats = std::vector<float>;
using Bytes = std::vector<std::byte>;

/// One wire's calls on vectors of exactly the right size, so that a sanitizer catches every access out of bounds.
template <class W>
struct Bench {
  Extents e;
  Floats zeros() const { return Floats(static_cast<std::size_t>(e.size())); }
  Bytes sent(const Floats& x, std::byte before = {}, ParallelFor par = {}) const {
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
  void operator()(std::int64_t n, std::int64_t, ParallelFor::Body body) const {
    for (std::int64_t end = n; end > 0; end -= std::min<std::int64_t>(end, 3))
      body(end - std::min<std::int64_t>(end, 3), end);
  }
};

}  // namespace pcomp::detail
