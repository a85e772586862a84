#pragma once
#include <cstdint>
#include <limits>

#include "../base/device.hpp"
#include "codec.hpp"
#include "float_bits.hpp"

namespace pcomp::codec {

/// The least and greatest value of a group; both NaN if one of its values is not finite.
struct Range {
  float lo = 0, hi = 0;
};

/// A codec that changes the extents: mean over `factor` x `factor` of the last two dimensions or, where it has a
/// `named` count of dimensions, along each dimension d of r for which `pools(d, r)`. `takes(r)` may refuse r dimensions.
template <class C>
concept ShapeCodec = Codec<C> && C::role == Role::shape && requires(Extents e) {
  { C::factor } -> std::convertible_to<int>;
  { C::shaped(e) } -> std::same_as<Extents>;
};

/// A codec that keeps, in every segment of `segment(e)` elements, the `keep(n)` highest scores of n.
///
/// Law: exactly `keep` survive; among equal scores the lowest index wins.
template <class C>
concept SelectCodec = Codec<C> && C::role == Role::select && requires(Extents e, float x, std::int64_t i) {
  { C::segment(e) } -> std::same_as<std::int64_t>;
  { C::keep(i) } -> std::same_as<std::int64_t>;
  { C::score(x, i) } -> std::same_as<std::uint32_t>;
};

/// A codec that rotates every `block` consecutive elements of what is sent, except a short last block; with
/// `random_signs` it first flips the signs given by `signs(block, word)`; `scale` makes it orthonormal.
template <class C>
concept RotateCodec = Codec<C> && C::role == Role::rotate && requires(std::int64_t i) {
  { C::block } -> std::convertible_to<int>;
  { C::random_signs } -> std::convertible_to<bool>;
  { C::scale } -> std::convertible_to<float>;
  { C::signs(i, 0) } -> std::same_as<std::uint32_t>;
};

}  // namespace pcomp::codec

namespace pcomp::detail {

template <class C>
concept HasBits = requires { typename std::integral_constant<int, static_cast<int>(C::bits)>; } &&
                  ((C::bits >= 1 && C::bits <= 8) || C::bits == 16 || C::bits == 32);
template <class C>
concept HasScale = requires { typename C::Scale; };
template <class C>
concept HasFit = std::is_trivially_copyable_v<typename C::Scale> &&
                 std::default_initializable<typename C::Scale> && requires(codec::Range r) {
                   { C::fit(r) } -> std::convertible_to<typename C::Scale>;
                 };
template <class C>
concept HasPrepare = HasScale<C> && requires(typename C::Scale s) { C::prepare(s); };

/// What encode and decode take beside a float or a code: what prepare returns, else the scale.
template <class C>
struct Prepared {
  using type = typename C::Scale;
};
template <HasPrepare C>
struct Prepared<C> {
  using type = std::remove_cvref_t<decltype(C::prepare(std::declval<typename C::Scale>()))>;
};
template <class C>
inline constexpr bool is_stochastic = requires { requires C::stochastic; };

template <class C>
concept HasEncode = requires(float x) {
  { C::encode(x) } -> std::integral;
};
template <class C>
concept HasScaledEncode = requires(float x, const typename Prepared<C>::type& p) {
  { C::encode(x, p) } -> std::integral;
};
template <class C>
concept HasNoisyEncode = requires(float x, const typename Prepared<C>::type& p) {
  { C::encode(x, p, x) } -> std::integral;
};
template <class C>
concept HasDecode = requires(std::uint32_t code) {
  { C::decode(code) } -> std::floating_point;
};
template <class C>
concept HasScaledDecode = requires(std::uint32_t code, const typename Prepared<C>::type& p) {
  { C::decode(code, p) } -> std::floating_point;
};

}  // namespace pcomp::detail

