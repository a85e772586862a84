#pragma once
#include <cstdint>

#include "../base/device.hpp"
#include "../base/shape.hpp"

/// Pooling along named dimensions, for the CPU and the GPU.
namespace pcomp::detail {

/// Shape codecs that name the dimensions with windows; the others pool the last two.
template <class S>
inline constexpr bool names_axes = requires { requires S::named > 0; };

/// One window: its first element, and how many elements it has along each pooled dimension and how far apart, the last
/// dimension first.
template <class I>
struct PooledWindow {
  I first = 0, size = 1;
  int axes = 0;
  I count[Extents::max_rank] = {}, step[Extents::max_rank] = {};
};

/// The extents before and after pooling by `factor`; neighbours without windows are one dimension.
template <class I>
struct PooledAxes {
  int rank = 0;
  I factor = 0;
  unsigned wide = 0;  ///< bit d: dimension d has windows
  I in[Extents::max_rank] = {}, out[Extents::max_rank] = {};

  PCOMP_HD bool is_wide(int d) const { return wide >> d & 1; }

  /// The window of element i of the first `dims` pooled dimensions, where one step of the last of them is `step`.
  PCOMP_HD PooledWindow<I> window(I i, int dims, I step) const {
    PooledWindow<I> w;
    for (int d = dims; d-- > 0;) {
      const I at = i % out[d] * (is_wide(d) ? factor : 1);
      i /= out[d];
      w.first += at * step;
      if (is_wide(d)) {
        const I left = in[d] - at, count = left < factor ? left : factor;
        w.count[w.axes] = count, w.step[w.axes++] = step;
        w.size *= count;
      }
      step *= in[d];
    }
    return w;
  }
  /// Which pooled element holds element i, and the size of its window.
  PCOMP_HD I of(I i, I& size) const {
    I at = 0, step = 1;
    size = 1;
    for (int d = rank; d-- > 0;) {
      I x = i % in[d];
      i /= in[d];
      if (is_wide(d)) {
        x /= factor;
        const I left = in[d] - x * factor;
        size *= left < factor ? left : factor;
      }
      at += x * step;
      step *= out[d];
    }
    return at;
  }
};

template <class I, class S>
PooledAxes<I> pooled_axes(const Extents& e) {
  PooledAxes<I> p;
  p.factor = static_cast<I>(S::factor);
  for (int d = 0; d < e.rank(); ++d) {
    const bool wide = S::pools(d, e.rank());
    const auto before = static_cast<I>(e[d]), after = wide ? (before + p.factor - 1) / p.factor : before;
    if (p.rank > 0 && !wide && !p.is_wide(p.rank - 1)) {
      p.in[p.rank - 1] *= before, p.out[p.rank - 1] *= after;
      continue;
    }
    if (wide) p.wide |= 1u << p.rank;
    p.in[p.rank] = before, p.out[p.rank++] = after;
  }
  return p;
}

}  // namespace pcomp::detail
