// The key of rank k: selection by compaction.
namespace pcomp::detail::HWY_NAMESPACE {

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
  auto over = hn::Zero(d), under = over;  // minus how many, in each lane
  for (; i + lanes <= n; i += lanes) {
    const auto x = hn::LoadU(d, key + i);
    over = hn::Add(over, hn::VecFromMask(d, hn::Gt(x, high)));
    under = hn::Add(under, hn::VecFromMask(d, hn::Lt(x, low)));
  }
  above = -hn::GetLane(hn::SumOfLanes(d, over)), below = -hn::GetLane(hn::SumOfLanes(d, under));
#endif
  for (; i < n; ++i) above += key[i] > hi, below += key[i] < lo;
  return {above, below};
}

/// Writes the keys in [lo, hi] to `to`, which may be `key` and has room for a vector past them; returns how many. With
/// `sparse` most vectors hold none.
template <bool sparse = false>
HWY_INLINE std::int64_t keep_between(const std::int32_t* key, std::int64_t n, std::int32_t lo,
                                     std::int32_t hi, std::int32_t* to) {
  std::int64_t c = 0, i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<std::int32_t> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto low = hn::Set(d, lo), high = hn::Set(d, hi);
  for (; i + lanes <= n; i += lanes) {
    const auto x = hn::LoadU(d, key + i);
    const auto kept = hn::Not(hn::Or(hn::Lt(x, low), hn::Gt(x, high)));
    const std::uint64_t bits = bits_of(d, kept);
    if (sparse && !bits) continue;
    hn::StoreU(compact(d, x, kept, bits), d, to + c);
    c += count_of(bits);
  }
#endif
  for (; i < n; ++i) {
    const std::int32_t x = key[i];
    to[c] = x;
    c += x >= lo && x <= hi;
  }
  return c;
}

/// How many of n keys lie above a key, and how many at it.
inline std::array<std::int32_t, 2> count_at(const std::int32_t* key, std::int64_t n, std::int32_t cut) {
  std::int64_t i = 0;
  std::int32_t above = 0, equal = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<std::int32_t> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto limit = hn::Set(d, cut);
  auto over = hn::Zero(d), at = over;  // minus how many, in each lane
  for (; i + lanes <= n; i += lanes) {
    const auto x = hn::LoadU(d, key + i);
    over = hn::Add(over, hn::VecFromMask(d, hn::Gt(x, limit)));
    at = hn::Add(at, hn::VecFromMask(d, hn::Eq(x, limit)));
  }
  above = -hn::GetLane(hn::SumOfLanes(d, over)), equal = -hn::GetLane(hn::SumOfLanes(d, at));
#endif
  for (; i < n; ++i) above += key[i] > cut, equal += key[i] == cut;
  return {above, equal};
}
HWY_INLINE std::int64_t count_above(const std::int32_t* key, std::int64_t n, std::int32_t cut) {
  std::int64_t i = 0, above = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<std::int32_t> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto limit = hn::Set(d, cut);
  auto a = hn::Zero(d), b = a;
  for (; i + 4 * lanes <= n; i += 4 * lanes)
    for (std::int64_t j = i; j < i + 4 * lanes; j += 2 * lanes) {
      a = hn::Add(a, hn::VecFromMask(d, hn::Gt(hn::LoadU(d, key + j), limit)));
      b = hn::Add(b, hn::VecFromMask(d, hn::Gt(hn::LoadU(d, key + j + lanes), limit)));
    }
  above = -hn::GetLane(hn::SumOfLanes(d, hn::Add(a, b)));
#endif
  for (; i < n; ++i) above += key[i] > cut;
  return above;
}

