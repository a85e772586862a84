// Blocks of codes that a vector's numbers are rounded to, and back: shared by the coders of quant-inl.hpp and step-inl.hpp.
namespace pcomp::detail::HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR
#if PCOMP_BMI2
// maskz forms throughout: g++ 12 reports uninitialised reads for the plain ones (bug 105593).
/// Integers as the nearest bytes from 0 to `most`: the packs work within the four (two) 128-bit lanes, a last shuffle
/// restores order.
template <int most, class DI>
HWY_INLINE void store_bytes(DI di, const hn::Vec<DI>* number, std::uint8_t* to) {
#if PCOMP_AVX512
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i words0 = _mm512_packs_epi32(number[0].raw, number[1].raw);
  const __m512i words1 = _mm512_packs_epi32(number[2].raw, number[3].raw);
  __m512i bytes = _mm512_packus_epi16(words0, words1);
  if constexpr (most < 255) bytes = _mm512_min_epu8(bytes, _mm512_set1_epi8(most));
  return (void)di, _mm512_storeu_si512(to, _mm512_maskz_permutexvar_epi32(0xffff, order, bytes));
#else
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m256i words0 = _mm256_packs_epi32(number[0].raw, number[1].raw);
  const __m256i words1 = _mm256_packs_epi32(number[2].raw, number[3].raw);
  __m256i bytes = _mm256_packus_epi16(words0, words1);
  if constexpr (most < 255) bytes = _mm256_min_epu8(bytes, _mm256_set1_epi8(most));
  (void)di;
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permutevar8x32_epi32(bytes, order));
#endif
}
template <class V>
HWY_INLINE auto to_nearest(V x) {  // NaN and what no int holds become the least int
#if PCOMP_AVX512
  return hn::Vec<hn::RebindToSigned<hn::DFromV<V>>>{_mm512_maskz_cvtps_epi32(0xffff, x.raw)};
#else
  return hn::Vec<hn::RebindToSigned<hn::DFromV<V>>>{_mm256_cvtps_epi32(x.raw)};
#endif
}
#endif

/// Rounds a block of values to codes of `bits` bits, ties to even; `number(d, v)` is the arithmetic of a coder's encode,
/// before it is rounded, on the vector at v. On x86 numbers outside the range of the codes stand for the nearest code
/// and NaN for 0: the conversion saturates. Elsewhere number() has to.
template <int bits, class Number, class Code>
HWY_INLINE void encode_rounded(const float* v, const Number& number, Code* code) {
  const hn::ScalableTag<float> d;
  const hn::Rebind<std::int32_t, decltype(d)> di;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
#if PCOMP_BMI2
  if constexpr (bits <= 8) {
    for (std::int64_t j = 0; j < pack_block; j += 4 * lanes) {
      const hn::Vec<decltype(di)> whole[4] = {
          to_nearest(number(d, v + j)), to_nearest(number(d, v + j + lanes)),
          to_nearest(number(d, v + j + 2 * lanes)), to_nearest(number(d, v + j + 3 * lanes))};
      store_bytes<(1 << bits) - 1>(di, whole, code + j);
    }
    return;
  }
#endif
  const hn::Rebind<Code, decltype(d)> dc;
  for (std::int64_t j = 0; j < pack_block; j += lanes) {
#if PCOMP_BMI2
    const auto whole = to_nearest(number(d, v + j));
#else  // rounded to even, in the float's low bits
    const auto whole =
        hn::And(hn::BitCast(di, hn::Add(number(d, v + j), hn::Set(d, 8388608.0f))), hn::Set(di, 0xffff));
#endif
    hn::StoreU(hn::DemoteTo(dc, whole), dc, code + j);
  }
}

/// The values of a block of codes; `value(c)` is that of a vector of codes as integers.
template <class Code, class Value>
HWY_INLINE void decode_rounded(const Code* code, float* out, Value&& value) {
  const hn::ScalableTag<float> d;
  const hn::Rebind<std::int32_t, decltype(d)> di;
  const hn::Rebind<Code, decltype(d)> dc;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t j = 0; j < pack_block; j += lanes)
    hn::StoreU(value(hn::PromoteTo(di, hn::LoadU(dc, code + j))), d, out + j);
}
#endif

}  // namespace pcomp::detail::HWY_NAMESPACE
