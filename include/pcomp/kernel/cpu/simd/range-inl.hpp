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

/// Whether no lane is a NaN or an infinity.
template <class D, class V>
HWY_INLINE bool is_finite_in(D d, V x) {
  const V none = hn::Sub(x, x);
  return hn::AllTrue(d, hn::Eq(none, none));
}

/// Whether all of n values are finite: a NaN or an infinity times 0 is NaN, and so is every sum with it.
HWY_INLINE bool all_finite_of(const float* v, std::int64_t n) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto zero = hn::Zero(d);
  auto a = zero, b = zero, x = zero, y = zero;
  std::int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    a = hn::MulAdd(hn::LoadU(d, v + i), zero, a);
    b = hn::MulAdd(hn::LoadU(d, v + i + lanes), zero, b);
    x = hn::MulAdd(hn::LoadU(d, v + i + 2 * lanes), zero, x);
    y = hn::MulAdd(hn::LoadU(d, v + i + 3 * lanes), zero, y);
  }
  bool finite = is_finite_in(d, hn::Add(hn::Add(a, b), hn::Add(x, y)));
  for (; i < n; ++i) finite = finite && is_finite(v[i]);
  return finite;
}
inline bool all_finite(const float* v, std::int64_t n) { return all_finite_of(v, n); }

/// The sum of all values seen, in which a NaN or an infinity shows: cheaper than a test of each value.
struct Seen {
  hn::Vec<hn::ScalableTag<float>> a, b;
  float rest;

  /// False is sure; huge values may add up to infinities, too.
  HWY_INLINE bool may_be_spoilt() const {
    return !is_finite(rest) || !is_finite_in(hn::ScalableTag<float>(), hn::Add(a, b));
  }
};

/// The range of n finite values, n > 0, which are added to `seen`; -0 counts as 0, so that the result does not depend on
/// the order of reading. Lowest and highest pass over NaNs.
HWY_INLINE codec::Range range_of(const float* v, std::int64_t n, Seen& seen) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  auto low0 = hn::Set(d, float_inf), low1 = low0, high0 = hn::Set(d, -float_inf), high1 = high0;
  auto sum0 = seen.a, sum1 = seen.b;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    const auto a = hn::LoadU(d, v + i), b = hn::LoadU(d, v + i + lanes);
    low0 = lower(a, low0), high0 = higher(a, high0), sum0 = hn::Add(sum0, a);
    low1 = lower(b, low1), high1 = higher(b, high1), sum1 = hn::Add(sum1, b);
  }
  seen.a = sum0, seen.b = sum1;
  float lo = hn::GetLane(hn::MinOfLanes(d, lower(low0, low1)));
  float hi = hn::GetLane(hn::MaxOfLanes(d, higher(high0, high1)));
  for (; i < n; ++i) {
    lo = v[i] < lo ? v[i] : lo;
    hi = v[i] > hi ? v[i] : hi;
    seen.rest += v[i];
  }
  return {lo + 0.0f, hi + 0.0f};
}
inline codec::Range range(const float* v, std::int64_t n) {
  const auto zero = hn::Zero(hn::ScalableTag<float>());
  Seen seen{zero, zero, 0};
  const codec::Range r = range_of(v, n, seen);
  return seen.may_be_spoilt() && !all_finite_of(v, n) ? spoilt_range : r;
}

}  // namespace pcomp::detail::HWY_NAMESPACE
