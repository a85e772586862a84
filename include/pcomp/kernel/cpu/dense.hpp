#pragma once
#include "../view.hpp"
#include "simd.hpp"

namespace pcomp::detail {

/// A source hands out floats of a range: in place where it can, else through `buffer`. All sources do:
/// cursor(first)               the reader from which ranges at or after `first` are loaded, ascending
/// cursor.load(i, n, buffer)   elements [i, i + n), n <= chunk
struct DenseSource {
  const void* data;
  DType dtype;

  explicit DenseSource(const In& x) : data(x.data), dtype(x.dtype) {}

  DenseSource cursor(std::int64_t) const { return *this; }
  /// All elements where they are, or null.
  const float* in_place() const { return dtype == DType::f32 ? static_cast<const float*>(data) : nullptr; }

  const float* load(std::int64_t i, std::int64_t n, float* buffer) const {
    if (dtype == DType::f32) return static_cast<const float*>(data) + i;
    const auto* in = static_cast<const std::uint16_t*>(data) + i;
    if (dtype == DType::bf16)
      PCOMP_SIMD((in, n, buffer), widen_bf16);
    else
      PCOMP_SIMD((in, n, buffer), widen_f16);
    return buffer;
  }
};

/// A sink takes floats for a range. All sinks do:
/// direct(i)               where elements from i on may be written in place, or null
/// store(i, n, values)     elements [i, i + n)
/// past_caches()           whether all of it is too large to be found in a cache again
struct DenseSink {
  void* data;
  DType dtype;
  bool large;

  explicit DenseSink(const Out& y) : data(y.data), dtype(y.dtype), large(y.count >= (1 << 21)) {}

  /// 8 MB of floats: more than a core's second-level cache anywhere.
  bool past_caches() const { return large && dtype == DType::f32; }

  float* direct(std::int64_t i) const {
    return dtype == DType::f32 ? static_cast<float*>(data) + i : nullptr;
  }

  void store(std::int64_t i, std::int64_t n, const float* values) const {
    if (dtype == DType::f32) {
      std::memcpy(static_cast<float*>(data) + i, values, static_cast<std::size_t>(n) * sizeof(float));
      return;
    }
    auto* out = static_cast<std::uint16_t*>(data) + i;
    if (dtype == DType::bf16)
      PCOMP_SIMD((values, n, out), narrow_bf16);
    else
      PCOMP_SIMD((values, n, out), narrow_f16);
  }
};

}  // namespace pcomp::detail
