// Which key has rank k: selection by compaction.
namespace pcomp::detail::HWY_NAMESPACE {

HWY_INLINE int count_of(std::uint64_t bits) { return static_cast<int>(std::popcount(bits)); }

/// The lanes of a mask as bits.
template <class D, class M>
HWY_INLINE std::uint64_t bits_of(D d, M mask) {
#if HWY_TARGET == HWY_AVX3
  return (void)d, static_cast<std::uint64_t>(mask.raw);
#else
  std::uint8_t bytes[8] = {};
  hn::StoreMaskBits(d, mask, bytes);
  std::uint64_t bits;
  std::memcpy(&bits, bytes, 8);
  return bits;
#endif
}

struct Around {
  std::int64_t above = 0, at_hi = 0, inside = 0, at_lo = 0;
};

/// How many of n keys lie above, at the ends of and strictly inside a bracket.
HWY_INLINE Around count_around(const std::int32_t* key, std::int64_t n, std::int32_t lo, std::int32_t hi) {
  std::int64_t above = 0, from_hi = 0, above_lo = 0, from_lo = 0;
  for (std::int64_t b = 0; b < n; b += 4096) {  // 32-bit sums are as wide as the keys
    std::int32_t a = 0, h = 0, l = 0, f = 0;
    for (std::int64_t i = b; i < std::min(b + 4096, n); ++i) {
      a += key[i] > hi;
      h += key[i] >= hi;
      l += key[i] > lo;
      f += key[i] >= lo;
    }
    above += a, from_hi += h, above_lo += l, from_lo += f;
  }
  return {above, from_hi - above, lo < hi ? above_lo - from_hi : 0, lo < hi ? from_lo - above_lo : 0};
}

/// Keeps, in place, the keys in [lo, hi]; how many. There is room for a vector behind the n.
HWY_INLINE std::int64_t keep_between(std::int32_t* key, std::int64_t n, std::int32_t lo, std::int32_t hi) {
  std::int64_t c = 0, i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<std::int32_t> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto low = hn::Set(d, lo), high = hn::Set(d, hi);
  for (; i + lanes <= n; i += lanes) {
    const auto x = hn::LoadU(d, key + i);
    const auto out = hn::Or(hn::Lt(x, low), hn::Gt(x, high));
    hn::StoreU(hn::Compress(x, hn::Not(out)), d, key + c);
    c += lanes - count_of(bits_of(d, out));
  }
#endif
  for (; i < n; ++i) {
    const std::int32_t x = key[i];
    key[c] = x;
    c += x >= lo && x <= hi;
  }
  return c;
}

/// The k-th highest of n keys, k from 1 to n; reorders them and needs room for a vector behind them.
inline std::int32_t nth_highest(std::int32_t* key, std::int64_t n, std::int64_t k) {
  constexpr std::int32_t least = std::numeric_limits<std::int32_t>::min();
  constexpr std::int32_t most = std::numeric_limits<std::int32_t>::max();
  for (int round = 0; n > 256 && round < 40; ++round) {
    constexpr int sample = 128;
    std::int32_t s[sample];
    for (std::int64_t j = 0; j < sample; ++j) s[j] = key[(n - 1) * j / (sample - 1)];
    std::sort(s, s + sample, std::greater<>());
    const auto at = static_cast<int>(k * sample / (n + 1));
    const std::int32_t hi = s[std::max(at - 10, 0)], lo = s[std::min(at + 10, sample - 1)];
    const Around a = count_around(key, n, lo, hi);
    std::int64_t rank = k;
    if (rank <= a.above) {
      n = keep_between(key, n, hi + 1, most);
      continue;
    }
    if ((rank -= a.above) <= a.at_hi) return hi;
    if ((rank -= a.at_hi) <= a.inside) {
      n = keep_between(key, n, lo + 1, hi - 1);
    } else if ((rank -= a.inside) <= a.at_lo) {
      return lo;
    } else {
      rank -= a.at_lo;
      n = keep_between(key, n, least, lo - 1);
    }
    k = rank;
  }
  std::nth_element(key, key + (k - 1), key + n, std::greater<>());
  return key[k - 1];
}

}  // namespace pcomp::detail::HWY_NAMESPACE
