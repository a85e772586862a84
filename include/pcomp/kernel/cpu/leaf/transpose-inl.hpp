// Rows to columns, through blocks that lie in 128-bit vectors.
namespace pcomp::detail::HWY_NAMESPACE {

/// out[c * out_stride + r] = in[r * in_stride + c]; 16 rows at a time, so that lines of the result are whole.
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
  constexpr std::int64_t lanes = 16 / sizeof(T), tall = 64 / sizeof(T);
  const hn::CappedTag<T, lanes> d;
  const std::int64_t whole = rows / lanes * lanes, wide = columns / lanes * lanes;
  for (std::int64_t r = 0; r < whole; r += tall)
    for (std::int64_t c = 0; c < wide; c += lanes)
      for (std::int64_t i = r; i < std::min(r + tall, whole); i += lanes) {
        // Each round interleaves row j with row j + lanes/2; after log2(lanes) of them, rows are columns.
        hn::Vec<decltype(d)> a[lanes], b[lanes];
        for (std::int64_t j = 0; j < lanes; ++j) a[j] = hn::LoadU(d, in + (i + j) * in_stride + c);
        for (std::int64_t done = 1; done < lanes; done *= 2) {
          for (std::int64_t j = 0; j < lanes / 2; ++j) {
            b[2 * j] = hn::InterleaveLower(d, a[j], a[j + lanes / 2]);
            b[2 * j + 1] = hn::InterleaveUpper(d, a[j], a[j + lanes / 2]);
          }
          std::copy_n(b, lanes, a);
        }
        for (std::int64_t j = 0; j < lanes; ++j) hn::StoreU(a[j], d, out + (c + j) * out_stride + i);
      }
  plain(0, whole, wide, columns);
  plain(whole, rows, 0, columns);
#endif
}

}  // namespace pcomp::detail::HWY_NAMESPACE
