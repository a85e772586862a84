// The high part of Elias-Fano: for each bucket of 2^l positions, a one per survivor, then a zero.
namespace pcomp::detail::HWY_NAMESPACE {

#if PCOMP_BMI2
// Buckets of one mask byte each: n ones and a zero for a byte with n bits set; no byte has all 8 set.
HWY_INLINE void append_bytes(std::uint64_t mask, int ones, BitStream& out) {
  constexpr std::uint64_t every = 0x0101010101010101u;
  std::uint64_t n = mask - ((mask >> 1) & (0x55 * every));
  n = (n & (0x33 * every)) + ((n >> 2) & (0x33 * every));
  n = (n + (n >> 4)) & (0x0f * every);
  const hn::Full128<std::uint8_t> d;
  alignas(16) constexpr std::uint8_t unary_of[16] = {0, 1, 3, 7, 15, 31, 63, 127};
  const auto bytes = hn::BitCast(d, hn::Set(hn::Full128<std::uint64_t>(), n));
  const std::uint64_t unary = hn::GetLane(
      hn::BitCast(hn::Full128<std::uint64_t>(), hn::TableLookupBytes(hn::Load(d, unary_of), bytes)));
  out.append(_pext_u64(unary, unary << 1 | every), ones + 8);
}
#endif

/// Appends one word of 64 positions: it holds whole buckets of 2^low_bits, or lies within one.
HWY_INLINE void append_word(std::uint64_t mask, int low_bits, bool bucket_ends, BitStream& out) {
  if (low_bits >= 6) {
    const int n = static_cast<int>(std::popcount(mask));
    if (n == 64)
      out.append(~std::uint64_t{0}, 64);
    else
      out.append((std::uint64_t{1} << n) - 1, n);
    if (bucket_ends) out.append(0, 1);
    return;
  }
  const int size = 1 << low_bits;
#if PCOMP_BMI2
  if (low_bits <= 3 && mask != ~std::uint64_t{0}) {
    const std::uint64_t each = 0x0101010101010101u * ((1u << size) - 1);
    const int part = 8 * size;
    bool full = false;
    if (low_bits == 3) {  // a byte of all ones would need 9 bits
      const std::uint64_t holes = ~mask;
      full = (holes - 0x0101010101010101u) & ~holes & 0x8080808080808080u;
    }
    if (!full) {
      for (int at = 0; at < 64; at += part) {
        const std::uint64_t spread = low_bits == 3 ? mask : _pdep_u64(mask >> at, each);
        append_bytes(spread, static_cast<int>(std::popcount(spread)), out);
      }
      return;
    }
  }
#endif
  const std::uint64_t bucket = (std::uint64_t{1} << size) - 1;
  for (int at = 0; at < 64; at += size) {
    const int n = static_cast<int>(std::popcount((mask >> at) & bucket));
    out.append((std::uint64_t{1} << n) - 1, n + 1);
  }
}

#if PCOMP_VBMI2
/// Appends eight words whose buckets are bytes; false, with nothing appended, if one is all ones and needs nine bits.
HWY_INLINE bool append_eight(const std::uint64_t* mask, BitStream& out) {
  const __m512i all = _mm512_loadu_si512(mask);
  if (_mm512_cmpeq_epi8_mask(all, _mm512_set1_epi8(-1))) return false;
  const __m512i unary_of = _mm512_set4_epi32(0, 0, 0x7f3f1f0f, 0x07030100);
  const __m512i unary = _mm512_shuffle_epi8(unary_of, _mm512_popcnt_epi8(all));
  const __m512i places = _mm512_or_si512(_mm512_add_epi8(unary, unary), _mm512_set1_epi8(1));
  std::uint64_t one[8], place[8], bits[8], length[8];
  _mm512_storeu_si512(one, unary);
  _mm512_storeu_si512(place, places);
  for (int w = 0; w < 8; ++w) {
    bits[w] = _pext_u64(one[w], place[w]);
    length[w] = static_cast<std::uint64_t>(std::popcount(mask[w])) + 8;
  }
  out.append_all(bits, length, 8);
  return true;
}
#elif HWY_TARGET == HWY_AVX2
/// The codes of `count` words, rounded up to four, whose buckets are 2^low_bits = 8, 16 or 32 positions; false if a byte
/// is all ones. Neighbours are joined until a word is one code: on some processors PEXT takes a hundred cycles.
HWY_INLINE bool codes_of(const std::uint64_t* mask, std::int64_t count, int low_bits, std::uint64_t* code,
                         std::uint64_t* length) {
  const auto table = [](std::uint64_t row)
                         HWY_ATTR { return _mm256_set1_epi64x(static_cast<long long>(row)); };
  const auto nibbles = _mm256_set1_epi8(15), none = _mm256_setzero_si256();
  const auto ones_of =
      _mm256_setr_epi64x(0x0302020102010100, 0x0403030203020201, 0x0302020102010100, 0x0403030203020201);
  const auto unary_of = table(0x7f3f1f0f07030100), power_of = table(0x8040201008040201);
  // A bucket's last byte is followed by its zero.
  const auto end = table(low_bits == 3   ? 0x0101010101010101
                         : low_bits == 4 ? 0x0100010001000100
                                         : 0x0100000001000000);
  const auto end_of_first = _mm_cvtsi32_si128(low_bits == 3);
  auto most = none;
  for (std::int64_t w = 0; w < count; w += 4) {
    const auto all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(mask + w));
    const auto ones =
        _mm256_add_epi8(_mm256_shuffle_epi8(ones_of, _mm256_and_si256(all, nibbles)),
                        _mm256_shuffle_epi8(ones_of, _mm256_and_si256(_mm256_srli_epi16(all, 4), nibbles)));
    most = _mm256_max_epu8(most, ones);
    const auto bits8 = _mm256_shuffle_epi8(unary_of, ones), length8 = _mm256_add_epi8(ones, end);
    // The second of two bytes times 2^ones of the first, which may be 2^7; the factor of the first is cleared.
    const auto times = _mm256_slli_epi16(_mm256_shuffle_epi8(power_of, ones), 8);
    const auto second8 = _mm256_sll_epi16(_mm256_maddubs_epi16(times, bits8), end_of_first);
    const auto bits16 = _mm256_or_si256(_mm256_and_si256(bits8, _mm256_set1_epi16(0xff)), second8);
    const auto length16 = _mm256_maddubs_epi16(length8, _mm256_set1_epi8(1));
    const auto second16 =
        _mm256_sllv_epi32(_mm256_srli_epi32(bits16, 16), _mm256_blend_epi16(length16, none, 0xaa));
    const auto bits32 = _mm256_or_si256(_mm256_blend_epi16(bits16, none, 0xaa), second16);
    const auto length32 = _mm256_madd_epi16(length16, _mm256_set1_epi16(1));
    const auto second32 =
        _mm256_sllv_epi64(_mm256_srli_epi64(bits32, 32), _mm256_blend_epi32(length32, none, 0xaa));
    const auto bits64 = _mm256_or_si256(_mm256_blend_epi32(bits32, none, 0xaa), second32);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(code + w), bits64);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(length + w), _mm256_sad_epu8(length8, none));
  }
  return _mm256_movemask_epi8(_mm256_cmpeq_epi8(most, _mm256_set1_epi8(8))) == 0;
}
/// Appends the codes of `count` <= BitStream::most words, with three more to read; returns how many bits, none if a byte
/// is all ones.
HWY_INLINE std::int64_t append_joined(const std::uint64_t* mask, std::int64_t count, int low_bits,
                                      BitStream& out) {
  std::uint64_t code[BitStream::most + 4], length[BitStream::most + 4];
  if (!codes_of(mask, count, low_bits, code, length)) return 0;
  if (count % 2) code[count] = length[count] = 0, ++count;
  std::uint64_t pair[BitStream::most / 2], together[BitStream::most / 2], longest = 0, all = 0;
  for (std::int64_t w = 0; w < count / 2; ++w) {
    pair[w] = code[2 * w] | code[2 * w + 1] << (length[2 * w] & 63);
    together[w] = length[2 * w] + length[2 * w + 1];
    longest = std::max(longest, together[w]), all += together[w];
  }
  if (longest <= 64)
    out.append_all(pair, together, count / 2);
  else
    out.append_all(code, length, count);
  return static_cast<std::int64_t>(all);
}
#endif

