// The key of rank k: selection by compaction.
namespace pcomp::detail::HWY_NAMESPACE {

/// A mask of the lowest n bits; all of them for n >= 64.
HWY_INLINE std::uint64_t first_bits(std::int64_t n) {
  return n < 64 ? (std::uint64_t{1} << n) - 1 : ~std::uint64_t{0};
}

/// How many of n keys lie above and below a bracket.
struct Outside {
  std::int64_t above = 0, below = 0;
};
HWY_INLINE Outside count_outside(const std::int32_t* key, std::int64_t n, std::int32_t lo, std::int32_t hi) {
  std::int64_t above = 0, below = 0, i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<std::int32_t> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto low = hn::Set(d, lo), high = hn::Set(d, hi);
  for (; i + lanes <= n; i += lanes) {
    const auto x = hn::LoadU(d, key + i);
    above += count_of(bits_of(d, hn::Gt(x, high)));
    below += count_of(bits_of(d, hn::Lt(x, low)));
  }
#endif
  for (; i < n; ++i) above += key[i] > hi, below += key[i] < lo;
  return {above, below};
}

/// Keeps the keys in [lo, hi], in place; returns how many. `key` has room for a vector past the n.
HWY_INLINE std::int64_t keep_between(std::int32_t* key, std::int64_t n, std::int32_t lo, std::int32_t hi) {
  std::int64_t c = 0, i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<std::int32_t> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto low = hn::Set(d, lo), high = hn::Set(d, hi);
  for (; i + lanes <= n; i += lanes) {
    const auto x = hn::LoadU(d, key + i);
    const auto kept = hn::Not(hn::Or(hn::Lt(x, low), hn::Gt(x, high)));
    const std::uint64_t bits = bits_of(d, kept);
    hn::StoreU(compact(d, x, kept, bits), d, key + c);
    c += count_of(bits);
  }
#endif
  for (; i < n; ++i) {
    const std::int32_t x = key[i];
    key[c] = x;
    c += x >= lo && x <= hi;
  }
  return c;
}

/// How many of n keys lie above a cut, and how many at it. `key` has room for a vector past the n.
inline std::array<std::int32_t, 2> count_at(const std::int32_t* key, std::int64_t n, std::int32_t cut) {
  std::int64_t i = 0;
  std::int32_t above = 0, equal = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<std::int32_t> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto limit = hn::Set(d, cut);
  for (; i < n; i += lanes) {
    const auto x = hn::LoadU(d, key + i);
    const std::uint64_t some = first_bits(n - i);
    above += count_of(bits_of(d, hn::Gt(x, limit)) & some);
    equal += count_of(bits_of(d, hn::Eq(x, limit)) & some);
  }
#else
  for (; i < n; ++i) above += key[i] > cut, equal += key[i] == cut;
#endif
  return {above, equal};
}

/// Sorts 64 keys, the highest first: a key's place is the number of keys that go before it.
HWY_INLINE void sort_sample(const std::int32_t* key, std::int32_t* sorted) {
  constexpr int n = 64;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<std::int32_t> d;
  const auto lanes = static_cast<int>(hn::Lanes(d));
  const auto one = hn::Set(d, 1);
  for (int i = 0; i < n; i += lanes) {
    const auto x = hn::LoadU(d, key + i), at = hn::Iota(d, i);
    auto place = hn::Zero(d);
    for (int j = 0; j < n; ++j) {  // of equal keys the first goes first
      const auto y = hn::Set(d, key[j]);
      const auto before = hn::Or(hn::Gt(y, x), hn::And(hn::Eq(y, x), hn::Gt(at, hn::Set(d, j))));
      place = hn::IfThenElse(before, hn::Add(place, one), place);
    }
    std::int32_t to[hn::MaxLanes(d)];
    hn::StoreU(place, d, to);
    for (int j = 0; j < lanes; ++j) sorted[to[j]] = key[i + j];
  }
#else
  std::copy_n(key, n, sorted);
  std::sort(sorted, sorted + n, std::greater<>());
#endif
}

/// A sample of keys, the highest first.
struct Sorted {
  static constexpr std::int64_t size = 64;
  std::int32_t key[size];
  HWY_INLINE Sorted(const std::int32_t* all, std::int64_t n) {
    std::int32_t drawn[size];
    for (std::int64_t j = 0; j < size; ++j) drawn[j] = all[(n - 1) * j / (size - 1)];
    sort_sample(drawn, key);
  }
  /// A key that roughly `k` of n keys exceed, `by` sampled ranks further down.
  std::int32_t near(std::int64_t k, std::int64_t n, std::int64_t by) const {
    return key[std::clamp<std::int64_t>(k * size / (n + 1) + by, 0, size - 1)];
  }
};

/// The k-th highest of n keys, k from 1 to n; overwrites them and needs room for a vector past their end.
inline std::int32_t nth_highest(std::int32_t* key, std::int64_t n, std::int64_t k) {
  constexpr std::int32_t least = std::numeric_limits<std::int32_t>::min();
  constexpr std::int32_t most = std::numeric_limits<std::int32_t>::max();
  while (n > Sorted::size) {
    const Sorted sample(key, n);
    const std::int32_t hi = sample.near(k, n, -8), lo = sample.near(k, n, 8);
    const Outside out = count_outside(key, n, lo, hi);
    const std::int64_t before = n;
    if (k <= out.above) {
      n = keep_between(key, n, hi + 1, most);
    } else if (k > n - out.below) {
      k -= n - out.below;
      n = keep_between(key, n, least, lo - 1);
    } else {
      if (lo == hi) return lo;
      k -= out.above;
      n = keep_between(key, n, lo, hi);
    }
    if (n > before - before / 8) {  // too many are equal
      std::nth_element(key, key + (k - 1), key + n, std::greater<>());
      return key[k - 1];
    }
  }
  std::int32_t all[Sorted::size], sorted[Sorted::size];
  std::fill(std::copy_n(key, n, all), all + Sorted::size, least);
  sort_sample(all, sorted);
  return sorted[k - 1];
}

/// The keys of two ranks, k[0] <= k[1]; first drops what lies far from both. `spare` is as long as `key`, which is
/// overwritten.
inline std::array<std::int32_t, 2> two_highest(std::int32_t* key, std::int32_t* spare, std::int64_t n,
                                               std::array<std::int64_t, 2> k) {
  if (n > 1024) {
    const Sorted sample(key, n);
    const std::int32_t hi = sample.near(k[0], n, -8), lo = sample.near(k[1], n, 8);
    const Outside out = count_outside(key, n, lo, hi);
    if (k[0] > out.above && k[1] <= n - out.below) {
      n = keep_between(key, n, lo, hi);
      for (std::int64_t& rank : k) rank -= out.above;
    }
  }
  std::copy_n(key, n, spare);
  const std::int32_t high = nth_highest(spare, n, k[0]);
  return {high, nth_highest(key, n, k[1])};
}

}  // namespace pcomp::detail::HWY_NAMESPACE
