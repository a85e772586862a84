// Counting and compacting by score.
namespace pcomp::detail::HWY_NAMESPACE {

/// Scores as signed keys of the same order; a magnitude is one already.
template <codec::SelectCodec S>
HWY_INLINE std::int32_t key_of(float x, std::int64_t i) {
  return as_key<S>(score_of<S>(x, i));
}

#if HWY_TARGET != HWY_SCALAR
template <codec::SelectCodec S, class DI>
HWY_INLINE hn::Vec<DI> keys_of(DI d, const float* v, std::int64_t first) {
  if constexpr (is_magnitude<S>) {
    return (void)first,
           hn::And(hn::LoadU(d, reinterpret_cast<const std::int32_t*>(v)), hn::Set(d, 0x7fffffff));
  } else {
    std::int32_t key[hn::MaxLanes(DI())];
    for (std::size_t j = 0; j < hn::Lanes(d); ++j)
      key[j] = key_of<S>(v[j], first + static_cast<std::int64_t>(j));
    return hn::LoadU(d, key);
  }
}
#endif

template <codec::SelectCodec S>
inline void write_keys(const float* v, std::int64_t first, std::int64_t n, std::int32_t* key) {
  std::int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<std::int32_t> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  if constexpr (is_magnitude<S>)
    for (; i + lanes <= n; i += lanes) hn::StoreU(keys_of<S>(d, v + i, first), d, key + i);
#endif
  for (; i < n; ++i) key[i] = key_of<S>(v[i], first + i);
}

/// Counts keys above a bracket and gathers those in (lo, hi], with room for a vector past them; returns both counts.
template <codec::SelectCodec S>
inline std::array<std::int32_t, 2> split(const float* v, std::int64_t first, std::int64_t n, std::int32_t lo,
                                         std::int32_t hi, std::int32_t* inside) {
  std::int32_t above = 0, in = 0;
  std::int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<std::int32_t> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto low = hn::Set(d, lo), high = hn::Set(d, hi);
  for (; i + lanes <= n; i += lanes) {
    hwy::Prefetch(v + i + chunk);
    const auto key = keys_of<S>(d, v + i, first + i);
    const auto over = hn::Gt(key, high);
    const auto within = hn::And(hn::Gt(key, low), hn::Not(over));
    above += count_of(bits_of(d, over));
    const std::uint64_t bits = bits_of(d, within);
    hn::StoreU(compact(d, key, within, bits), d, inside + in);
    in += count_of(bits);
  }
#endif
  for (; i < n; ++i) {
    const std::int32_t key = key_of<S>(v[i], first + i);
    above += key > hi;
    inside[in] = key;
    in += key > lo && key <= hi;
  }
  return {above, in};
}

/// How many of n keys equal each of two values.
template <codec::SelectCodec S>
inline std::array<std::int32_t, 2> count_equal(const float* v, std::int64_t first, std::int64_t n,
                                               std::int32_t a, std::int32_t b) {
  std::int32_t at_a = 0, at_b = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int32_t key = key_of<S>(v[i], first + i);
    at_a += key == a;
    at_b += key == b;
  }
  return {at_a, at_b};
}

/// Writes the values of the survivors of n elements and their mask, 64 per word; returns how many. All above the cut
/// survive, and the first `ties` that equal it. `value` has room for a vector past the survivors.
template <codec::SelectCodec S>
inline std::int64_t compact_piece(const float* v, std::int64_t first, std::int64_t n, std::int32_t cut,
                                  std::int64_t ties, bool all_ties, float* value, std::uint64_t* mask) {
  std::int64_t c = 0, i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<std::int32_t> d;
  if (ties == 0 || all_ties) {
    const auto limit = hn::Set(d, cut);
    const auto test = [&](std::int64_t j) HWY_ATTR {
      const auto key = keys_of<S>(d, v + i + j, first + i + j);
      return ties == 0 ? hn::Gt(key, limit) : hn::Not(hn::Gt(limit, key));
    };
    for (std::uint64_t* word = mask; i + 64 <= n; i += 64) {
      prefetch_word(v + i);
      compact_word(d, v + i, test, value, nullptr, c, word++);
    }
  }
#endif
  for (std::uint64_t word = 0; i < n; ++i) {
    const std::int32_t key = key_of<S>(v[i], first + i);
    const bool tie = key == cut && ties > 0;
    ties -= tie && !all_ties;
    const bool kept = key > cut || tie;
    value[c] = v[i];
    c += kept;
    word |= std::uint64_t{kept} << (i % 64);
    if (i % 64 == 63 || i + 1 == n) {
      mask[i / 64] = word;
      word = 0;
    }
  }
  return c;
}

