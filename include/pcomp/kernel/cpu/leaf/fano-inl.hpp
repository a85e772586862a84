// The high part of Elias-Fano: for each bucket of 2^l positions as many ones as it has survivors, then a zero.
namespace pcomp::detail::HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
// The buckets of one byte of mask each: n ones and a zero for a byte of n bits; no byte has all 8.
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

/// Appends one word of 64 positions whose buckets of 2^low_bits lie within it, or which lies within a bucket.
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
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
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

/// Appends `count` words of positions from `position`, a multiple of 64, on; how many survive.
inline std::int64_t append_words(const std::uint64_t* mask, std::int64_t count, std::int64_t position,
                                 int low_bits, BitStream& out) {
  const std::int64_t last = (std::int64_t{1} << low_bits) - 64;
  std::int64_t ones = 0;
  for (std::int64_t w = 0; w < count; ++w, position += 64) {
    append_word(mask[w], low_bits, (position & (last + 63)) == last, out);
    ones += std::popcount(mask[w]);
  }
  return ones;
}

/// The last word before which there are at most `rank` ones, not beyond `end`.
inline WordPlace word_of_rank(const std::byte* block, std::int64_t bytes, std::int64_t rank,
                              std::int64_t end) {
  WordPlace p{0, 0};
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

/// Bit numbers of the ones of a word, counted from `first`, written to `out`, which has room for 64; how many.
HWY_INLINE std::int64_t ones_of(std::uint64_t word, std::int64_t first, std::int64_t* out) {
  const auto n = static_cast<std::int64_t>(std::popcount(word));
  for (std::int64_t i = 0; i < n; i += 8)  // eight without asking: a branch for each would be mispredicted
    for (std::int64_t j = 0; j < 8; ++j, word &= word - 1) out[i + j] = first + std::countr_zero(word);
  return n;
}
/// The same for the words of a block, until `most` or more are found; `word` is left at the next one.
inline std::int64_t ones_of_words(const std::byte* block, std::int64_t bytes, std::int64_t& word,
                                  std::int64_t most, std::int64_t* out) {
  std::int64_t n = 0;
  for (; word * 8 < bytes && n < most; ++word) n += ones_of(word_at(block, bytes, word), word * 64, out + n);
  return n;
}

/// position = ((bit - rank) << low_bits) | low, at most n.
inline void fano_positions(std::int64_t* bit, std::int64_t count, std::int64_t rank, int low_bits,
                           const std::uint32_t* low, std::int64_t n) {
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t p = ((bit[i] - rank - i) << low_bits) | low[i];
    bit[i] = p < n ? p : n;
  }
}

}  // namespace pcomp::detail::HWY_NAMESPACE
