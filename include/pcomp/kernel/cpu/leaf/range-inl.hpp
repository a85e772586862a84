// The range of the finite values.
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

/// The range of the finite values among n, lo > hi if there are none; -0 counts as 0, so that the result does not
/// depend on the order of reading.
HWY_INLINE Range finite_range_of(const float* v, std::int64_t n) {
  constexpr float inf = std::numeric_limits<float>::infinity(), max = std::numeric_limits<float>::max();
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  auto low0 = hn::Set(d, inf), low1 = low0, high0 = hn::Set(d, -inf), high1 = high0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    const auto a = hn::LoadU(d, v + i), b = hn::LoadU(d, v + i + lanes);
    low0 = lower(a, low0), high0 = higher(a, high0);
    low1 = lower(b, low1), high1 = higher(b, high1);
  }
  float lo = hn::GetLane(hn::MinOfLanes(d, lower(low0, low1)));
  float hi = hn::GetLane(hn::MaxOfLanes(d, higher(high0, high1)));
  for (; i < n; ++i) {
    lo = v[i] < lo ? v[i] : lo;
    hi = v[i] > hi ? v[i] : hi;
  }
  if (lo < -max || hi > max) {  // an infinity took part: repeat without
    lo = inf, hi = -inf;
    for (i = 0; i < n; ++i)
      if (v[i] >= -max && v[i] <= max) {
        lo = v[i] < lo ? v[i] : lo;
        hi = v[i] > hi ? v[i] : hi;
      }
  }
  return {lo + 0.0f, hi + 0.0f};
}
inline Range finite_range(const float* v, std::int64_t n) { return finite_range_of(v, n); }

}  // namespace pcomp::detail::HWY_NAMESPACE
