#pragma once
#include "../codec/codec.hpp"

namespace pcomp {

template <class... Cs>
struct Chain : Composable {
  static_assert(sizeof...(Cs) != 1, "one codec is its own normal form");
};

namespace ops {
using Raw = Chain<>;
}

/// The identity of `|`: every element as a float, 4 bytes.
///
/// Law: `Raw | w == w`.
/// Bytes: 4n.
/// Shapes: any.
/// Example: examples/010-algebra
inline constexpr ops::Raw Raw{};

namespace detail {

template <class T>
struct Codecs {
  using type = Chain<T>;  // never instantiated as an object, only matched
};
template <class... Cs>
struct Codecs<Chain<Cs...>> {
  using type = Chain<Cs...>;
};

template <class Done, class Rest, class C>
struct Insert;
template <class... D, class C>
struct Insert<Chain<D...>, Chain<>, C> {
  using type = Chain<D..., C>;
};
template <class... D, class H, class... R, class C>
struct Insert<Chain<D...>, Chain<H, R...>, C> {
  static constexpr auto next() {
    if constexpr (C::role < H::role)
      return static_cast<Chain<D..., C, H, R...>*>(nullptr);
    else
      return static_cast<typename Insert<Chain<D..., H>, Chain<R...>, C>::type*>(nullptr);
  }
  using type = std::remove_pointer_t<decltype(next())>;
};

template <class A, class B>
struct Merge;
template <class A>
struct Merge<A, Chain<>> {
  using type = A;
};
template <class A, class H, class... T>
struct Merge<A, Chain<H, T...>> : Merge<typename Insert<Chain<>, A, H>::type, Chain<T...>> {};

template <class T>
struct Unwrap {
  using type = T;
};
template <class C>
struct Unwrap<Chain<C>> {
  using type = C;
};

template <class A, class B>
struct Clash;
template <class... A, class... B>
struct Clash<Chain<A...>, Chain<B...>> {
  template <class X>
  static constexpr bool taken = ((X::role == B::role) || ...);
  static constexpr bool value = (taken<A> || ...);
};

/// clang 14 looks here before it checks the constraints, so a non-wire must not be an error yet.
template <class A, class B>
struct Composed {};
template <WireExpr A, WireExpr B>
struct Composed<A, B> {
  using L = typename Codecs<A>::type;
  using R = typename Codecs<B>::type;
  static constexpr bool ok = !Clash<L, R>::value;
  using type = typename Unwrap<typename Merge<L, R>::type>::type;
};

}  // namespace detail
}  // namespace pcomp
