// Moving a vector's kept lanes to its front.
namespace pcomp::detail::HWY_NAMESPACE {

HWY_INLINE int count_of(std::uint64_t bits) { return static_cast<int>(std::popcount(bits)); }

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

}  // namespace pcomp::detail::HWY_NAMESPACE
