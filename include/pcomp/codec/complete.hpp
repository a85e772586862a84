#pragma once
#include "concepts.hpp"
#include "feedback.hpp"

namespace pcomp::detail {

template <class C>
inline constexpr bool promises = requires { requires C::magnitude; };

template <class C>
concept HasGroup =
    requires { typename std::integral_constant<std::int64_t, C::group>; } && is_group_size(C::group);

/// Refuses a codec that lacks a member or has one of another type, with one error, which names it.
template <class C>
consteval bool complete_coder() {
  if constexpr (!HasBits<C>)
    return refuse::coder_bits<false, C>();
  else if constexpr (HasScale<C>) {
    if constexpr (!HasFit<C>)
      return refuse::coder_scale<false, C>();
    else if constexpr (!HasGroup<C>)
      return refuse::coder_group<HasGroup<C>>();
    else if constexpr (!std::copyable<typename Prepared<C>::type> ||
                       (!HasPrepare<C> && requires { &C::prepare; }))
      return refuse::coder_prepare<false, C>();
    else if constexpr (is_stochastic<C> ? !HasNoisyEncode<C> : !HasScaledEncode<C>)
      return refuse::coder_encode<false, C>();
    else
      return refuse::coder_decode<HasScaledDecode<C>, C>();
  } else {
    if constexpr (is_stochastic<C>)
      return refuse::coder_chance<false, C>();
    else if constexpr (!HasEncode<C>)
      return refuse::coder_encode<false, C>();
    else
      return refuse::coder_decode<HasDecode<C>, C>();
  }
}
template <class C>
concept WholeCoder =
    codec::CodeCodec<C> && (!HasScale<C> || (HasGroup<C> && std::copyable<typename Prepared<C>::type> &&
                                             (HasPrepare<C> || !requires { &C::prepare; })));
template <class C>
concept WholeRotation = codec::RotateCodec<C> && requires {
  typename std::bool_constant<(C::block == 32 || C::block == 64)>;
} && (C::block == 32 || C::block == 64);
template <class C>
concept WholeFeedback = codec::FeedbackCodec<C> && requires {
  typename std::integral_constant<codec::Memory, C::memory>;
} && (C::memory != codec::Memory::samples || requires { typename C::First; });

template <class C>
constexpr bool is_whole() {
  if constexpr (promises<C> && !has_short_cut<C>)
    return false;
  else if constexpr (C::role == Role::code)
    return WholeCoder<C>;
  else if constexpr (C::role == Role::shape)
    return codec::ShapeCodec<C>;
  else if constexpr (C::role == Role::select)
    return codec::SelectCodec<C>;
  else if constexpr (C::role == Role::rotate)
    return WholeRotation<C>;
  else
    return WholeFeedback<C>;
}
template <class C>
consteval bool complete() {
  if constexpr (promises<C> && !has_short_cut<C>)
    return refuse::short_cut<false, C>();
  else if constexpr (C::role == Role::code)
    return complete_coder<C>();
  else if constexpr (C::role == Role::shape)
    return refuse::shape_members<is_whole<C>(), C>();
  else if constexpr (C::role == Role::select)
    return refuse::select_members<is_whole<C>(), C>();
  else if constexpr (C::role == Role::rotate)
    return refuse::rotate_members<is_whole<C>(), C>();
  else
    return refuse::memory_members<is_whole<C>(), C>();
}

/// C where it has all that its role needs; else `StandIn`, after the one error, so that no kernel adds its own.
template <class C, class StandIn>
struct Whole {
  static_assert(complete<C>());
  using type = std::conditional_t<is_whole<C>(), C, StandIn>;
};
template <class StandIn>
struct Whole<StandIn, StandIn> {
  using type = StandIn;
};

}  // namespace pcomp::detail
