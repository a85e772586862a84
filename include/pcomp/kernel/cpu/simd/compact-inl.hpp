// Moving a vector's kept lanes to its front.
namespace pcomp::detail::HWY_NAMESPACE {

HWY_INLINE int count_of(std::uint64_t bits) { return static_cast<int>(std::popcount(bits)); }

/// A mask of the lowest n bits; all of them for n >= 64.
HWY_INLINE std::uint64_t first_bits(std::int64_t n) {
  return n < 64 ? (std::uint64_t{1} << n) - 1 : ~std::uint64_t{0};
}

/// The lanes of a mask as bits.
template <class D, class M>
HWY_INLINE std::uint64_t bits_of(D d, M mask) {
#if PCOMP_AVX512
  return (void)d, static_cast<std::uint64_t>(mask.raw);
#elif HWY_TARGET == HWY_AVX2
  static_assert(sizeof(hn::TFromD<D>) == 4);
  return (void)d, static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(
                      hn::BitCast(hn::RebindToSigned<D>(), hn::VecFromMask(d, mask)).raw)));
#else
  std::uint8_t bytes[8] = {};
  hn::StoreMaskBits(d, mask, bytes);
  std::uint64_t bits;
  std::memcpy(&bits, bytes, 8);
  return bits;
#endif
}

#if HWY_TARGET != HWY_SCALAR
/// The lanes of `bits` first, in order; what the others hold is not defined. `mask` is the same as `bits`.
template <class D, class V, class M>
HWY_INLINE V compact(D d, V x, M mask, std::uint64_t bits) {
#if HWY_TARGET == HWY_AVX2
  // Not hn::Compress: g++ 12 copies its table to the stack in every call.
  const hn::RebindToSigned<D> di;
  const __m256i order =
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(byte_table.ones[bits])));
  return (void)mask,
         hn::BitCast(d, hn::Vec<decltype(di)>{_mm256_permutevar8x32_epi32(hn::BitCast(di, x).raw, order)});
#else
  return (void)d, (void)bits, hn::Compress(x, mask);
#endif
}
#endif

#if HWY_TARGET != HWY_SCALAR
/// Compacts 64 elements to value + c, advances c and writes their mask; `test(j)` says which of the vector from element j
/// on survive. On AVX2 their places within the vector go to place + c, unless `place` is null. A vector past the
/// survivors is written.
template <class D, class Test, class Place>
HWY_INLINE void compact_word(D d, const float* v, Test&& test, float* value, Place place, std::int64_t& c,
                             std::uint64_t* mask) {
  const hn::Rebind<float, D> df;
  constexpr auto lanes = static_cast<std::int64_t>(hn::MaxLanes(d));
  std::uint64_t word = 0;
  for (std::int64_t j = 0; j < 64; j += lanes) {
    const auto survives = test(j);
    const std::uint64_t bits = bits_of(d, survives);
    if constexpr (lanes == 8)
      reinterpret_cast<std::uint8_t*>(mask)[j / 8] = static_cast<std::uint8_t>(bits);
    else
      word |= bits << j;
    hn::StoreU(compact(df, hn::LoadU(df, v + j), hn::RebindMask(df, survives), bits), df, value + c);
    if constexpr (HWY_TARGET == HWY_AVX2 && !std::is_null_pointer_v<Place>)
      std::memcpy(place + c, byte_table.ones[bits], 8);
    c += count_of(bits);
  }
  if constexpr (lanes != 8) *mask = word;
}
HWY_INLINE void prefetch_word(const float* v) {
  for (std::int64_t j = 0; j < 64; j += 16) hwy::Prefetch(v + chunk + j);
}
#endif

/// Whether gather_above gives the places of what it writes, within eight elements: the three low bits of their positions,
/// for the index. AVX-512 takes them from the mask.
inline bool gives_places() { return HWY_TARGET == HWY_AVX2; }

/// Writes those of `count` places that `survives` names. A vector past them may be read and written.
HWY_INLINE void compact_places(const std::uint8_t* place, std::int64_t count, const std::uint64_t* survives,
                               std::uint8_t* to) {
#if HWY_TARGET == HWY_AVX2
  const auto* byte = reinterpret_cast<const std::uint8_t*>(survives);
  for (std::int64_t i = 0; i < count; i += 8) {
    const std::uint64_t bits = byte[i / 8];
    const auto order = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(byte_table.ones[bits]));
    const auto eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(place + i));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_shuffle_epi8(eight, order));
    to += count_of(bits);
  }
#else
  for (std::int64_t i = 0; i < count; ++i)
    if (survives[i / 64] >> (i % 64) & 1) *to++ = place[i];
#endif
}

/// Writes the elements whose magnitude lies above `lo`, their mask, 64 per word, and, unless `padded` and where there are
/// any, their places; returns how many. There is room for a vector past them; if `padded`, one past the n may be read.
template <bool padded>
HWY_INLINE std::int64_t gather_above(const float* v, std::int64_t n, std::int32_t lo, float* value,
                                     std::uint64_t* mask, std::uint8_t* place) {
  std::int64_t c = 0, i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<std::int32_t> d;
  const hn::Rebind<float, decltype(d)> df;
  constexpr auto lanes = static_cast<std::int64_t>(hn::MaxLanes(d));
  const auto limit = hn::Set(d, lo), magnitude = hn::Set(d, 0x7fffffff);
  const auto test = [&](std::int64_t j) HWY_ATTR {
    const auto x = hn::LoadU(d, reinterpret_cast<const std::int32_t*>(v + i + j));
    return hn::Gt(hn::And(x, magnitude), limit);
  };
  for (std::uint64_t* word = mask; i + 64 <= n; i += 64) {
    if constexpr (padded) {
      compact_word(d, v + i, test, value, nullptr, c, word++);
    } else {
      prefetch_word(v + i);
      compact_word(d, v + i, test, value, place, c, word++);
    }
  }
  if constexpr (padded) {
    if (i < n) mask[i / 64] = 0;
    for (std::int64_t j = 0; i + j < n; j += lanes) {
      const auto survives = test(j);
      const std::uint64_t bits = bits_of(d, survives) & first_bits(n - i - j);
      hn::StoreU(compact(df, hn::LoadU(df, v + i + j), hn::RebindMask(df, survives), bits), df, value + c);
      mask[i / 64] |= bits << j;
      c += count_of(bits);
    }
    return c;
  }
#endif
  for (std::uint64_t word = 0; i < n; ++i) {
    const bool kept = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(v[i]) & 0x7fffffffu) > lo;
    value[c] = v[i];
    if constexpr (!padded) place[c] = static_cast<std::uint8_t>(i % 8);
    c += kept;
    word |= std::uint64_t{kept} << (i % 64);
    if (i % 64 == 63 || i + 1 == n) mask[i / 64] = word, word = 0;
  }
  static_cast<void>(place);
  return c;
}

}  // namespace pcomp::detail::HWY_NAMESPACE
