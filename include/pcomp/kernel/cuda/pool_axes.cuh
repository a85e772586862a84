#pragma once
#include "../../wire/packing.hpp"
#include "../axes.hpp"
#include "source.cuh"

namespace pcomp::detail::gpu {

/// Writes a source, pooled along named dimensions, to a list of floats: sums along the first of them, those sums along
/// the second, and so on.
struct PoolAxes {
  Source in;
  PooledAxes<u32> axes;
  bool mean;
  float* out;
  u32 n;  ///< elements after pooling

  static constexpr std::int64_t blocks(std::int64_t n) { return ceil_div(n, block_threads); }

  PCOMP_GPU void operator()() const {
    const u32 i = block() * block_threads + static_cast<u32>(thread());
    if (i >= n) return;
    const PooledWindow<u32> w = axes.window(i, axes.rank, 1);
    float sum[Extents::max_rank] = {};
    u32 at[Extents::max_rank] = {};
    for (u32 e = 0; e < w.size; ++e) {
      u32 from = w.first;
      for (int a = 0; a < w.axes; ++a) from += at[a] * w.step[a];
      float v = in(from);
      for (int a = w.axes;
           a-- > 0;) {  // the first dimension is the last of the window's, and is summed first
        sum[a] = at[a] ? sum[a] + v : v;
        if (++at[a] < w.count[a]) break;
        at[a] = 0, v = sum[a];
      }
    }
    const float value = mean ? sum[0] * (1.0f / static_cast<float>(w.size)) : sum[0];
    out[i] = is_finite(value) ? value : again(i, value);
  }

 private:
  /// In doubles, where floats made `value`, an infinity or a NaN, of finite elements.
  PCOMP_GPU_CALL float again(u32 i, float value) const {
    const PooledWindow<u32> w = axes.window(i, axes.rank, 1);
    double sum[Extents::max_rank] = {};
    u32 at[Extents::max_rank] = {};
    for (u32 e = 0; e < w.size; ++e) {
      u32 from = w.first;
      for (int a = 0; a < w.axes; ++a) from += at[a] * w.step[a];
      const float given = in(from);
      if (!is_finite(given)) return canonical(value);
      double v = static_cast<double>(given);
      for (int a = w.axes; a-- > 0;) {
        sum[a] = at[a] ? sum[a] + v : v;
        if (++at[a] < w.count[a]) break;
        at[a] = 0, v = sum[a];
      }
    }
    return wide_pool(sum, 1, static_cast<std::int64_t>(w.size), mean);
  }
};

}  // namespace pcomp::detail::gpu
