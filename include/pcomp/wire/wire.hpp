#pragma once
#include "../codec/complete.hpp"
#include "../codec/half.hpp"
#include "compose.hpp"

namespace pcomp::detail {

struct NoCodec {};

template <Role R, class C>
inline constexpr bool has_role = [] {
  if constexpr (std::is_same_v<C, NoCodec>)
    return false;
  else
    return C::role == R;
}();

/// The codec of role R in a list, or `Absent`.
template <Role R, class Absent, class... Cs>
struct Find {
  using type = Absent;
};
template <Role R, class Absent, class H, class... T>
struct Find<R, Absent, H, T...> {
  static constexpr auto pick() {
    if constexpr (H::role == R)
      return H{};
    else
      return typename Find<R, Absent, T...>::type{};
  }
  using type = decltype(pick());
};

/// The slots of a normal form; an empty slot is NoCodec, and a wire without a coder sends floats.
template <class T>
struct FormOf;
template <class... Cs>
struct FormOf<codec::Chain<Cs...>> {
  template <Role R, class Absent>
  using Slot = typename Whole<typename Find<R, Absent, Cs...>::type, Absent>::type;
  using Feedback = Slot<Role::feedback, NoCodec>;
  using Shape = Slot<Role::shape, NoCodec>;
  using Select = Slot<Role::select, NoCodec>;
  using Rotate = Slot<Role::rotate, NoCodec>;
  using Code = Slot<Role::code, ops::Float32>;
  static constexpr bool feeds = !std::is_same_v<Feedback, NoCodec>;
  static constexpr bool shapes = !std::is_same_v<Shape, NoCodec>;
  static constexpr bool selects = !std::is_same_v<Select, NoCodec>;
  static constexpr bool rotates = !std::is_same_v<Rotate, NoCodec>;
  static constexpr bool codes = (has_role<Role::code, Cs> || ...);  // also where Code stands in
  static constexpr codec::Memory memory = [] {
    if constexpr (feeds)
      return Feedback::memory;
    else
      return codec::Memory::nothing;
  }();
};

template <codec::WireExpr E>
using Form = FormOf<typename Codecs<std::remove_cv_t<E>>::type>;

/// The coder of a chain with its rotation, as a chain: the default gradient.
template <codec::WireExpr E>
constexpr auto coder_of() {
  if constexpr (Form<E>::codes && Form<E>::rotates)
    return typename Form<E>::Rotate{} | typename Form<E>::Code{};
  else if constexpr (Form<E>::codes)
    return typename Form<E>::Code{};
  else
    return codec::Chain<>{};
}

template <class T>
inline constexpr bool is_wire_expr = false;
template <codec::WireExpr T>
inline constexpr bool is_wire_expr<T> = true;

struct SameCoder {};

/// Whether G can be applied to what F leaves: after a selection that is a list, without rows or samples.
template <class F, class G>
constexpr bool gradient_fits() {
  if constexpr (!is_wire_expr<F> || !is_wire_expr<G>)
    return true;
  else if constexpr (!Form<F>::selects)
    return true;
  else if constexpr (Form<G>::shapes)
    return false;
  else if constexpr (Form<G>::selects)
    return !requires { requires Form<G>::Select::per_sample; };
  else
    return true;
}

/// A chain without its feedback: what codes a message.
template <class C>
constexpr auto unless_feedback() {
  if constexpr (C::role == Role::feedback)
    return codec::Chain<>{};
  else
    return C{};
}
template <class T>
struct StatelessOf;
template <class... Cs>
struct StatelessOf<codec::Chain<Cs...>> {
  using type = std::remove_cv_t<decltype((codec::Chain<>{} | ... | unless_feedback<Cs>()))>;
};
template <codec::WireExpr E>
using Stateless = typename StatelessOf<typename Codecs<std::remove_cv_t<E>>::type>::type;

/// Whether T is a chain without feedback.
template <class T>
constexpr bool is_stateless() {
  if constexpr (is_wire_expr<T>)
    return !Form<T>::feeds;
  else
    return false;
}

/// Whether a chain makes sense on its own.
template <class E>
consteval bool chain_is_sound() {
  if constexpr (is_wire_expr<E>) {
    using F = Form<E>;
    constexpr bool coded = !F::rotates || F::codes;
    constexpr bool loses = !F::feeds || F::shapes || F::selects || F::codes;
    constexpr bool sent = F::memory != codec::Memory::residual || !F::shapes;
    return refuse::rotation_alone<coded>() && refuse::feedback_alone<loses>() &&
           refuse::residual_of_shape<sent>();
  }
  return true;
}
template <class F, class G>
consteval bool wire_is_sound() {
  constexpr bool estimates = [] {
    if constexpr (is_wire_expr<F> && is_wire_expr<G>)
      return (Form<F>::selects || Form<F>::shapes) &&
             (Form<G>::memory == codec::Memory::estimate || Form<G>::memory == codec::Memory::samples);
    else
      return false;
  }();
  return chain_is_sound<F>() && chain_is_sound<G>() && refuse::estimate_of_restricted<!estimates>();
}

}  // namespace pcomp::detail

