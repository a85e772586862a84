#pragma once
#include "../codec/codec.hpp"

namespace pcomp::codec {

template <class... Cs>
struct Chain : Composable {
  static_assert(sizeof...(Cs) != 1, "one codec is its own normal form");
};

}  // namespace pcomp::codec

namespace pcomp::ops {

using Raw = codec::Chain<>;

}  // namespace pcomp::ops

namespace pcomp {

/// The identity of `|`: every element as a float, 4 bytes.
///
/// Law: `Raw | w == w`.
/// Bytes: 4n.
/// Shapes: any.
/// Example: examples/010-algebra
inline constexpr ops::Raw Raw{};

}  // namespace pcomp

namespace pcomp::detail {

template <class T>
struct Codecs {
  using type = codec::Chain<T>;  // never instantiated as an object, only matched
};
template <class... Cs>
struct Codecs<codec::Chain<Cs...>> {
  using type = codec::Chain<Cs...>;
};

template <class Done, class Rest, class C>
struct Insert;
template <class... D, class C>
struct Insert<codec::Chain<D...>, codec::Chain<>, C> {
  using type = codec::Chain<D..., C>;
};
template <class... D, class H, class... R, class C>
struct Insert<codec::Chain<D...>, codec::Chain<H, R...>, C> {
  static constexpr auto next() {
    if constexpr (C::role < H::role)
      return static_cast<codec::Chain<D..., C, H, R...>*>(nullptr);
    else
      return static_cast<typename Insert<codec::Chain<D..., H>, codec::Chain<R...>, C>::type*>(nullptr);
  }
  using type = std::remove_pointer_t<decltype(next())>;
};

template <class A, class B>
struct Merge;
template <class A>
struct Merge<A, codec::Chain<>> {
  using type = A;
};
template <class A, class H, class... T>
struct Merge<A, codec::Chain<H, T...>>
    : Merge<typename Insert<codec::Chain<>, A, H>::type, codec::Chain<T...>> {};

template <class T>
struct Unwrap {
  using type = T;
};
template <class C>
struct Unwrap<codec::Chain<C>> {
  using type = C;
};

template <class A, class B>
struct Clash;
template <class... A, class... B>
struct Clash<codec::Chain<A...>, codec::Chain<B...>> {
  template <class X>
  static constexpr bool taken = ((X::role == B::role) || ...);
  static constexpr bool value = (taken<A> || ...);
};

/// clang 14 looks here before it checks the constraints, so a non-wire must not be an error yet.
template <class A, class B>
struct Composed {};
template <codec::WireExpr A, codec::WireExpr B>
struct Composed<A, B> {
  using L = typename Codecs<A>::type;
  using R = typename Codecs<B>::type;
  static constexpr bool ok = !Clash<L, R>::value;
  using type = typename Unwrap<typename Merge<L, R>::type>::type;
};

}  // namespace pcomp::detail
