#pragma once
#include "../../codec/float_bits.hpp"
#include "../arithmetic.hpp"
#include "../tensor_view.hpp"
#include "collectives.cuh"

namespace pcomp::detail::gpu {

/// Where element i in row-major order lies: at i, or in channels-last memory at (sample, pixel, channel).
struct Place {
  u32 channels = 0, pixels = 0;  ///< 0: row-major

  PCOMP_HD bool row_major() const { return channels == 0; }
  PCOMP_GPU u32 operator()(u32 i) const {
    if (row_major()) return i;
    const u32 line = i / pixels, pixel = i % pixels, sample = line / channels, channel = line % channels;
    return (sample * pixels + pixel) * channels + channel;
  }
};

/// How a tensor's last two extents are pooled.
struct Pooling {
  u32 factor = 0;  ///< 0: not at all
  u32 h = 0, w = 0, oh = 0, ow = 0;
  bool mean = false;

  /// The window of pooled element i: its first element, and how many rows and columns it has.
  struct Window {
    u32 first, rows, columns;
  };
  PCOMP_GPU Window window(u32 i) const {
    const u32 line = i / ow, y = line % oh * factor, x = i % ow * factor;
    return {(line / oh * h + y) * w + x, h - y < factor ? h - y : factor, w - x < factor ? w - x : factor};
  }
  /// Which pooled element holds element i, and its window's size.
  PCOMP_GPU u32 of(u32 i, u32& count) const {
    const u32 line = i / w, x = i % w / factor, image = line / h, y = line % h / factor;
    const u32 rows = h - y * factor < factor ? h - y * factor : factor;
    const u32 columns = w - x * factor < factor ? w - x * factor : factor;
    count = rows * columns;
    return (image * oh + y) * ow + x;
  }
};

struct alignas(16) Float4 {
  float v[4];
};
struct alignas(8) Half4 {
  std::uint16_t v[4];
};

PCOMP_GPU float widened(std::uint16_t h, kernel::DType t) {
  return t == kernel::DType::bf16 ? from_bf16(h) : from_half(h);
}
PCOMP_GPU std::uint16_t narrowed(float x, kernel::DType t) {
  return t == kernel::DType::bf16 ? to_bf16(x) : to_half(x);
}

/// The floats that a kernel reads: a tensor, perhaps pooled, perhaps only at a list of positions.
struct Source {
  const void* data = nullptr;
  kernel::DType dtype = kernel::DType::f32;
  Place place;
  Pooling pool;
  const u32* at = nullptr;  ///< positions by rank, and how many there are; null: all elements
  const u32* found = nullptr;
  u32 limit = 0;       ///< positions below this are read
  u32 n = 0;           ///< elements after all of that
  bool plain = false;  ///< a row-major tensor aligned to four elements: read four at a time

  PCOMP_GPU float dense(u32 i) const { return stored(place(i)); }
  PCOMP_GPU float stored(u32 i) const {
    if (dtype == kernel::DType::f32) return static_cast<const float*>(data)[i];
    return widened(static_cast<const std::uint16_t*>(data)[i], dtype);
  }
  PCOMP_GPU float pooled(u32 i) const {
    if (pool.factor == 0) return dense(i);
    const auto [first, rows, columns] = pool.window(i);
    float sum = 0;
    for (u32 x = 0; x < columns; ++x) {  // columns from top to bottom, then from left to right
      float column = dense(first + x);
      for (u32 y = 1; y < rows; ++y) column += dense(first + y * pool.w + x);
      sum = x ? sum + column : column;
    }
    if (pool.mean) sum *= 1.0f / static_cast<float>(rows * columns);
    return is_finite(sum) ? sum : pooled_again(i, sum);
  }
  PCOMP_GPU float operator()(u32 i) const {
    if (!at) return pooled(i);
    const u32 p = i < *found ? at[i] : limit;  // a damaged index may hold fewer positions than it should
    return p < limit ? pooled(p) : 0.0f;
  }
  /// Elements i to i + 3; zeros past the end. Kernels check once whether the source is plain, so that the code for such
  /// sources, which must run at memory speed, has no calls in it.
  template <bool plain>
  PCOMP_GPU void four(u32 i, float* v) const {
    if constexpr (!plain) {
      const Float4 f = one_by_one(i);
      PCOMP_UNROLL
      for (int j = 0; j < 4; ++j) v[j] = f.v[j];
    } else if (i % 4 != 0 || i + 4 > n) {
      PCOMP_UNROLL
      for (u32 j = 0; j < 4; ++j) v[j] = i + j < n ? stored(i + j) : 0.0f;
    } else if (dtype == kernel::DType::f32) {
      const Float4 f = *reinterpret_cast<const Float4*>(static_cast<const float*>(data) + i);
      PCOMP_UNROLL
      for (int j = 0; j < 4; ++j) v[j] = f.v[j];
    } else {
      const Half4 h = *reinterpret_cast<const Half4*>(static_cast<const std::uint16_t*>(data) + i);
      PCOMP_UNROLL
      for (int j = 0; j < 4; ++j) v[j] = widened(h.v[j], dtype);
    }
  }

 private:
  /// Pools again in doubles where floats made `value`, an infinity or a NaN, of finite elements.
  PCOMP_GPU_CALL float pooled_again(u32 i, float value) const {
    const auto [first, rows, columns] = pool.window(i);
    double sum = 0;
    for (u32 x = 0; x < columns; ++x) {
      double column = 0;
      for (u32 y = 0; y < rows; ++y) {
        const float v = dense(first + y * pool.w + x);
        if (!is_finite(v)) return canonical(value);
        column += static_cast<double>(v);
      }
      sum = x ? sum + column : column;
    }
    return wide_pool(&sum, 1, static_cast<std::int64_t>(rows * columns), pool.mean);
  }
  /// Not inlined: unrolled into every loop, it would be most of the code.
  PCOMP_GPU_CALL Float4 one_by_one(u32 i) const {
    Float4 f;
    PCOMP_UNROLL
    for (u32 j = 0; j < 4; ++j) f.v[j] = i + j < n ? (*this)(i + j) : 0.0f;
    return f;
  }
};

/// Where a kernel writes floats, each element once.
struct Sink {
  void* data = nullptr;
  kernel::DType dtype = kernel::DType::f32;
  Place place;
  u32 n = 0;
  bool vector = false;

  PCOMP_GPU void operator()(u32 i, float x) const {
    i = place(i);
    if (dtype == kernel::DType::f32)
      static_cast<float*>(data)[i] = x;
    else
      static_cast<std::uint16_t*>(data)[i] = narrowed(x, dtype);
  }
  PCOMP_GPU void four(u32 i, const float* v) const {
    if (vector && i % 4 == 0 && i + 4 <= n) {
      if (dtype == kernel::DType::f32) {
        *reinterpret_cast<Float4*>(static_cast<float*>(data) + i) = {v[0], v[1], v[2], v[3]};
      } else {
        Half4 h;
        PCOMP_UNROLL
        for (int j = 0; j < 4; ++j) h.v[j] = narrowed(v[j], dtype);
        *reinterpret_cast<Half4*>(static_cast<std::uint16_t*>(data) + i) = h;
      }
      return;
    }
    one_by_one(i, {v[0], v[1], v[2], v[3]});
  }

 private:
  PCOMP_GPU_CALL void one_by_one(u32 i, Float4 f) const {
    PCOMP_UNROLL
    for (u32 j = 0; j < 4; ++j)
      if (i + j < n) (*this)(i + j, f.v[j]);
  }
};

}  // namespace pcomp::detail::gpu
