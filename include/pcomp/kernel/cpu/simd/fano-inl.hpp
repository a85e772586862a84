// Elias-Fano: writing the low bits of positions, and reading positions; unary-inl.hpp writes the high part.
namespace pcomp::detail::HWY_NAMESPACE {

/// Writes the low `bits` bits of the positions of a mask's ones to `low`, which has room for 64; returns how many.
template <class Low>
HWY_INLINE std::int64_t lows_of(std::uint64_t mask, std::uint32_t position, int bits, Low* low) {
  const auto n = static_cast<std::int64_t>(std::popcount(mask));
#if PCOMP_VBMI2
  if constexpr (sizeof(Low) == 1) {
    const hn::ScalableTag<std::uint8_t> d;
    const auto at = hn::Add(hn::Iota(d, 0), hn::Set(d, static_cast<std::uint8_t>(position)));
    const auto cut = hn::And(at, hn::Set(d, static_cast<std::uint8_t>((1u << bits) - 1)));
    _mm512_storeu_si512(low, _mm512_maskz_compress_epi8(mask, cut.raw));
    return n;
  }
#endif
  const std::uint32_t keep = (std::uint32_t{1} << bits) - 1;
  for (std::int64_t i = 0; i < n; i += 8)  // eight, unconditionally: a branch per bit would be mispredicted
    for (std::int64_t j = 0; j < 8; ++j, mask &= mask - 1)
      low[i + j] = static_cast<Low>((position + static_cast<std::uint32_t>(std::countr_zero(mask))) & keep);
  return n;
}

/// Appends the low bits of `count` words' positions to the `fill` held ones, packs full blocks to `out`, and advances
/// it; returns how many are still held.
template <class Low>
inline std::int64_t append_lows(const std::uint64_t* mask, std::int64_t count, std::int64_t position,
                                int bits, Low* held, std::int64_t fill, std::byte*& out) {
  for (std::int64_t w = 0; w < count; ++w, position += 64) {
    fill += lows_of(mask[w], static_cast<std::uint32_t>(position), bits, held + fill);
    if (fill < pack_block) continue;
    pack_codes(held, pack_block, bits, out);
    out += block_bytes(pack_block, bits);
    std::copy_n(held + pack_block, 64, held);
    fill -= pack_block;
  }
  return fill;
}
/// The same for n places within eight positions, whose lowest bits they are: packing drops the others.
inline std::int64_t append_places(const std::uint8_t* place, std::int64_t n, int bits, std::uint8_t* held,
                                  std::int64_t fill, std::byte*& out) {
  while (fill + n >= pack_block) {
    const std::int64_t some = pack_block - fill;
    if (fill) std::copy_n(place, some, held + fill);
    pack_codes(fill ? held : place, pack_block, bits, out);
    out += block_bytes(pack_block, bits);
    place += some, n -= some, fill = 0;
  }
  std::copy_n(place, n, held + fill);
  return fill + n;
}
/// Packs the last block, which may be shorter.
template <class Low>
inline void finish_lows(const Low* held, std::int64_t fill, int bits, std::byte* out) {
  pack_codes(held, fill, bits, out);
}

/// The last word from `p` on with at most `rank` ones before it, not beyond `end`.
inline WordPlace word_of_rank(const std::byte* block, std::int64_t bytes, WordPlace p, std::int64_t rank,
                              std::int64_t end) {
  for (; p.word < end && p.word * 8 < bytes; ++p.word) {
    const int ones = std::popcount(word_at(block, bytes, p.word));
    if (p.rank + ones > rank) break;
    p.rank += ones;
  }
  return p;
}
/// The word with the zero that ends the bucket before `bucket`.
inline WordPlace word_of_bucket(const std::byte* block, std::int64_t bytes, std::int64_t bucket) {
  WordPlace p{0, 0};
  for (std::int64_t zeros = 0; p.word * 8 < bytes; ++p.word) {
    const int ones = std::popcount(word_at(block, bytes, p.word));
    if (zeros + 64 - ones >= bucket) break;
    zeros += 64 - ones;
    p.rank += ones;
  }
  return p;
}

/// Writes the indices of a word's ones, counted from `first`, to `out`, which has room for 64; returns how many.
HWY_INLINE std::int64_t ones_of(std::uint64_t word, std::uint32_t first, std::uint32_t* out) {
  const auto n = static_cast<std::int64_t>(std::popcount(word));
#if PCOMP_VBMI2
  const hn::ScalableTag<std::uint32_t> d;
  const __m512i number = _mm512_maskz_compress_epi8(word, hn::Iota(hn::ScalableTag<std::uint8_t>(), 0).raw);
  const auto start = hn::Set(d, first);
  const auto part = [&](__m128i bytes, int at) HWY_ATTR {
    hn::StoreU(hn::Add(hn::Vec<decltype(d)>{_mm512_maskz_cvtepu8_epi32(0xffff, bytes)}, start), d, out + at);
  };
  part(_mm512_maskz_extracti32x4_epi32(0xf, number, 0), 0);
  part(_mm512_maskz_extracti32x4_epi32(0xf, number, 1), 16);
  if (n > 32) {
    part(_mm512_maskz_extracti32x4_epi32(0xf, number, 2), 32);
    part(_mm512_maskz_extracti32x4_epi32(0xf, number, 3), 48);
  }
#else
  for (std::int64_t i = 0; i < n; i += 8)  // eight, unconditionally: a branch per bit would be mispredicted
    for (std::int64_t j = 0; j < 8; ++j, word &= word - 1)
      out[i + j] = first + static_cast<std::uint32_t>(std::countr_zero(word));
#endif
  return n;
}
/// The same for the words of a block, until `most` or more are found; leaves `word` at the next word.
inline std::int64_t ones_of_words(const std::byte* block, std::int64_t bytes, std::int64_t& word,
                                  std::int64_t most, std::uint32_t* out) {
  std::int64_t n = 0;
  for (; word * 8 < bytes && n < most; ++word)
    n += ones_of(word_at(block, bytes, word), static_cast<std::uint32_t>(word * 64), out + n);
  return n;
}

/// position = ((bit - rank) << low_bits) | low, at most n.
inline void fano_positions(std::uint32_t* bit, std::int64_t count, std::uint32_t rank, int low_bits,
                           const std::uint32_t* low, std::uint32_t n) {
  std::int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<std::uint32_t> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto most = hn::Set(d, n), step = hn::Set(d, static_cast<std::uint32_t>(lanes));
  auto order = hn::Iota(d, rank);
  for (; i + lanes <= count; i += lanes) {
    const auto bucket = hn::Sub(hn::LoadU(d, bit + i), order);
    const auto p = hn::Or(hn::ShiftLeftSame(bucket, low_bits), hn::LoadU(d, low + i));
    hn::StoreU(hn::Min(p, most), d, bit + i);
    order = hn::Add(order, step);
  }
#endif
  for (; i < count; ++i) {
    const std::uint32_t p = ((bit[i] - rank - static_cast<std::uint32_t>(i)) << low_bits) | low[i];
    bit[i] = p < n ? p : n;
  }
}

/// Writes the offsets from `base` of the positions up to the first that is not below `end`; returns how many. Both
/// arrays have room for a vector past `count`.
inline std::int64_t offsets_below(const std::uint32_t* position, std::int64_t count, std::uint32_t base,
                                  std::uint32_t end, std::uint32_t* offset) {
  std::int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<std::uint32_t> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto from = hn::Set(d, base), last = hn::Set(d, end - 1);
  for (; i < count; i += lanes) {
    const auto p = hn::LoadU(d, position + i);
    hn::StoreU(hn::Sub(hn::Max(p, from), from), d, offset + i);
    const std::uint64_t beyond = bits_of(d, hn::Gt(p, last));
    if (beyond) return std::min(count, i + std::countr_zero(beyond));
  }
  return count;
#else
  for (; i < count && position[i] < end; ++i) offset[i] = (position[i] > base ? position[i] : base) - base;
  return i;
#endif
}

}  // namespace pcomp::detail::HWY_NAMESPACE
