// Quant that rounds to the nearest code.
namespace pcomp::detail::HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR
/// All ones where a double is below zero, in lanes of float width: demotion keeps the sign.
template <class DF, class V>
HWY_INLINE hn::VFromD<hn::RebindToSigned<DF>> is_negative(DF df, V x) {
  return hn::ShiftRight<31>(hn::BitCast(hn::RebindToSigned<DF>(), hn::DemoteTo(df, x)));
}

/// C::fit and C::prepare for `groups` ranges, operation by operation; each array has room for a vector past its end.
template <codec::CodeCodec C>
HWY_INLINE void fit_groups(const float* range_lo, const float* range_hi, std::int64_t groups,
                           std::byte* scales, float* lo_out, float* inverse_out, float* pre_out) {
  const hn::ScalableTag<double> dd;
  const hn::Rebind<float, decltype(dd)> df;
  const hn::RebindToSigned<decltype(df)> di;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(dd));
  constexpr std::int32_t low = 0xffff;
  constexpr float lowest = -truncate_down(float_max, 16);
  const auto dropped = hn::Set(di, low), sign = hn::Set(di, std::numeric_limits<std::int32_t>::min());
  const auto levels = hn::Set(dd, static_cast<double>(C::levels));
  const auto down = [&](auto bits) HWY_ATTR {
    return hn::AndNot(dropped, hn::Add(bits, hn::And(hn::ShiftRight<31>(bits), dropped)));
  };
  for (std::int64_t g = 0; g < groups; g += lanes) {
    const auto from = hn::LoadU(df, range_lo + g), to = hn::LoadU(df, range_hi + g);
    const auto fits = hn::Eq(from, from);  // a spoilt range has a step of 0 and a minimum of NaN
    const auto rounded = hn::Max(hn::BitCast(df, down(hn::BitCast(di, from))), hn::Set(df, lowest));
    const auto lo = hn::IfThenElse(fits, rounded, hn::Set(df, float_nan));
    const auto lo64 = hn::PromoteTo(dd, lo);
    const auto width = hn::Sub(hn::PromoteTo(dd, to), lo64), half = hn::Sub(lo64, hn::PromoteTo(dd, from));
    const auto wanted = hn::Max(hn::Div(width, levels), hn::Add(half, half));
    const auto least = hn::Min(wanted, hn::Set(dd, static_cast<double>(truncate_down(float_max, 16))));
    const auto nearest = hn::DemoteTo(df, least);
    const auto below = is_negative(df, hn::Sub(hn::PromoteTo(dd, nearest), least));
    const auto above = hn::Sub(hn::BitCast(di, nearest), below);
    auto step = hn::BitCast(df, hn::Xor(down(hn::Xor(above, sign)), sign));
    step = hn::Max(step, hn::Set(df, float_min));
    step = hn::And(step, hn::BitCast(df, is_negative(df, hn::Sub(hn::Zero(dd), least))));
    step = hn::IfThenElseZero(fits, step);
    const auto both =
        hn::Or(hn::BitCast(di, step),
               hn::BitCast(di, hn::ShiftRight<16>(hn::BitCast(hn::RebindToUnsigned<decltype(di)>(), lo))));
    std::int32_t stored[hn::MaxLanes(dd)];
    hn::StoreU(both, di, stored);
    std::memcpy(scales + g * 4, stored, static_cast<std::size_t>(std::min(lanes, groups - g)) * 4);

    const auto reach = hn::MulAdd(levels, hn::PromoteTo(dd, step), hn::Abs(lo64));  // the product is exact
    const auto beyond =
        hn::BitCast(df, is_negative(df, hn::Sub(hn::Set(dd, static_cast<double>(float_max)), reach)));
    const auto pre = hn::Or(hn::And(beyond, hn::Set(df, 0.5f)), hn::AndNot(beyond, hn::Set(df, 1.0f)));
    const auto scaled = hn::Mul(step, pre);
    const auto inverse = hn::IfThenElseZero(hn::Gt(scaled, hn::Zero(df)), hn::Div(hn::Set(df, 1.0f), scaled));
    hn::StoreU(hn::Mul(lo, pre), df, lo_out + g);
    hn::StoreU(inverse, df, inverse_out + g);
    hn::StoreU(pre, df, pre_out + g);
  }
}

/// Stochastic rounding is left to the scalar functions.
template <int Bits, class Groups, class Rounding>
  requires(!ops::Quant<Bits, Groups, Rounding>::stochastic)
struct SimdCoder<ops::Quant<Bits, Groups, Rounding>> : ScalarCoder<ops::Quant<Bits, Groups, Rounding>> {
  using C = ops::Quant<Bits, Groups, Rounding>;
  using Prepared = typename C::Prepared;
  using Code = CodeWord<C>;

  static HWY_INLINE void fit(float* lo, float* hi, std::int64_t groups, std::byte* scales,
                             Prepared* prepared) {
    float inverse[chunk / C::group + slack], pre[chunk / C::group + slack];
    std::fill_n(lo + groups, slack, 0.0f), std::fill_n(hi + groups, slack, 0.0f);
    fit_groups<C>(lo, hi, groups, scales, lo, inverse, pre);
    for (std::int64_t g = 0; g < groups; ++g)  // what encode reads
      prepared[g].lo = lo[g], prepared[g].inverse = inverse[g], prepared[g].pre = pre[g];
  }

  struct Number {
    using D = hn::ScalableTag<float>;
    using V = hn::Vec<D>;
    V lo, inverse, levels, pre;
    bool halved;

    HWY_INLINE Number(D d, const Prepared& p)
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
  static HWY_INLINE void encode(const float* v, const Prepared& p, std::uint32_t, Code* code) {
    encode_rounded<Bits>(v, Number(hn::ScalableTag<float>(), p), code);
  }

  static HWY_INLINE void decode(const Code* code, const Prepared& p, float* out) {
    if (!p.within) return ScalarCoder<C>::decode(code, p, out);
    const hn::ScalableTag<float> d;
    const auto lo = hn::Set(d, p.lo), step = hn::Set(d, p.step);
    // The product is exact, so fusing changes nothing.
    decode_rounded(code, out, [&](auto c) HWY_ATTR { return hn::MulAdd(hn::ConvertTo(d, c), step, lo); });
  }
};
#endif

}  // namespace pcomp::detail::HWY_NAMESPACE
