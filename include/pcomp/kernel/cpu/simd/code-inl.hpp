// Values to packed codes and back, a chunk at a time.
namespace pcomp::detail::HWY_NAMESPACE {

/// The scales of a chunk's groups, and what follows from them. All ranges, then all scales, then all codes: the groups'
/// long dependency chains overlap.
template <codec::CodeCodec C>
HWY_INLINE void fit_chunk(const float* v, std::int64_t count, std::byte* scales,
                          typename CoderTraits<C>::Prepared* prepared) {
  constexpr std::int64_t each = CoderTraits<C>::group();
  const std::int64_t groups = ceil_div(count, each);
  float lo[chunk / each + slack], hi[chunk / each + slack];
  const auto zero = hn::Zero(hn::ScalableTag<float>());
  Seen seen{zero, zero, 0};
  for (std::int64_t g = 0; g < groups; ++g) {
    const codec::Range r = range_of(v + g * each, std::min(count - g * each, each), seen);
    lo[g] = r.lo, hi[g] = r.hi;
  }
  if (seen.may_be_spoilt())
    for (std::int64_t g = 0; g < groups; ++g)
      if (!all_finite_of(v + g * each, std::min(count - g * each, each))) lo[g] = hi[g] = float_nan;
  SimdCoder<C>::fit(lo, hi, groups, scales, prepared);
}

/// Encodes `count` <= chunk values, ranks [first, first + count) of what is sent; `first` is a multiple of `chunk`.
/// `whole` is the scale that all share, if they do.
template <codec::CodeCodec C>
inline void encode_codes(const float* v, std::int64_t count, std::int64_t first, std::byte* codes,
                         std::byte* scales, const typename CoderTraits<C>::Scale* whole,
                         std::uint32_t rng_counter) {
  using T = CoderTraits<C>;
  (void)rng_counter;
  codes += first / pack_block * (pack_block / 8) * T::bits;
  if constexpr (SimdCoder<C>::copies) {
    std::memcpy(codes, v, static_cast<std::size_t>(count) * sizeof(float));
    return;
  }
  constexpr bool grouped = T::group() > 0;
  constexpr std::int64_t each = grouped ? T::group() : chunk;
  typename T::Prepared prepared[chunk / each];
  typename T::Scale scale{};
  if constexpr (grouped) {
    scales += first / each * T::scale_bytes;
    fit_chunk<C>(v, count, scales, prepared);
  } else {
    if (whole) scale = *whole;
    prepared[0] = T::prepare(scale);
  }
  for (std::int64_t b = 0; b < count; b += pack_block) {
    const typename T::Prepared& p = prepared[b / each];
    std::uint32_t seed = 0;
    if constexpr (T::stochastic) {
      if constexpr (grouped) std::memcpy(&scale, scales + b / each * T::scale_bytes, sizeof scale);
      seed = noise_seed(scale, (first + b) / pack_block) ^ rng_counter;
    }
    const std::int64_t r = std::min(count - b, pack_block);
    const float* from = v + b;
    // Prefetch the next chunk while this one is computed.
    for (std::int64_t line = 0; line < pack_block; line += 16) hwy::Prefetch(v + chunk + b + line);
    float rest[pack_block];
    if (r < pack_block) {
      std::fill(std::copy_n(from, r, rest), rest + pack_block, 0.0f);
      from = rest;
    }
    const std::int64_t bytes = block_bytes(r, T::bits);
    if (T::bits == 8 && r == pack_block) {  // one plane: the codes are the bytes
      SimdCoder<C>::encode(from, p, seed, reinterpret_cast<CodeWord<C>*>(codes));
    } else {
      CodeWord<C> code[pack_block];
      SimdCoder<C>::encode(from, p, seed, code);
      if constexpr (T::bits >= 16)
        std::memcpy(codes, code, static_cast<std::size_t>(bytes));
      else
        pack_codes(code, r, T::bits, codes);
    }
    codes += bytes;
  }
}

/// Decodes the values of ranks [first, first + count), where `first` is a multiple of the pack block.
template <codec::CodeCodec C>
inline void decode_codes(const std::byte* codes, const std::byte* scales, std::int64_t first,
                         std::int64_t count, float* out) {
  using T = CoderTraits<C>;
  codes += first / pack_block * (pack_block / 8) * T::bits;
  if constexpr (SimdCoder<C>::copies) {
    std::memcpy(out, codes, static_cast<std::size_t>(count) * sizeof(float));
    return;
  }
  typename T::Scale scale{};
  typename T::Prepared p = T::prepare(scale);
  for (std::int64_t b = 0; b < count; b += pack_block) {
    if constexpr (T::has_scale) {
      const std::int64_t at = T::group() ? (first + b) / std::max<std::int64_t>(T::group(), 1) : 0;
      if (b == 0 || (T::group() && (first + b) % std::max<std::int64_t>(T::group(), 1) == 0)) {
        std::memcpy(&scale, scales + at * T::scale_bytes, sizeof scale);
        p = T::prepare(scale);
      }
    }
    const std::int64_t r = std::min(count - b, pack_block), bytes = block_bytes(r, T::bits);
    if (T::bits == 8 && r == pack_block) {
      SimdCoder<C>::decode(reinterpret_cast<const CodeWord<C>*>(codes), p, out + b);
    } else {
      CodeWord<C> code[pack_block];
      if constexpr (T::bits >= 16)
        std::memcpy(code, codes, static_cast<std::size_t>(bytes));
      else
        unpack_codes(codes, r, T::bits, code);
      if (r == pack_block) {
        SimdCoder<C>::decode(code, p, out + b);
      } else {
        float value[pack_block];
        std::fill(code + r, code + pack_block, CodeWord<C>{0});
        SimdCoder<C>::decode(code, p, value);
        std::copy_n(value, r, out + b);
      }
    }
    codes += bytes;
  }
}

}  // namespace pcomp::detail::HWY_NAMESPACE