namespace pcomp {

/// What crosses one boundary: `F` on the activations, `G` on the gradients; by default F's coder.
///
/// Law: the gradient is restricted by the adjoint of F's shape and selection, so its payload does not
///   repeat F's index; then G codes the result. Coders are straight-through.
/// Bytes: wire_bytes(F, shape) forward, grad_wire_bytes(wire, shape) backward, both constant expressions.
/// Refusals: anything that is not a wire; a Downsample or a PerSample scope on the gradient of a selection; a rotation
///   without a coder; feedback without a lossy codec, or of a kind that does not suit the other codecs.
/// Source: AQ-SGD (Wang et al., 2022) for coding activations and gradients differently.
/// Example: examples/020-bytes
template <auto F, auto G = detail::SameCoder{}>
struct Wire {
  static_assert(
      refuse::not_a_wire<(detail::is_wire_expr<std::remove_cvref_t<decltype(F)>> &&
                          (detail::is_wire_expr<std::remove_cvref_t<decltype(G)>> ||
                           std::is_same_v<std::remove_cvref_t<decltype(G)>, detail::SameCoder>))>());
  static_assert(refuse::gradient_shape<detail::gradient_fits<std::remove_cvref_t<decltype(F)>,
                                                             std::remove_cvref_t<decltype(G)>>()>());
  static_assert(detail::wire_is_sound<std::remove_cvref_t<decltype(F)>, std::remove_cvref_t<decltype(G)>>());
  static constexpr auto gradient() {
    if constexpr (!detail::is_wire_expr<std::remove_cvref_t<decltype(F)>>)
      return codec::Chain<>{};  // refused above
    else if constexpr (std::is_same_v<std::remove_cvref_t<decltype(G)>, detail::SameCoder>)
      return detail::coder_of<std::remove_cvref_t<decltype(F)>>();
    else
      return G;
  }
  using Forward = std::remove_cvref_t<decltype(F)>;
  using Backward = std::remove_cvref_t<decltype(gradient())>;
  static constexpr Forward forward{};
};

}  // namespace pcomp

namespace pcomp::detail {

template <class T>
inline constexpr bool is_wire = false;
template <auto F, auto G>
inline constexpr bool is_wire<Wire<F, G>> = true;

}  // namespace pcomp::detail

namespace pcomp::codec {

/// A `Wire`, or a chain, which stands for its `Wire`.
template <class T>
concept AnyWire = WireExpr<T> || detail::is_wire<std::remove_cv_t<T>>;

}  // namespace pcomp::codec

namespace pcomp::detail {

template <class T>
struct AsWire {
  using type = T;
};
template <codec::WireExpr T>
struct AsWire<T> {
  using type = Wire<T{}>;
};
/// The Wire that W is or stands for.
template <codec::AnyWire W>
using as_wire = typename AsWire<std::remove_cv_t<W>>::type;

template <class... Cs>
constexpr codec::FixedString<> chain_name(codec::Chain<Cs...>*) {
  codec::FixedString s;
  ((s = s.view().empty() ? codec::FixedString(Cs::name) : s + " | " + codec::FixedString(Cs::name)), ...);
  return s.view().empty() ? codec::FixedString("Raw") : s;
}

}  // namespace pcomp::detail

namespace pcomp {

/// "Downsample<2> | TopK<1/10> | Quant<8>"; a Wire with its own gradient adds " / " and the gradient's name.
template <codec::AnyWire W>
[[nodiscard]] constexpr codec::FixedString<> name(W) {
  using V = detail::as_wire<W>;
  const codec::FixedString f =
      detail::chain_name(static_cast<typename detail::Codecs<typename V::Forward>::type*>(nullptr));
  if constexpr (std::is_same_v<typename V::Backward, decltype(detail::coder_of<typename V::Forward>())>)
    return f;
  else
    return f + " / " +
           detail::chain_name(static_cast<typename detail::Codecs<typename V::Backward>::type*>(nullptr));
}

}  // namespace pcomp
