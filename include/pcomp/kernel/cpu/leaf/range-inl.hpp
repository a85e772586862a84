// The range of some values, and whether all are finite.
namespace pcomp::detail::HWY_NAMESPACE {

// x where it is lower (higher), else the other, also where x is NaN.
template <class V>
HWY_INLINE V lower(V x, V low) {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
  return hn::Min(x, low);  // MINPS returns its second operand for NaN
#else
  return hn::IfThenElse(hn::Lt(x, low), x, low);
#endif
}
template <class V>
HWY_INLINE V higher(V x, V high) {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
  return hn::Max(x, high);
#else
  return hn::IfThenElse(hn::Gt(x, high), x, high);
#endif
}

/// Whether all of n values are finite: a NaN or an infinity times 0 is NaN, and so is every sum with it.
HWY_INLINE bool all_finite_of(const float* v, std::int64_t n) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto zero = hn::Zero(d);
  auto sum = zero;
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) sum = hn::MulAdd(hn::LoadU(d, v + i), zero, sum);
  bool finite = hn::AllTrue(d, hn::Eq(sum, sum));
  for (; i < n; ++i) finite = finite && is_finite(v[i]);
  return finite;
}
inline bool all_finite(const float* v, std::int64_t n) { return all_finite_of(v, n); }

/// The range of n values, n > 0; -0 counts as 0, so that the result does not depend on the order of reading. Lowest and
/// highest pass over NaNs; those show in a sum, which is cheaper than a test of each value.
HWY_INLINE Range range_of(const float* v, std::int64_t n) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  auto low0 = hn::Set(d, float_inf), low1 = low0, high0 = hn::Set(d, -float_inf), high1 = high0;
  auto sum0 = hn::Zero(d), sum1 = sum0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    const auto a = hn::LoadU(d, v + i), b = hn::LoadU(d, v + i + lanes);
    low0 = lower(a, low0), high0 = higher(a, high0), sum0 = hn::Add(sum0, a);
    low1 = lower(b, low1), high1 = higher(b, high1), sum1 = hn::Add(sum1, b);
  }
  const auto sum = hn::Add(sum0, sum1);
  float lo = hn::GetLane(hn::MinOfLanes(d, lower(low0, low1)));
  float hi = hn::GetLane(hn::MaxOfLanes(d, higher(high0, high1)));
  float rest = 0;
  for (; i < n; ++i) {
    lo = v[i] < lo ? v[i] : lo;
    hi = v[i] > hi ? v[i] : hi;
    rest += v[i];
  }
  if (lo < -float_max || hi > float_max) return spoilt_range;
  // Huge values may add up to infinities of both signs.
  if ((rest != rest || !hn::AllTrue(d, hn::Eq(sum, sum))) && !all_finite_of(v, n)) return spoilt_range;
  return {lo + 0.0f, hi + 0.0f};
}
inline Range range(const float* v, std::int64_t n) { return range_of(v, n); }

}  // namespace pcomp::detail::HWY_NAMESPACE
