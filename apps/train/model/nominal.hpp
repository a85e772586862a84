#pragma once
#include "wire_list.hpp"

namespace cifar {

/// A wire's bits as shares of 32-bit floats, as the published study counts them: indices, scales and padding are free.
struct Nominal {
  double forward = 1, gradient = 1;
};

template <class C>
constexpr double share(C) {
  if constexpr (C::role == pcomp::Role::code) {
    return C::bits / 32.0;
  } else if constexpr (C::role == pcomp::Role::select) {
    constexpr std::int64_t many =
        10'000'000;  // a multiple of each ratio's denominator, so that nothing is rounded
    return static_cast<double>(C::keep(many)) / static_cast<double>(many);
  } else if constexpr (C::role == pcomp::Role::shape) {
    constexpr pcomp::Extents all{1, 5040, 5040, 5040};  // divisible by 2 to 10
    return static_cast<double>(C::shaped(all).size()) / static_cast<double>(all.size());
  } else {
    return 1;  // rotations and feedback change values, not their number
  }
}
template <class... Cs>
constexpr double share(pcomp::codec::Chain<Cs...>) {
  return (1.0 * ... * share(Cs{}));
}

/// What of it is fewer elements: gradients are restricted to those before they are coded.
template <class C>
constexpr double kept(C codec) {
  return C::role == pcomp::Role::select || C::role == pcomp::Role::shape ? share(codec) : 1;
}
template <class... Cs>
constexpr double kept(pcomp::codec::Chain<Cs...>) {
  return (1.0 * ... * kept(Cs{}));
}

template <auto F, auto G>
constexpr Nominal nominal(pcomp::Wire<F, G>) {
  using W = pcomp::Wire<F, G>;
  return {share(typename W::Forward{}), kept(typename W::Forward{}) * share(typename W::Backward{})};
}
template <pcomp::codec::WireExpr E>
constexpr Nominal nominal(E) {
  return nominal(pcomp::Wire<E{}>{});
}

/// Of a choice of --wire; 1 for a name that is none.
inline Nominal nominal(std::string_view name) {
  Nominal found;
  for_each_wire([&](std::string_view each, auto wire) {
    if (each == name) found = nominal(wire);
  });
  return found;
}

}  // namespace cifar
