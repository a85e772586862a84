// Values to packed codes and back, a chunk at a time.
namespace pcomp::detail::HWY_NAMESPACE {

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

/// Codes as floats, before they are converted to integers: for hand-written coders, the arithmetic of their `encode`.
/// On x86 numbers outside the range of the codes stand for the nearest code and NaN for 0: the conversion saturates.
template <codec::CodeCodec C, class D>
struct Numbers;

template <codec::CodeCodec C, class D>
  requires is_affine<C>
struct Numbers<C, D> {
  using V = hn::Vec<D>;
  V lo, inverse, levels, pre;
  bool halved;

  HWY_INLINE Numbers(D d, const typename CoderTraits<C>::Prepared& p)
      : lo(hn::Set(d, p.lo)),
        inverse(hn::Set(d, p.inverse)),
        levels(hn::Set(d, C::levels)),
        pre(hn::Set(d, p.pre)),
        halved(p.pre != 1) {}
  HWY_INLINE V operator()(D d, const float* v) const {
    V x = hn::LoadU(d, v);
    if (halved) x = hn::Mul(x, pre);
    const V number = hn::Mul(hn::Sub(x, lo), inverse);
#if PCOMP_BMI2
    return (void)d, number;
#else
    return hn::Min(higher(number, hn::Zero(d)), levels);
#endif
  }
};

template <codec::CodeCodec C, class D>
  requires is_step<C>
struct Numbers<C, D> {
  using V = hn::Vec<D>;

