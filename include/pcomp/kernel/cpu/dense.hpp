#pragma once
#include <cstring>

#include "../../codec/half.hpp"
#include "../view.hpp"
#include "code.hpp"

namespace pcomp::detail {

struct WidenBf16 {
  PCOMP_INLINE static void run(const std::uint16_t* in, std::int64_t n, float* out) {
    for (std::int64_t i = 0; i < n; ++i) out[i] = from_bf16(in[i]);
  }
};
struct WidenF16 {
  PCOMP_INLINE static void run(const std::uint16_t* in, std::int64_t n, float* out) {
    for (std::int64_t i = 0; i < n; ++i) out[i] = from_half(in[i]);
  }
};
struct NarrowBf16 {
  PCOMP_INLINE static void run(const float* in, std::int64_t n, std::uint16_t* out) {
    for (std::int64_t i = 0; i < n; ++i) out[i] = to_bf16(in[i]);
  }
};
struct NarrowF16 {
  PCOMP_INLINE static void run(const float* in, std::int64_t n, std::uint16_t* out) {
    for (std::int64_t i = 0; i < n; ++i) out[i] = to_half(in[i]);
  }
};

/// A source hands out floats of a range: in place where it can, else through `buffer`. All sources do:
/// cursor(first)                the reader from which ranges at or after `first` are loaded, ascending
/// cursor.load(i, n, buffer)    elements [i, i + n), n <= chunk
struct DenseSource {
  const void* data;
  DType dtype;

  explicit DenseSource(const In& x) : data(x.data), dtype(x.dtype) {}

  DenseSource cursor(std::int64_t) const { return *this; }

  const float* load(std::int64_t i, std::int64_t n, float* buffer) const {
    if (dtype == DType::f32) return static_cast<const float*>(data) + i;
    const auto* in = static_cast<const std::uint16_t*>(data) + i;
    if (dtype == DType::bf16)
      simd<WidenBf16>(in, n, buffer);
    else
      simd<WidenF16>(in, n, buffer);
    return buffer;
  }
};

/// A sink takes floats for a range. All sinks do: direct(i)                    where elements from i on may
/// be written in place, or null store(i, n, values)          elements [i, i + n)
struct DenseSink {
  void* data;
  DType dtype;

  explicit DenseSink(const Out& y) : data(y.data), dtype(y.dtype) {}

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
      simd<NarrowBf16>(values, n, out);
    else
      simd<NarrowF16>(values, n, out);
  }
};

}  // namespace pcomp::detail
