// Sums over windows, and values repeated over windows.
namespace pcomp::detail::HWY_NAMESPACE {

inline void add_row(const float* in, std::int64_t n, float* sum) {
  for (std::int64_t i = 0; i < n; ++i) sum[i] += in[i];
}

/// out[c] = weight * (the sum of columns cK .. cK+K-1, left to right), over whole windows.
template <int K>
inline void sum_columns(const float* column, std::int64_t windows, float weight, float* out) {
  for (std::int64_t c = 0; c < windows; ++c) {
    float s = column[c * K];
    for (int x = 1; x < K; ++x) s += column[c * K + x];
    out[c] = s * weight;
  }
}

/// The same for K whole rows in place: columns first, top to bottom, so that it matches the general path
/// bit for bit.
template <int K>
HWY_INLINE void pool_rows_of(const float* const* row, std::int64_t windows, float weight, float* out) {
  std::int64_t c = 0;
#if HWY_TARGET != HWY_SCALAR
  if constexpr (K == 2) {
    const hn::ScalableTag<float> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const auto w = hn::Set(d, weight);
    for (; c + lanes <= windows; c += lanes) {
      const float* a = row[0] + 2 * c;
      const float* b = row[1] + 2 * c;
      for (const float* next : {a, a + lanes, b, b + lanes}) hwy::Prefetch(next + 4 * chunk);
      const auto left = hn::Add(hn::LoadU(d, a), hn::LoadU(d, b));
      const auto right = hn::Add(hn::LoadU(d, a + lanes), hn::LoadU(d, b + lanes));
      const auto sum = hn::Add(hn::ConcatEven(d, right, left), hn::ConcatOdd(d, right, left));
      hn::StoreU(hn::Mul(sum, w), d, out + c);
    }
  }
#endif
  for (; c < windows; ++c) {
    float s = 0;
    for (int x = 0; x < K; ++x) {
      float column = row[0][c * K + x];
      for (int y = 1; y < K; ++y) column += row[y][c * K + x];
      s = x == 0 ? column : s + column;
    }
    out[c] = s * weight;
  }
}
template <int K>
inline void pool_rows(const float* const* row, std::int64_t windows, float weight, float* out) {
  pool_rows_of<K>(row, windows, weight, out);
}

/// Pools windows [i, i + n) of an array of lines, each `width` floats wide and filled by whole windows.
template <int K>
inline void pool_lines(const float* in, std::int64_t width, std::int64_t i, std::int64_t n, float weight,
                       float* out) {
  const std::int64_t each = width / K;
  for (std::int64_t line = i / each, column = i % each; n > 0; ++line, column = 0) {
    const std::int64_t windows = std::min(n, each - column);
    const float* row[K];
    for (int y = 0; y < K; ++y) row[y] = in + (line * K + y) * width + column * K;
    pool_rows_of<K>(row, windows, weight, out);
    out += windows, n -= windows;
  }
}

/// Repeats each value K times; with `past_caches`, by non-temporal stores where vectors are aligned.
template <int K>
HWY_INLINE void repeat_columns_of(const float* in, std::int64_t windows, float weight, bool past_caches,
                                  float* out) {
  std::int64_t c = 0;
#if HWY_TARGET != HWY_SCALAR
  if constexpr (K == 2) {
    const hn::ScalableTag<float> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const auto w = hn::Set(d, weight);
    const hn::Repartition<std::uint64_t, decltype(d)> d64;
    past_caches = past_caches && reinterpret_cast<std::uintptr_t>(out) % (sizeof(float) * hn::Lanes(d)) == 0;
    for (; c + lanes <= windows; c += lanes) {
      const auto x = hn::Mul(hn::LoadU(d, in + c), w);
      // Each float twice: widened to 64 bits, ORed with itself in the upper half.
      const hn::Rebind<std::uint32_t, decltype(d64)> half;
      const auto bits = hn::BitCast(hn::RebindToUnsigned<decltype(d)>(), x);
      const auto low = hn::PromoteTo(d64, hn::LowerHalf(half, bits));
      const auto high = hn::PromoteTo(d64, hn::UpperHalf(half, bits));
      const auto first = hn::BitCast(d, hn::Or(low, hn::ShiftLeft<32>(low)));
      const auto second = hn::BitCast(d, hn::Or(high, hn::ShiftLeft<32>(high)));
      if (past_caches) {
        hn::Stream(first, d, out + 2 * c);
        hn::Stream(second, d, out + 2 * c + lanes);
      } else {
        hn::StoreU(first, d, out + 2 * c);
        hn::StoreU(second, d, out + 2 * c + lanes);
      }
    }
  }
#endif
  static_cast<void>(past_caches);
  for (; c < windows; ++c)
    for (int x = 0; x < K; ++x) out[c * K + x] = in[c] * weight;
}
template <int K>
inline void repeat_columns(const float* in, std::int64_t windows, float weight, float* out) {
  repeat_columns_of<K>(in, windows, weight, false, out);
}
/// The inverse of pool_lines: each value K x K times.
template <int K>
inline void repeat_lines(const float* in, std::int64_t width, std::int64_t i, std::int64_t n, float weight,
                         bool past_caches, float* out) {
  const std::int64_t each = width / K;
  for (std::int64_t line = i / each, column = i % each; n > 0; ++line, column = 0) {
    const std::int64_t windows = std::min(n, each - column);
    float* row = out + line * K * width + column * K;
    for (int y = 0; y < K; ++y) repeat_columns_of<K>(in, windows, weight, past_caches, row + y * width);
    in += windows, n -= windows;
  }
}

}  // namespace pcomp::detail::HWY_NAMESPACE