  HWY_INLINE Numbers(D, const typename CoderTraits<C>::Prepared&) {}
  HWY_INLINE V operator()(D d, const float* v) const {
    const V x = hn::LoadU(d, v), least = hn::Set(d, C::least);
    const V bias =
        hn::MulAdd(x, hn::Zero(d), hn::Set(d, static_cast<float>(C::bias)));  // NaN where x is not finite
    const V t = hn::Min(hn::Max(hn::Mul(x, hn::Set(d, 1 / C::s)), least), hn::Set(d, C::most));
    const V nearest = hn::Round(t);
    const V above = hn::IfThenElseZero(hn::Gt(hn::Mul(nearest, hn::Set(d, C::s)), x), hn::Set(d, 1.0f));
    const V number = hn::Add(hn::Max(hn::Sub(nearest, above), least), bias);
#if PCOMP_BMI2
    return number;
#else
    return higher(number, hn::Zero(d));
#endif
  }
};

/// Encodes a block of 128 values, one code per word: by hand for most coders, others as the compiler vectorises them.
template <codec::CodeCodec C>
HWY_INLINE void encode_block(const float* v, const typename CoderTraits<C>::Prepared& p, std::uint32_t seed,
                             CodeWord<C>* code) {
  using T = CoderTraits<C>;
  if constexpr ((is_affine<C> || is_step<C>)&&HWY_TARGET != HWY_SCALAR) {
    const hn::ScalableTag<float> d;
    const hn::Rebind<std::int32_t, decltype(d)> di;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const Numbers<C, hn::ScalableTag<float>> number(d, p);
#if PCOMP_BMI2
    if constexpr (C::bits <= 8) {
      for (std::int64_t j = 0; j < pack_block; j += 4 * lanes) {
        const hn::Vec<decltype(di)> whole[4] = {
            to_nearest(number(d, v + j)), to_nearest(number(d, v + j + lanes)),
            to_nearest(number(d, v + j + 2 * lanes)), to_nearest(number(d, v + j + 3 * lanes))};
        store_bytes<(1 << C::bits) - 1>(di, whole, code + j);
      }
      return;
    }
#endif
    const hn::Rebind<CodeWord<C>, decltype(d)> dc;
    for (std::int64_t j = 0; j < pack_block; j += lanes) {
#if PCOMP_BMI2
      const auto whole = to_nearest(number(d, v + j));
#else  // rounded to even, in the float's low bits
      const auto whole =
          hn::And(hn::BitCast(di, hn::Add(number(d, v + j), hn::Set(d, 8388608.0f))), hn::Set(di, 0xffff));
#endif
      hn::StoreU(hn::DemoteTo(dc, whole), dc, code + j);
    }
  } else if constexpr (std::is_same_v<C, ops::Half>) {
    narrow_f16(v, pack_block, code);
  } else if constexpr (std::is_same_v<C, ops::BFloat16>) {
    narrow_bf16(v, pack_block, code);
  } else {
    for (std::uint32_t j = 0; j < pack_block; ++j) {
      float noise = 0;
      if constexpr (T::stochastic)
        noise = static_cast<float>(static_cast<std::int32_t>(mix(seed + j * 0x9e3779b9u) >> 8)) * 0x1p-24f;
      code[j] = static_cast<CodeWord<C>>(T::encode(v[j], p, noise));
    }
  }
}

#if HWY_TARGET != HWY_SCALAR
/// Whether a block has a code 0.
template <class Code>
HWY_INLINE bool any_zero(const Code* code) {
  const hn::CappedTag<Code, pack_block / 4> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto least = hn::LoadU(d, code);
  for (std::int64_t j = lanes; j < pack_block; j += lanes) least = hn::Min(least, hn::LoadU(d, code + j));
  return !hn::AllFalse(d, hn::Eq(least, hn::Zero(d)));
}
#endif

template <codec::CodeCodec C>
HWY_INLINE void decode_block(const CodeWord<C>* code, const typename CoderTraits<C>::Prepared& p,
                             float* out) {
  using T = CoderTraits<C>;
  if constexpr ((is_affine<C> || is_step<C>)&&HWY_TARGET != HWY_SCALAR) {
    const hn::ScalableTag<float> d;
    const hn::Rebind<std::int32_t, decltype(d)> di;
    const hn::Rebind<CodeWord<C>, decltype(d)> dc;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const auto each = [&](auto&& value) HWY_ATTR {
      for (std::int64_t j = 0; j < pack_block; j += lanes)
        hn::StoreU(value(hn::PromoteTo(di, hn::LoadU(dc, code + j))), d, out + j);
    };
    if constexpr (is_step<C>) {
      const auto bias = hn::Set(di, C::bias);
      const auto s = hn::Set(d, C::s);
      each([&](auto c) HWY_ATTR { return hn::Mul(hn::ConvertTo(d, hn::Sub(c, bias)), s); });
      if (any_zero(code))
        for (std::int64_t j = 0; j < pack_block; ++j) out[j] = code[j] ? out[j] : float_nan;
      return;
    } else if (p.within) {
      const auto lo = hn::Set(d, p.lo), step = hn::Set(d, p.step);
      // The product is exact, so fusing changes nothing.
      return each([&](auto c) HWY_ATTR { return hn::MulAdd(hn::ConvertTo(d, c), step, lo); });
    }
  }
  if constexpr (std::is_same_v<C, ops::Half>)
    widen_f16(code, pack_block, out);
  else
    for (std::int64_t j = 0; j < pack_block; ++j) out[j] = T::decode(code[j], p);
}

/// Encodes `count` <= chunk values, ranks [first, first + count) of what is sent; `first` is a multiple of `chunk`.
template <codec::CodeCodec C>
inline void encode_codes(const float* v, std::int64_t count, std::int64_t first, std::byte* codes,
                         std::byte* scales, const typename CoderTraits<C>::Scale* whole,
                         std::uint32_t rng_counter) {
  using T = CoderTraits<C>;
  (void)rng_counter;
  codes += first / pack_block * (pack_block / 8) * T::bits;
  if constexpr (std::is_same_v<C, ops::Float32>) {
    std::memcpy(codes, v, static_cast<std::size_t>(count) * sizeof(float));
    return;
  }
  constexpr std::int64_t each = T::has_scale && T::group() > 0 ? T::group() : chunk;
  typename T::Scale scale[chunk / each];
  typename T::Prepared prepared[chunk / each];
  if constexpr (each < chunk || (T::has_scale && T::group() > 0)) {
    // All ranges, then all scales, then all codes: the groups' long dependency chains overlap.
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
    if constexpr (fits_in_vectors<C>) {
      float inverse[chunk / each + slack], pre[chunk / each + slack];
      std::fill_n(lo + groups, slack, 0.0f), std::fill_n(hi + groups, slack, 0.0f);
      fit_groups<C>(lo, hi, groups, scales + first / each * T::scale_bytes, lo, inverse, pre);
      for (std::int64_t g = 0; g < groups; ++g)
        prepared[g].lo = lo[g], prepared[g].inverse = inverse[g], prepared[g].pre = pre[g];
    } else {
      for (std::int64_t g = 0; g < groups; ++g) {
        scale[g] = T::fit({lo[g], hi[g]});
        prepared[g] = T::prepare(scale[g]);
      }
      std::memcpy(scales + first / each * T::scale_bytes, scale,
                  static_cast<std::size_t>(groups * T::scale_bytes));
    }
  } else {
    if (whole)
      scale[0] = *whole;
    else
      scale[0] = {};
    prepared[0] = T::prepare(scale[0]);
  }
  for (std::int64_t b = 0; b < count; b += pack_block) {
    const typename T::Prepared& p = prepared[b / each];
    std::uint32_t seed = 0;
    if constexpr (T::stochastic) seed = noise_seed(scale[b / each], (first + b) / pack_block) ^ rng_counter;
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
      encode_block<C>(from, p, seed, reinterpret_cast<CodeWord<C>*>(codes));
    } else {
      CodeWord<C> code[pack_block];
      encode_block<C>(from, p, seed, code);
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
  if constexpr (std::is_same_v<C, ops::Float32>) {
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
      decode_block<C>(reinterpret_cast<const CodeWord<C>*>(codes), p, out + b);
    } else {
      CodeWord<C> code[pack_block];
      if constexpr (T::bits >= 16)
        std::memcpy(code, codes, static_cast<std::size_t>(bytes));
      else
        unpack_codes(codes, r, T::bits, code);
      if (r == pack_block) {
        decode_block<C>(code, p, out + b);
      } else {
        float value[pack_block];
        std::fill(code + r, code + pack_block, CodeWord<C>{0});
        decode_block<C>(code, p, value);
        std::copy_n(value, r, out + b);
      }
    }
    codes += bytes;
  }
}

}  // namespace pcomp::detail::HWY_NAMESPACE