/// Appends `count` words of positions from `position` on, a multiple of 64, with three more to read; returns how many
/// survive.
inline std::int64_t append_words(const std::uint64_t* mask, std::int64_t count, std::int64_t position,
                                 int low_bits, BitStream& out) {
  const std::int64_t last = (std::int64_t{1} << low_bits) - 64;
  std::int64_t ones = 0, w = 0;
  const auto one = [&] HWY_ATTR {
    append_word(mask[w], low_bits, ((position + w * 64) & (last + 63)) == last, out);
    ones += std::popcount(mask[w++]);
  };
#if PCOMP_VBMI2
  for (; low_bits == 3 && w + 8 <= count;) {
    if (append_eight(mask + w, out))
      for (const std::int64_t end = w + 8; w < end;) ones += std::popcount(mask[w++]);
    else
      for (int i = 0; i < 8; ++i) one();
  }
#elif HWY_TARGET == HWY_AVX2
  for (; low_bits >= 3 && low_bits <= 5 && w + 4 <= count;) {
    const std::int64_t n = std::min(count - w, BitStream::most);
    if (const std::int64_t bits = append_joined(mask + w, n, low_bits, out))
      ones += bits - (n * 64 >> low_bits), w += n;
    else
      for (std::int64_t i = 0; i < n; ++i) one();
  }
#endif
  while (w < count) one();
  return ones;
}

}  // namespace pcomp::detail::HWY_NAMESPACE