/// One piece of the only sweep: writes what lies above `lo` as gather_above does, and the keys in (lo, hi]; returns how
/// many lie above `lo`, above `hi`, and inside.
template <codec::SelectCodec S>
inline std::array<std::int32_t, 3> sweep(const float* v, std::int64_t n, std::int32_t lo, std::int32_t hi,
                                         float* value, std::uint64_t* mask, std::uint8_t* place,
                                         std::int32_t* inside) {
  const std::int64_t c = gather_above<false>(v, n, lo, value, mask, place);
  std::int64_t in = 0, i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<std::int32_t> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto high = hn::Set(d, hi);
  const auto step = [&](std::uint64_t some) HWY_ATTR {
    const auto key = keys_of<S>(d, value + i, 0);
    const auto within = hn::Not(hn::Gt(key, high));
    const std::uint64_t bits = bits_of(d, within) & some;
    hn::StoreU(compact(d, key, within, bits), d, inside + in);
    in += count_of(bits);
  };
  for (; i + lanes <= c; i += lanes) step(~std::uint64_t{0});
  if (i < c) step(first_bits(c - i)), i = c;
#endif
  for (; i < c; ++i) {
    inside[in] = key_of<S>(value[i], 0);
    in += inside[in] <= hi;
  }
  return {static_cast<std::int32_t>(c), static_cast<std::int32_t>(c - in), static_cast<std::int32_t>(in)};
}

/// Moves the bits of `bits`, from the lowest, to the positions of the ones of `mask`.
HWY_INLINE std::uint64_t deposit(std::uint64_t bits, std::uint64_t mask) {
#if PCOMP_BMI2
  return _pdep_u64(bits, mask);
#else
  std::uint64_t placed = 0;
  for (; mask; mask &= mask - 1, bits >>= 1)
    if (bits & 1) placed |= mask & (~mask + 1);
  return placed;
#endif
}

/// Writes those of `count` values that survive, with their places where there are any, and their mask, made from the
/// mask of all; returns how many. All above the cut survive, and the first `ties` that equal it. A vector past the values
/// and places may be read.
template <codec::SelectCodec S>
inline std::int64_t narrow(const float* v, const std::uint8_t* place, std::int64_t count, std::int32_t cut,
                           std::int64_t ties, bool all_ties, const std::uint64_t* mask, std::int64_t words,
                           float* value, std::uint8_t* kept_place, std::uint64_t* kept) {
  std::uint64_t survives[chunk / 64 + 2];
  const std::int64_t c = is_magnitude<S> && (ties == 0 || all_ties)
                             ? gather_above<true>(v, count, ties ? cut - 1 : cut, value, survives, nullptr)
                             : compact_piece<S>(v, 0, count, cut, ties, all_ties, value, survives);
  std::fill_n(survives + ceil_div(count, 64), 2, std::uint64_t{0});
  if (place) compact_places(place, count, survives, kept_place);
  const auto* byte = reinterpret_cast<const std::byte*>(survives);
  std::uint64_t at = 0;
  for (std::int64_t w = 0; w < words; ++w) {
    const auto some = static_cast<std::uint64_t>(std::popcount(mask[w]));
    std::uint64_t bits;
    std::memcpy(&bits, byte + at / 8, 8);
    bits >>= at % 8;
    if (some > 57) bits |= std::to_integer<std::uint64_t>(byte[at / 8 + 8]) << 1 << (63 - at % 8);
    kept[w] = deposit(bits, mask[w]);
    at += some;
  }
  return c;
}

/// compact_piece for a short segment, whose k survivors are found here; ORs their bits in from bit `at` on.
template <codec::SelectCodec S>
inline std::int64_t compact_short(const float* v, std::int64_t first, std::int64_t n, std::int64_t k,
                                  std::int64_t at, float* value, std::uint64_t* mask) {
  std::int32_t key[chunk + slack], order[chunk + slack];
  write_keys<S>(v, first, n, key);
  std::copy_n(key, n, order);
  const std::int32_t cut = nth_highest(order, n, k);
  std::int64_t above = 0, equal = 0;
  for (std::int64_t i = 0; i < n; ++i) above += key[i] > cut, equal += key[i] == cut;
  std::uint64_t word[chunk / 64];
  const std::int64_t c = compact_piece<S>(v, first, n, cut, k - above, k - above == equal, value, word);
  for (std::int64_t w = 0; w * 64 < n; ++w) {
    mask[(at + w * 64) / 64] |= word[w] << (at % 64);
    if (at % 64 && word[w] >> (64 - at % 64)) mask[(at + w * 64) / 64 + 1] |= word[w] >> (64 - at % 64);
  }
  return c;
}

}  // namespace pcomp::detail::HWY_NAMESPACE