/// Sorts 64 keys, the highest first: a key's place is the number of keys that go before it, of equal ones those before.
HWY_INLINE void sort_sample(const std::int32_t* key, std::int32_t* sorted) {
  constexpr int n = 64;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<std::int32_t> d;
  constexpr auto lanes = static_cast<int>(hn::MaxLanes(d));
  for (int i = 0; i < n; i += lanes) {
    const auto x = hn::LoadU(d, key + i), at = hn::Iota(d, i);
    auto lower = hn::Zero(d),
         higher = lower;  // minus how many keys, among those before, at and after the vector
    for (int j = 0; j < i; ++j) lower = hn::Add(lower, hn::VecFromMask(d, hn::Gt(x, hn::Set(d, key[j]))));
    for (int j = i; j < i + lanes; ++j) {
      const auto y = hn::Set(d, key[j]);
      const auto before = hn::Or(hn::Gt(y, x), hn::And(hn::Eq(y, x), hn::Gt(at, hn::Set(d, j))));
      higher = hn::Add(higher, hn::VecFromMask(d, before));
    }
    for (int j = i + lanes; j < n; ++j)
      higher = hn::Add(higher, hn::VecFromMask(d, hn::Gt(hn::Set(d, key[j]), x)));
    std::int32_t to[lanes];
    hn::StoreU(hn::Sub(hn::Add(hn::Set(d, i), lower), higher), d, to);
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
    for (std::int64_t j = 0; j < size; ++j) drawn[j] = all[(n - 1) / (size - 1) * j];
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
      n = keep_between(key, n, hi + 1, most, key);
    } else if (k > n - out.below) {
      k -= n - out.below;
      n = keep_between(key, n, least, lo - 1, key);
    } else {
      if (lo == hi) return lo;
      k -= out.above;
      n = keep_between(key, n, lo, hi, key);
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

/// The same for keys in (lo, hi], or of which `above` lie above hi and `upto` above lo: 0 and n where all lie between.
/// The ends close in on the rank: each step counts a little beside the place where it would be among evenly spread keys.
inline std::int32_t nth_between(std::int32_t* key, std::int64_t n, std::int64_t k, std::int64_t lo,
                                std::int64_t hi) {
  constexpr std::int64_t few = Sorted::size, beside = few / 4;
  std::int64_t above = 0, upto = n;
  for (int step = 0; step < 10 && upto - above > few; ++step) {
    if (hi - lo == 1) return static_cast<std::int32_t>(hi);  // they are equal
    const std::int64_t aim = std::clamp(k + (step % 2 ? beside : -beside), above + 1, upto - 1);
    const double part = static_cast<double>(aim - above) / static_cast<double>(upto - above);
    const auto down = static_cast<std::int64_t>(part * static_cast<double>(hi - lo));
    const std::int64_t guess = hi - std::clamp<std::int64_t>(down, 1, hi - lo - 1);
    const std::int64_t over = count_above(key, n, static_cast<std::int32_t>(guess));
    if (over < k)
      hi = guess, above = over;
    else
      lo = guess, upto = over;
  }
  if (upto - above > few) return nth_highest(key, n, k);
  std::int32_t left[few + slack], sorted[few];
  keep_between<true>(key, n, static_cast<std::int32_t>(lo + 1), static_cast<std::int32_t>(hi), left);
  std::fill(left + (upto - above), left + few, std::numeric_limits<std::int32_t>::min());
  sort_sample(left, sorted);
  return sorted[k - above - 1];
}

/// The keys of two ranks, k[0] <= k[1]; first drops what lies far from both. `spare` is as long as `key`, which is
/// overwritten.
inline std::array<std::int32_t, 2> two_highest(std::int32_t* key, std::int32_t* spare, std::int64_t n,
                                               std::array<std::int64_t, 2> k) {
  std::int64_t below = std::int64_t{std::numeric_limits<std::int32_t>::min()} - 1,
               top = std::numeric_limits<std::int32_t>::max();
  if (n > 1024) {
    const Sorted sample(key, n);
    const std::int32_t hi = sample.near(k[0], n, -8), lo = sample.near(k[1], n, 8);
    const Outside out = count_outside(key, n, lo, hi);
    if (k[0] > out.above && k[1] <= n - out.below) {
      n = keep_between(key, n, lo, hi, key);
      for (std::int64_t& rank : k) rank -= out.above;
      below = std::int64_t{lo} - 1, top = hi;
    }
  }
  std::copy_n(key, n, spare);
  const std::int32_t high = nth_between(spare, n, k[0], below, top);
  return {high, nth_between(key, n, k[1], below, top)};
}

}  // namespace pcomp::detail::HWY_NAMESPACE
