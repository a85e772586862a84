// Widening from and narrowing to the 16-bit float formats.
namespace pcomp::detail::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline void widen_bf16(const std::uint16_t* in, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = from_bf16(in[i]);
}
/// Narrows blocks of values by `fast`, which is right below the square root of `limit`; a block with a larger sum of
/// squares than that, or with a NaN, again by `sure`. Values and sum share the loads.
template <class Fast, class Sure>
HWY_INLINE void narrow_blocks(const float* in, std::int64_t n, float limit, Fast&& fast, Sure&& sure) {
  std::int64_t i = 0;
#if PCOMP_BMI2
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr std::int64_t block = 128;
  for (; i + 2 * lanes <= n;) {
    const std::int64_t begin = i, end = std::min(i + block, n);
    auto squares0 = hn::Zero(d), squares1 = squares0;
    for (; i + 2 * lanes <= end; i += 2 * lanes) {
      const auto x = hn::LoadU(d, in + i), y = hn::LoadU(d, in + i + lanes);
      squares0 = hn::MulAdd(x, x, squares0), squares1 = hn::MulAdd(y, y, squares1);
      fast(d, x, y, i);
    }
    if (!hn::AllTrue(d, hn::Lt(hn::Add(squares0, squares1), hn::Set(d, limit)))) sure(begin, i);
  }
#endif
  static_cast<void>(in), static_cast<void>(fast), static_cast<void>(limit);
  sure(i, n);
}

inline void narrow_bf16(const float* in, std::int64_t n, std::uint16_t* out) {
  narrow_blocks(
      in, n, float_inf,
      [&](auto d, auto x, auto y, std::int64_t i) HWY_ATTR {
        const hn::RebindToUnsigned<decltype(d)> du;
        const hn::Repartition<std::uint16_t, decltype(d)> d16;
        const auto rounded = [&](auto v) HWY_ATTR {
          const auto u = hn::BitCast(du, v);
          const auto odd = hn::And(hn::ShiftRight<16>(u), hn::Set(du, 1u));
          return hn::ShiftRight<16>(hn::Add(hn::Add(u, hn::Set(du, 0x7fffu)), odd));
        };
        const hn::Half<decltype(d16)> half;
        const hn::RebindToSigned<decltype(du)> di;
        hn::StoreU(hn::DemoteTo(half, hn::BitCast(di, rounded(x))), half, out + i);
        hn::StoreU(hn::DemoteTo(half, hn::BitCast(di, rounded(y))), half,
                   out + i + static_cast<std::int64_t>(hn::Lanes(d)));
      },
      [&](std::int64_t begin, std::int64_t end) HWY_ATTR {
        for (std::int64_t i = begin; i < end; ++i) out[i] = to_bf16(in[i]);
      });
}

inline void widen_f16(const std::uint16_t* in, std::int64_t n, float* out) {
  std::int64_t i = 0;
#if PCOMP_BMI2
  const hn::ScalableTag<float> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> d16;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto* half = reinterpret_cast<const hwy::float16_t*>(in);
  for (; i + lanes <= n; i += lanes) hn::StoreU(hn::PromoteTo(d, hn::LoadU(d16, half + i)), d, out + i);
#endif
  for (; i < n; ++i) out[i] = from_half(in[i]);
}
inline void narrow_f16(const float* in, std::int64_t n, std::uint16_t* out) {
  narrow_blocks(
      in, n, 65504.0f * 65504.0f,  // the instruction makes infinities of values from 65520 on
      [&](auto d, auto x, auto y, std::int64_t i) HWY_ATTR {
        const hn::Rebind<hwy::float16_t, decltype(d)> d16;
        auto* half = reinterpret_cast<hwy::float16_t*>(out);
        hn::StoreU(hn::DemoteTo(d16, x), d16, half + i);
        hn::StoreU(hn::DemoteTo(d16, y), d16, half + i + static_cast<std::int64_t>(hn::Lanes(d)));
      },
      [&](std::int64_t begin, std::int64_t end) HWY_ATTR {
        for (std::int64_t i = begin; i < end; ++i) out[i] = to_half(in[i]);
      });
}

/// Copies with non-temporal stores where vectors are aligned.
inline void copy_past_caches(const float* in, std::int64_t n, float* out) {
  std::int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  if (reinterpret_cast<std::uintptr_t>(out) % (sizeof(float) * hn::Lanes(d)) == 0)
    for (; i + lanes <= n; i += lanes) hn::Stream(hn::LoadU(d, in + i), d, out + i);
#endif
  std::copy_n(in + i, n - i, out + i);
}

}  // namespace pcomp::detail::HWY_NAMESPACE
