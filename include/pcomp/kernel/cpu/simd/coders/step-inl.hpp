// Step.
namespace pcomp::detail::HWY_NAMESPACE {

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

template <class S, int Bits>
struct SimdCoder<ops::lowest::Step<S, Bits>> : ScalarCoder<ops::lowest::Step<S, Bits>> {
  using C = ops::lowest::Step<S, Bits>;
  using Code = CodeWord<C>;

  struct Number {
    using D = hn::ScalableTag<float>;
    using V = hn::Vec<D>;

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
  static HWY_INLINE void encode(const float* v, Nothing, std::uint32_t, Code* code) {
    encode_rounded<Bits>(v, Number(), code);
  }

  static HWY_INLINE void decode(const Code* code, Nothing, float* out) {
    const hn::ScalableTag<float> d;
    const auto bias = hn::Set(hn::Rebind<std::int32_t, decltype(d)>(), C::bias);
    const auto s = hn::Set(d, C::s);
    decode_rounded(code, out,
                   [&](auto c) HWY_ATTR { return hn::Mul(hn::ConvertTo(d, hn::Sub(c, bias)), s); });
    if (any_zero(code))
      for (std::int64_t j = 0; j < pack_block; ++j) out[j] = code[j] ? out[j] : float_nan;
  }
};
#endif

}  // namespace pcomp::detail::HWY_NAMESPACE
