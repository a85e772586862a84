#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <pcomp/core.hpp>
#include <vector>

#include "coders.hpp"

/// A second implementation of the wire, written from docs/wire-format.md: slow and plain, with sorts and temporaries.
namespace reference {

using pcomp::Extents;
using Floats = std::vector<float>;
using Bytes = std::vector<std::byte>;

inline void align(Bytes& b) { b.resize((b.size() + 15) / 16 * 16); }

/// Packs codes in blocks of 128, with one plane for each set bit of `bits`, the widest first.
inline void pack(const std::vector<std::uint32_t>& code, int bits, Bytes& out) {
  for (std::size_t b = 0; b < code.size(); b += 128) {
    const std::size_t r = std::min<std::size_t>(128, code.size() - b);
    int shift = 0;
    for (int w : {32, 16, 8, 4, 2, 1}) {
      if (!(bits & w)) continue;
      const std::size_t at = out.size(), s = (r * static_cast<std::size_t>(w) + 7) / 8;
      out.resize(at + s);
      for (std::size_t j = 0; j < r; ++j)
        for (int i = 0; i < w; ++i) {
          const std::size_t byte =
              w >= 8 ? j * static_cast<std::size_t>(w) / 8 + static_cast<std::size_t>(i / 8) : j % s;
          const std::size_t bit = w >= 8 ? static_cast<std::size_t>(i % 8)
                                         : j / s * static_cast<std::size_t>(w) + static_cast<std::size_t>(i);
          if (code[b + j] >> (shift + i) & 1) out[at + byte] |= std::byte(1u << bit);
        }
      shift += w;
    }
  }
}

inline void set_bit(Bytes& b, std::size_t i) { b[i / 8] |= std::byte(1u << (i % 8)); }

inline Bytes elias_fano(const std::vector<std::int64_t>& at, std::int64_t n, int low) {
  const auto k = at.size();
  Bytes out((static_cast<std::size_t>((n - 1) >> low) + k + 7) / 8);
  std::vector<std::uint32_t> lows;
  for (std::size_t i = 0; i < k; ++i) {
    set_bit(out, static_cast<std::size_t>(at[i] >> low) + i);
    lows.push_back(static_cast<std::uint32_t>(at[i]) & ((1u << low) - 1));
  }
  if (low) {
    align(out);
    pack(lows, low, out);
  }
  return out;
}

inline Bytes index_block(const std::vector<std::int64_t>& at, std::int64_t n) {
  const auto k = static_cast<std::int64_t>(at.size());
  if (k == 0 || k == n) return {};
  Bytes best(static_cast<std::size_t>((n + 7) / 8));
  for (auto p : at) set_bit(best, static_cast<std::size_t>(p));
  for (int low = 0; low < 31 && (n - 1) >> low; ++low)
    if (Bytes ef = elias_fano(at, n, low); ef.size() < best.size()) best = ef;
  return best;
}

/// The dimensions that a shape codec pools, in ascending order.
template <class S>
struct Dims;
template <int k, int... axes>
struct Dims<pcomp::ops::lowest::Downsample<k, pcomp::Axes<axes...>>> {
  static std::vector<int> of(int rank) {
    std::vector<int> all{(axes < 0 ? rank + axes : axes)...};
    if (all.empty()) all = {rank - 2, rank - 1};
    std::sort(all.begin(), all.end());
    return all;
  }
};

/// The nearest finite float.
inline float nearest(double x) {
  constexpr double most = static_cast<double>(std::numeric_limits<float>::max());
  return static_cast<float>(std::clamp(x, -most, most));
}

/// Sums over windows along one dimension after the other; `count` is what each window holds.
inline Floats pooled(Floats x, Extents e, int k, const std::vector<int>& dims, bool mean) {
  std::vector<std::int64_t> count(x.size(), 1);
  std::vector<double> wide(x.begin(), x.end());  // the same in doubles, where floats are too narrow
  std::vector<bool> spoilt(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) spoilt[i] = !std::isfinite(x[i]);
  for (const int d : dims) {
    std::int64_t inner = 1;
    for (int b = d + 1; b < e.rank(); ++b) inner *= e[b];
    const std::int64_t n = e[d], m = (n + k - 1) / k, outer = n ? e.size() / (n * inner) : 0;
    Floats y(static_cast<std::size_t>(outer * m * inner));
    std::vector<std::int64_t> held(y.size(), 0);
    std::vector<double> wide_y(y.size());
    std::vector<bool> spoilt_y(y.size());
    for (std::int64_t o = 0; o < outer; ++o)
      for (std::int64_t r = 0; r < n; ++r)
        for (std::int64_t i = 0; i < inner; ++i) {
          const auto from = static_cast<std::size_t>((o * n + r) * inner + i),
                     to = static_cast<std::size_t>((o * m + r / k) * inner + i);
          y[to] = held[to] ? y[to] + x[from] : x[from];
          held[to] += count[from];
          wide_y[to] += wide[from];
          spoilt_y[to] = spoilt_y[to] || spoilt[from];
        }
    x = y, count = held, wide = wide_y, spoilt = spoilt_y, e = e.with(d, m);
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (mean) x[i] *= 1.0f / static_cast<float>(count[i]);
    if (!std::isfinite(x[i]) && !spoilt[i])
      x[i] = nearest(mean ? wide[i] / static_cast<double>(count[i]) : wide[i]);
    if (std::isnan(x[i])) x[i] = std::numeric_limits<float>::quiet_NaN();
  }
  return x;
}

inline Floats repeated(const Floats& y, const Extents& e, int k, const std::vector<int>& dims, bool share) {
  Floats x(static_cast<std::size_t>(e.size()));
  for (std::int64_t i = 0; i < e.size(); ++i) {
    std::int64_t rest = i, from = 0, step = 1, count = 1;
    for (int d = e.rank(); d-- > 0; rest /= e[d]) {
      std::int64_t at = rest % e[d], n = e[d];
      if (std::find(dims.begin(), dims.end(), d) != dims.end())
        at /= k, count *= std::min<std::int64_t>(k, n - at * k), n = (n + k - 1) / k;
      from += at * step, step *= n;
    }
    x[static_cast<std::size_t>(i)] =
        y[static_cast<std::size_t>(from)] * (share ? 1.0f / static_cast<float>(count) : 1.0f);
  }
  return x;
}

/// How many of m elements a selection keeps, by the document.
template <class S>
struct Keep;
template <std::int64_t n, std::int64_t d, class Scope>
struct Keep<pcomp::ops::lowest::TopK<pcomp::Ratio<n, d>, Scope>> {
  std::int64_t operator()(std::int64_t m) const { return m == 0 ? 0 : std::max<std::int64_t>(1, m * n / d); }
};

/// The positions that survive, by a stable sort by magnitude in every segment.
inline std::vector<std::int64_t> survivors(const Floats& x, std::int64_t segment, auto keep) {
  std::vector<std::int64_t> all;
  const auto n = static_cast<std::int64_t>(x.size());
  for (std::int64_t b = 0; b < n; b += segment) {
    const auto m = std::min(segment, n - b);
    std::vector<std::int64_t> order(static_cast<std::size_t>(m));
    std::iota(order.begin(), order.end(), b);
    const auto magnitude = [&](std::int64_t i) {
      return std::bit_cast<std::uint32_t>(x[static_cast<std::size_t>(i)]) & 0x7fffffffu;
    };
    std::stable_sort(order.begin(), order.end(), [&](auto i, auto j) { return magnitude(i) > magnitude(j); });
    order.resize(static_cast<std::size_t>(keep(m)));
    all.insert(all.end(), order.begin(), order.end());
  }
  std::sort(all.begin(), all.end());
  return all;
}

inline std::uint32_t mix(std::uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

/// One payload, and what its receiver gets.
struct Sent {
  Bytes bytes;
  Floats values;                   // decoded, in the shaped extents
  std::vector<std::int64_t> kept;  // positions in the shaped extents
};

template <class C>
void code(const Floats& v, Bytes& out, Floats& decoded, std::uint32_t rng_counter) {
  using T = pcomp::detail::CoderTraits<C>;  // sizes alone; what is computed is Coder's
  std::vector<std::uint32_t> codes;
  Bytes scales, scale;
  Coder<C> coder;
  for (std::size_t i = 0; i < v.size(); ++i) {
    if constexpr (T::has_scale) {
      const std::size_t group = T::group() ? static_cast<std::size_t>(T::group()) : v.size();
      if (i % group == 0) {
        float lo = v[i], hi = v[i];
        bool finite = true;
        for (std::size_t j = i; j < std::min(v.size(), i + group); ++j)
          finite = finite && std::isfinite(v[j]), lo = std::min(lo, v[j]), hi = std::max(hi, v[j]);
        constexpr float nan = std::numeric_limits<float>::quiet_NaN();
        scale = finite ? coder.fit(lo + 0.0f, hi + 0.0f) : coder.fit(nan, nan);
        scales.insert(scales.end(), scale.begin(), scale.end());
      }
    }
    float noise = 0;
    if constexpr (T::stochastic) {
      const auto block = static_cast<std::uint32_t>(i / 128);
      std::uint32_t seed = block * 0x9e3779b9u;
      for (const std::byte b : scale) seed = (seed ^ static_cast<std::uint32_t>(b)) * 0x01000193u;
      noise = static_cast<float>(
                  mix((mix(seed) ^ rng_counter) + static_cast<std::uint32_t>(i % 128) * 0x9e3779b9u) >> 8) *
              0x1p-24f;
    }
    codes.push_back(coder.encode(v[i], noise));
    decoded.push_back(coder.decode(codes.back()));
  }
  pack(codes, T::bits, out);
  if (!scales.empty()) align(out);
  out.insert(out.end(), scales.begin(), scales.end());
}

/// Multiplies every whole block by R's Walsh-Hadamard matrix, adding in the order that the document gives.
template <class R>
Floats rotated(Floats x, bool back) {
  constexpr std::size_t n = R::block;
  const auto sign = [](std::size_t i) {
    const std::uint32_t word = mix(static_cast<std::uint32_t>(2 * (i / n) + i % n / 32) + 0x9e3779b9u);
    return R::random_signs && (word >> (i % 32) & 1) ? -1.0f : 1.0f;
  };
  for (std::size_t b = 0; b + n <= x.size(); b += n) {
    for (std::size_t i = b; i < b + n && !back; ++i) x[i] *= sign(i);
    const std::vector<double> given(x.begin() + static_cast<std::ptrdiff_t>(b),
                                    x.begin() + static_cast<std::ptrdiff_t>(b + n));
    for (std::size_t h = 1; h < n; h *= 2)
      for (std::size_t i = 0; i < n; ++i)
        if (i / h % 2 == 0) {
          const float p = x[b + i], q = x[b + i + h];
          x[b + i] = p + q, x[b + i + h] = p - q;
        }
    for (std::size_t i = b; i < b + n; ++i) {
      volatile float scaled = x[i] * (n == 64 ? 0.125f : 0.17677669529663687f);
      x[i] = scaled;
    }
    const auto is_finite = [](auto v) { return std::isfinite(v); };
    const auto block = x.begin() + static_cast<std::ptrdiff_t>(b);
    if (!std::all_of(block, block + static_cast<std::ptrdiff_t>(n), is_finite)) {
      const bool finite = std::all_of(given.begin(), given.end(), is_finite);
      std::vector<double> y = given;
      for (std::size_t h = 1; h < n; h *= 2)
        for (std::size_t i = 0; i < n; ++i)
          if (i / h % 2 == 0) {
            const double p = y[i], q = y[i + h];
            y[i] = p + q, y[i + h] = p - q;
          }
      for (std::size_t i = 0; i < n; ++i)
        x[b + i] = finite ? nearest(y[i] * (n == 64 ? 0.125 : static_cast<double>(0.17677669529663687f)))
                          : std::numeric_limits<float>::quiet_NaN();
    }
    for (std::size_t i = b; i < b + n && back; ++i) x[i] *= sign(i);
  }
  return x;
}

/// Sends already shaped values through the selection and the coder of E.
template <class E>
Sent send(const Floats& shaped, const Extents& e, std::uint32_t rng_counter) {
  using F = pcomp::detail::Form<E>;
  Sent s;
  Floats list = shaped;
  s.kept.resize(shaped.size());
  std::iota(s.kept.begin(), s.kept.end(), 0);
  if constexpr (F::selects) {
    s.kept = survivors(shaped, F::Select::segment(e), Keep<typename F::Select>{});
    list.clear();
    for (auto i : s.kept) list.push_back(shaped[static_cast<std::size_t>(i)]);
    s.bytes = index_block(s.kept, static_cast<std::int64_t>(shaped.size()));
    align(s.bytes);
  }
  Floats decoded;
  if constexpr (F::rotates) {
    code<typename F::Code>(rotated<typename F::Rotate>(list, false), s.bytes, decoded, rng_counter);
    decoded = rotated<typename F::Rotate>(decoded, true);
  } else {
    code<typename F::Code>(list, s.bytes, decoded, rng_counter);
  }
  s.values.assign(shaped.size(), 0.0f);
  for (std::size_t i = 0; i < s.kept.size(); ++i) s.values[static_cast<std::size_t>(s.kept[i])] = decoded[i];
  return s;
}

template <class E>
Extents shaped_extents(const Extents& e) {
  return pcomp::detail::layout<E>(e).shaped;
}

template <class E>
Floats shape(const Floats& x, const Extents& e, bool mean) {
  if constexpr (pcomp::detail::Form<E>::shapes)
    return pooled(x, e, pcomp::detail::Form<E>::Shape::factor,
                  Dims<typename pcomp::detail::Form<E>::Shape>::of(e.rank()), mean);
  else
    return x;
}
template <class E>
Floats unshape(const Floats& y, const Extents& e, bool share) {
  if constexpr (pcomp::detail::Form<E>::shapes)
    return repeated(y, e, pcomp::detail::Form<E>::Shape::factor,
                    Dims<typename pcomp::detail::Form<E>::Shape>::of(e.rank()), share);
  else
    return y;
}

/// Both directions of a wire.
template <class W>
struct Wire {
  using V = pcomp::detail::as_wire<W>;
  using F = typename V::Forward;
  using G = typename V::Backward;
  Sent forward, backward;
  Floats y, dx;

  Wire(const Floats& x, const Floats& dy, const Extents& e, std::uint64_t noise = 0) {
    const auto rng_counter = static_cast<std::uint32_t>(noise ^ (noise >> 32));
    forward = send<F>(shape<F>(x, e, true), shaped_extents<F>(e), rng_counter);
    y = unshape<F>(forward.values, e, false);
    const Floats sums = shape<F>(dy, e, false);
    Floats list = sums;
    if constexpr (pcomp::detail::Form<F>::selects) {
      list.clear();
      for (auto i : forward.kept) list.push_back(sums[static_cast<std::size_t>(i)]);
    }
    const Extents r = pcomp::detail::restricted<W>(e);
    backward = send<G>(shape<G>(list, r, true), shaped_extents<G>(r), rng_counter);
    const Floats back = unshape<G>(backward.values, r, false);
    Floats placed = back;
    if constexpr (pcomp::detail::Form<F>::selects) {
      placed.assign(sums.size(), 0.0f);
      for (std::size_t i = 0; i < back.size(); ++i)
        placed[static_cast<std::size_t>(forward.kept[i])] = back[i];
    }
    dx = unshape<F>(placed, e, true);
  }
};

}  // namespace reference
