// Widening from and narrowing to the 16-bit float formats.
namespace pcomp::detail::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline void widen_bf16(const std::uint16_t* in, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = from_bf16(in[i]);
}
inline void narrow_bf16(const float* in, std::int64_t n, std::uint16_t* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = to_bf16(in[i]);
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
  std::int64_t i = 0;
#if PCOMP_BMI2
  const hn::ScalableTag<float> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> d16;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto* half = reinterpret_cast<hwy::float16_t*>(out);
  const hn::RebindToSigned<decltype(d)> di;
  auto most = hn::Zero(di);
  for (; i + lanes <= n; i += lanes) {
    const auto x = hn::LoadU(d, in + i);
    most = hn::Max(most, hn::BitCast(di, hn::Abs(x)));
    hn::StoreU(hn::DemoteTo(d16, x), d16, half + i);
  }
  // The instruction makes infinities of values from 65520 on: then all again, one by one.
  if (!hn::AllTrue(di, hn::Lt(most, hn::Set(di, 0x477ff000)))) i = 0;
#endif
  for (; i < n; ++i) out[i] = to_half(in[i]);
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
