#pragma once
#include "../../wire/packing.hpp"
#include "../axes.hpp"
#include "decode_codes.cuh"
#include "source.cuh"

namespace pcomp::detail::gpu {

/// Elements of the output that a block writes.
inline constexpr u32 scatter_tile = 8 * block_threads;

/// Where the ranks of each tile of the output begin.
struct FindTiles {
  const u32* position;
  const u32* found;
  u32* starts;
  u32 count;  ///< tiles plus one

  PCOMP_GPU void operator()() const {
    const u32 t = block() * block_threads + static_cast<u32>(thread());
    if (t >= count) return;
    const u64 first = static_cast<u64>(t) * scatter_tile;
    u32 lo = 0, hi = *found;
    while (lo < hi) {
      const u32 middle = lo + (hi - lo) / 2;
      if (position[middle] < first)
        lo = middle + 1;
      else
        hi = middle;
    }
    starts[t] = lo;
  }
};

/// Writes the values of all codes at their positions, zero elsewhere; every element once. Positions that do not ascend,
/// as in a damaged index, are dropped if they fall into another tile.
template <codec::CodeCodec C>
struct ScatterCodes {
  Coded<C> in;
  const u32* position;
  const u32* starts;
  Sink out;

  static constexpr std::int64_t blocks(std::int64_t n) { return ceil_div(n, scatter_tile); }

  PCOMP_GPU void operator()() const {
    PCOMP_SHARED float values[scatter_tile];
    const u32 first = block() * scatter_tile;
    for (u32 i = static_cast<u32>(thread()); i < scatter_tile; i += block_threads) values[i] = 0;
    sync_block();
    const u32 end = starts[block() + 1];
    for (u32 r = starts[block()] + static_cast<u32>(thread()); r < end; r += block_threads) {
      const u32 at = position[r] - first;
      if (at < scatter_tile) values[at] = in(r);
    }
    sync_block();
    for (u32 i = 4 * static_cast<u32>(thread()); i < scatter_tile; i += 4 * block_threads)
      if (first + i < out.n) out.four(first + i, values + i);
  }
};

}  // namespace pcomp::detail::gpu

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
