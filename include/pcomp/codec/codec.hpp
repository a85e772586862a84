#pragma once
#include <concepts>
#include <cstdint>
#include <type_traits>

#include "../base/name.hpp"
#include "../base/refuse.hpp"
#include "../base/shape.hpp"

namespace pcomp {

/// A codec's place on a wire: at most one codec per role, applied in this order.
enum class Role { feedback, shape, select, rotate, code };

}  // namespace pcomp

namespace pcomp::detail {

consteval bool constant(Role) { return true; }
consteval bool constant(codec::FixedString<>) { return true; }

}  // namespace pcomp::detail

namespace pcomp::codec {

/// An empty type with a role and a name, both constant expressions: what `|` joins.
template <class C>
concept Codec = std::is_empty_v<std::remove_cv_t<C>> && requires {
  { std::remove_cv_t<C>::role } -> std::convertible_to<Role>;
  { std::remove_cv_t<C>::name } -> std::convertible_to<FixedString<>>;
  typename std::bool_constant<detail::constant(std::remove_cv_t<C>::role)>;
  typename std::bool_constant<detail::constant(std::remove_cv_t<C>::name)>;
};

/// Codecs in normal form: sorted by role, each role at most once, never exactly one codec.
///
/// Law: two wires with the same meaning have the same type.
template <class... Cs>
struct Chain;

}  // namespace pcomp::codec

namespace pcomp::detail {

template <class T>
inline constexpr bool is_chain = false;
template <class... Cs>
inline constexpr bool is_chain<codec::Chain<Cs...>> = true;

/// A wire that is joined with nothing, and says so itself.
template <class T>
concept StandsAlone = requires { std::remove_cv_t<T>::stands_alone; };

/// Defined in wire/compose.hpp: `type` is the normal form of the two joined, `ok` whether no role is taken
/// twice.
template <class A, class B>
struct Composed;
template <class A, class B>
inline constexpr bool composes = Composed<std::remove_cv_t<A>, std::remove_cv_t<B>>::ok;

}  // namespace pcomp::detail

namespace pcomp::codec {

/// An operand of `|`: a codec, or codecs already joined.
template <class T>
concept WireExpr = Codec<T> || detail::is_chain<std::remove_cv_t<T>>;

}  // namespace pcomp::codec

namespace pcomp {

/// The base of every codec: lets argument-dependent lookup find `|` and `==`.
///
/// Law: `|` is commutative and associative, `Raw` is its identity.
/// Refusals: two codecs with the same role; what is no codec.
/// Example: examples/010-algebra
struct Composable {
  template <codec::WireExpr A, codec::WireExpr B>
    requires(detail::composes<A, B>)
  friend constexpr auto operator|(A, B) {
    return typename detail::Composed<std::remove_cv_t<A>, std::remove_cv_t<B>>::type{};
  }
  // One line each: clang shows the line of the deleted function under its note, and that line states the reason.
  // clang-format off
  template <codec::WireExpr A, codec::WireExpr B> requires(!detail::composes<A, B>)
  friend refuse::TWO_CODECS_WITH_THE_SAME_ROLE_ON_ONE_WIRE<A, B> operator|(A, B) = delete;
  template <class A, class B> requires((!codec::WireExpr<A> || !codec::WireExpr<B>) && !detail::StandsAlone<A> && !detail::StandsAlone<B>)
  friend refuse::A_CODEC_IS_AN_EMPTY_TYPE_WITH_A_CONSTEXPR_role_AND_name<A, B> operator|(A, B) = delete;
  // clang-format on

  template <codec::WireExpr A, codec::WireExpr B>
  friend constexpr bool operator==(A, B) {
    return std::is_same_v<std::remove_cv_t<A>, std::remove_cv_t<B>>;
  }
};

}  // namespace pcomp