namespace pcomp::codec {

/// A codec that turns one float into `bits` bits; codec/archetype.hpp is the smallest one, to copy.
///
/// With `Scale`, every `group` elements share one, fitted to their range: 128, 256, 512, 1024 or 2048, or 0 for all
/// that is sent. With `prepare`, what follows from a scale is computed once per group. With `stochastic`, encode takes
/// noise in [0, 1).
///
/// Law: what is not finite does not decode to a finite value. A scale fitted to {NaN, NaN} decodes every code to NaN; a
///   coder without a scale keeps a code for NaN.
template <class C>
concept CodeCodec =
    Codec<C> && C::role == Role::code && detail::HasBits<C> &&
    ((!detail::HasScale<C> && !detail::is_stochastic<C> && detail::HasEncode<C> && detail::HasDecode<C>) ||
     (detail::HasScale<C> && detail::HasFit<C> && detail::HasScaledDecode<C> &&
      (detail::is_stochastic<C> ? detail::HasNoisyEncode<C> : detail::HasScaledEncode<C>)));

}  // namespace pcomp::codec

namespace pcomp::detail {

struct Nothing {};

/// Selections whose `magnitude` the kernels rely on: pcomp's own.
template <class C>
inline constexpr bool has_short_cut = false;

/// A valid group is whole blocks of packed codes, and a chunk holds a whole number of groups.
constexpr bool is_group_size(std::int64_t n) {
  return n == 0 || (n >= 128 && n <= 2048 && (n & (n - 1)) == 0);
}

/// One interface to all coders, whatever optional members they have.
template <codec::CodeCodec C>
struct CoderTraits {
  static constexpr int bits = C::bits;
  static constexpr bool has_scale = HasScale<C>;
  static constexpr bool stochastic = is_stochastic<C>;

  static constexpr auto scale_type() {
    if constexpr (has_scale)
      return typename C::Scale{};
    else
      return Nothing{};
  }
  using Scale = decltype(scale_type());
  static constexpr std::int64_t scale_bytes = has_scale ? static_cast<std::int64_t>(sizeof(Scale)) : 0;
  PCOMP_HD static constexpr std::int64_t group() {
    if constexpr (has_scale) {
      static_assert(refuse::coder_group<is_group_size(C::group)>());
      return C::group;
    } else
      return 0;
  }

  PCOMP_HD static constexpr Scale fit(codec::Range r) {
    if constexpr (has_scale)
      return C::fit(r);
    else
      return (void)r, Nothing{};
  }
  PCOMP_HD static constexpr auto prepare(Scale s) {
    if constexpr (HasPrepare<C>)
      return C::prepare(s);
    else
      return s;
  }
  using Prepared = decltype(prepare(Scale{}));

  [[gnu::always_inline]] PCOMP_HD static constexpr std::uint32_t encode(float x, const Prepared& p,
                                                                        float noise) {
    if constexpr (!has_scale)
      return (void)p, (void)noise, C::encode(x);
    else if constexpr (stochastic)
      return C::encode(x, p, noise);
    else
      return (void)noise, C::encode(x, p);
  }
  [[gnu::always_inline]] PCOMP_HD static constexpr float decode(std::uint32_t code, const Prepared& p) {
    if constexpr (has_scale)
      return C::decode(code, p);
    else
      return (void)p, C::decode(code);
  }
};

}  // namespace pcomp::detail

namespace pcomp::archetype {

/// The smallest coder, to copy: two bits per element, its sign, and nothing else. PCOMP_HD lets the GPU call it too.
///
/// Law: decodes to -1, 0 or 1, so |decode(encode(x)) - x| <= |x| + 1; NaN and infinities decode to NaN.
/// Bytes: packed(n, 2).
/// Source: Bernstein et al., "signSGD", ICML 2018.
/// Example: examples/030-your-own-codec
struct Sign : Composable {
  static constexpr Role role = Role::code;
  static constexpr codec::FixedString name = "Sign";
  static constexpr int bits = 2;
  PCOMP_HD static constexpr std::uint32_t encode(float x) {
    return !detail::is_finite(x) ? 3u : x < 0 ? 2u : x > 0 ? 1u : 0u;
  }
  PCOMP_HD static constexpr float decode(std::uint32_t code) {
    return code == 3 ? detail::float_nan : code == 2 ? -1.0f : static_cast<float>(static_cast<int>(code));
  }
  /// Optional: the bound that check_codec holds it to.
  static constexpr double bound(double x) { return (x < 0 ? -x : x) + 1; }
};

}  // namespace pcomp::archetype
