// Multiplies blocks of elements by the Walsh-Hadamard matrix.
namespace pcomp::detail::HWY_NAMESPACE {

/// Sums and differences of elements 1, 2, 4, ... apart, in this order.
template <int N, class T>
void plain_butterflies(T* y) {
  for (int h = 1; h < N; h *= 2)
    for (int i = 0; i < N; ++i)
      if (!(i & h)) {
        const T a = y[i], b = y[i + h];
        y[i] = a + b, y[i + h] = a - b;
      }
}
/// One block in doubles, where floats did not do: NaN if it holds what is not finite, else the nearest finite floats.
template <int N>
__attribute__((noinline)) void wide_butterflies(const float* x, float scale, float* out) {
  double wide[N];
  std::copy_n(x, N, wide);
  const bool finite = std::all_of(x, x + N, is_finite);
  plain_butterflies<N>(wide);
  for (int i = 0; i < N; ++i) out[i] = finite ? to_finite(wide[i] * static_cast<double>(scale)) : float_nan;
}

#if HWY_TARGET != HWY_SCALAR
/// 0 in every lane, or NaN once a value was not finite.
using Spoilt = hn::Vec<hn::CappedTag<float, 16>>;
HWY_INLINE Spoilt not_spoilt() { return hn::Zero(hn::CappedTag<float, 16>()); }
HWY_INLINE bool is_spoilt(Spoilt s) { return !is_finite_in(hn::CappedTag<float, 16>(), s); }
#else
using Spoilt = float;
HWY_INLINE Spoilt not_spoilt() { return 0; }
HWY_INLINE bool is_spoilt(Spoilt s) { return !is_finite(s); }
#endif

/// One block, then scaled.
template <int N>
HWY_INLINE void butterflies(const float* x, float scale, float* out, Spoilt& spoilt) {
#if HWY_TARGET != HWY_SCALAR
  const hn::CappedTag<float, 16> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  using V = hn::Vec<decltype(d)>;
  constexpr int lanes = hn::MaxLanes(hn::CappedTag<float, 16>()), count = N / lanes;
  V v[count];
  const auto place = hn::Iota(du, 0);
  // Where bit h of the place is set, the other element minus this one, else their sum. Times +-1 is exact.
  const auto sign = [&](std::uint32_t h) HWY_ATTR {
    const auto off = hn::Eq(hn::And(place, hn::Set(du, h)), hn::Zero(du));
    return hn::BitCast(
        d, hn::Or(hn::BitCast(du, hn::Set(d, 1.0f)), hn::IfThenZeroElse(off, hn::Set(du, 0x80000000u))));
  };
  const auto sign1 = sign(1), sign2 = sign(2), sign4 = sign(4), sign8 = sign(8);
  for (int i = 0; i < count; ++i) {
    V a = hn::LoadU(d, x + i * lanes);
    a = hn::MulAdd(a, sign1, hn::Shuffle2301(a));
    a = hn::MulAdd(a, sign2, hn::Shuffle1032(a));
    if constexpr (lanes >= 8) a = hn::MulAdd(a, sign4, hn::SwapAdjacentBlocks(a));
    if constexpr (lanes >= 16) a = hn::MulAdd(a, sign8, hn::ConcatLowerUpper(d, a, a));
    v[i] = a;
  }
  (void)sign4, (void)sign8;
  for (int h = 1; h < count; h *= 2)
    for (int i = 0; i < count; ++i)
      if (!(i & h)) {
        const V a = v[i], b = v[i + h];
        v[i] = hn::Add(a, b), v[i + h] = hn::Sub(a, b);
      }
  for (int i = 0; i < count; ++i) {
    const V y = hn::Mul(v[i], hn::Set(d, scale));
    spoilt = hn::MulAdd(y, hn::Zero(d), spoilt);
    hn::StoreU(y, d, out + i * lanes);
  }
#else
  std::copy_n(x, N, out);
  plain_butterflies<N>(out);
  for (int i = 0; i < N; ++i) out[i] *= scale, spoilt += out[i] * 0.0f;
#endif
}

/// Rotates `count` <= chunk elements, or rotates them back, from `in` to `out`; `first`, their first rank, is a multiple
/// of R::block. Never inlined, so that the product is rounded before a coder subtracts from it.
template <class R, bool back>
__attribute__((noinline)) void rotate(const float* in, std::int64_t count, std::int64_t first, float* out) {
  constexpr int n = R::block;
  const auto flip = [&](std::int64_t block, float* x) {
    for (int word = 0; word < n / 32; ++word) {
      const std::uint32_t signs = R::signs(block, word);
      for (int i = 0; i < 32; ++i)
        x[32 * word + i] =
            std::bit_cast<float>(std::bit_cast<std::uint32_t>(x[32 * word + i]) ^ (signs >> i & 1u) << 31);
    }
  };
  const auto turn = [&](std::int64_t i, auto&& butterfly) HWY_ATTR {
    if constexpr (R::random_signs && !back) {
      float x[n];
      std::copy_n(in + i, n, x);
      flip((first + i) / n, x);
      butterfly(x, out + i);
    } else {
      butterfly(in + i, out + i);
      if constexpr (R::random_signs) flip((first + i) / n, out + i);
    }
  };
  const std::int64_t whole = count / n * n;
  Spoilt spoilt = not_spoilt();
  for (std::int64_t i = 0; i < whole; i += n)
    turn(i, [&](const float* x, float* y) HWY_ATTR { butterflies<n>(x, R::scale, y, spoilt); });
  if (is_spoilt(spoilt))
    for (std::int64_t i = 0; i < whole; i += n)
      if (!all_finite_of(out + i, n))
        turn(i, [](const float* x, float* y) { wide_butterflies<n>(x, R::scale, y); });
  (void)flip, (void)first;
  std::copy_n(in + whole, count - whole, out + whole);
}

}  // namespace pcomp::detail::HWY_NAMESPACE
