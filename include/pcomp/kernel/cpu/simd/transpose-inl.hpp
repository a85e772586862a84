// Transposes rows to columns, in blocks of 128-bit vectors.
namespace pcomp::detail::HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR
template <class D, class V>
HWY_INLINE void weave(D d, V& a, V& b) {
  const V low = hn::InterleaveLower(d, a, b);
  b = hn::InterleaveUpper(d, a, b);
  a = low;
}

/// Transposes a block of 128-bit rows. Each round interleaves rows half as far apart; in the end rows are columns.
template <class D>
HWY_INLINE void transpose_block(D d, const float* in, std::int64_t in_stride, float* out,
                                std::int64_t stride) {
  auto a = hn::LoadU(d, in), b = hn::LoadU(d, in + in_stride), c = hn::LoadU(d, in + 2 * in_stride),
       e = hn::LoadU(d, in + 3 * in_stride);
  weave(d, a, c), weave(d, b, e);
  weave(d, a, b), weave(d, c, e);
  hn::StoreU(a, d, out), hn::StoreU(b, d, out + stride);
  hn::StoreU(c, d, out + 2 * stride), hn::StoreU(e, d, out + 3 * stride);
}
template <class D>
HWY_INLINE void transpose_block(D d, const std::uint16_t* in, std::int64_t in_stride, std::uint16_t* out,
                                std::int64_t stride) {
  const auto row = [&](std::int64_t i) HWY_ATTR { return hn::LoadU(d, in + i * in_stride); };
  auto a = row(0), b = row(1), c = row(2), e = row(3), f = row(4), g = row(5), h = row(6), i = row(7);
  weave(d, a, f), weave(d, b, g), weave(d, c, h), weave(d, e, i);
  weave(d, a, c), weave(d, f, h), weave(d, b, e), weave(d, g, i);
  weave(d, a, b), weave(d, f, g), weave(d, c, e), weave(d, h, i);
  hn::StoreU(a, d, out), hn::StoreU(b, d, out + stride);
  hn::StoreU(c, d, out + 2 * stride), hn::StoreU(e, d, out + 3 * stride);
  hn::StoreU(f, d, out + 4 * stride), hn::StoreU(g, d, out + 5 * stride);
  hn::StoreU(h, d, out + 6 * stride), hn::StoreU(i, d, out + 7 * stride);
}
#endif

/// out[c * out_stride + r] = in[r * in_stride + c]; some rows at a time, so that output fills whole cache lines.
template <class T>
inline void transpose(const T* in, std::int64_t in_stride, std::int64_t rows, std::int64_t columns, T* out,
                      std::int64_t out_stride) {
  const auto plain = [&](std::int64_t r, std::int64_t r_end, std::int64_t c, std::int64_t c_end) {
    for (; c < c_end; ++c)
      for (std::int64_t i = r; i < r_end; ++i) out[c * out_stride + i] = in[i * in_stride + c];
  };
#if HWY_TARGET == HWY_SCALAR
  plain(0, rows, 0, columns);
#else
  constexpr std::int64_t lanes = 16 / sizeof(T), tall = 256 / sizeof(T);
  const hn::CappedTag<T, lanes> d;
  const std::int64_t whole = rows / lanes * lanes, wide = columns / lanes * lanes;
  for (std::int64_t r = 0; r < whole; r += tall)
    for (std::int64_t c = 0; c < wide; c += lanes)
      for (std::int64_t i = r; i < std::min(r + tall, whole); i += lanes)
        transpose_block(d, in + i * in_stride + c, in_stride, out + c * out_stride + i, out_stride);
  plain(0, whole, wide, columns);
  plain(whole, rows, 0, columns);
#endif
}

}  // namespace pcomp::detail::HWY_NAMESPACE
