#pragma once
#include "packing.hpp"
#include "wire.hpp"

namespace pcomp::detail {

/// Positions in a selection are 32-bit numbers, and one more value means none.
inline constexpr std::int64_t most_positions = 0xfffffffe;

/// Where each part of a payload is. All sizes in bytes, all counts in elements.
struct Layout {
  Extents shaped;         // after the shape codec
  std::int64_t n = 0;     // elements after the shape codec
  std::int64_t sent = 0;  // elements whose codes are sent
  IndexFormat index;      // at offset 0
  std::int64_t codes_at = 0, scales_at = 0, bytes = 0;
};

template <class Select>
constexpr std::int64_t kept(const Extents& e) {
  if constexpr (std::is_same_v<Select, NoCodec>) {
    return e.size();
  } else {
    const std::int64_t n = e.size(), s = Select::segment(e);
    return s ? n / s * Select::keep(s) + Select::keep(n % s) : 0;
  }
}

/// The layout of chain E for a tensor of this shape: index block, codes, scales, each block 16-byte aligned.
template <codec::WireExpr E>
constexpr Layout layout(const Extents& shape) {
  using F = Form<E>;
  using T = CoderTraits<typename F::Code>;
  Layout l;
  l.shaped = shape;
  if constexpr (F::shapes) l.shaped = F::Shape::shaped(shape);
  l.n = l.shaped.size();
  if constexpr (F::selects)
    if (l.n > most_positions)
      throw Error("pcomp: " + std::string(name(E{})) + " takes at most 4294967294 elements, and " +
                  to_string(l.shaped) + " has " + std::to_string(l.n));
  l.sent = kept<typename F::Select>(l.shaped);
  if constexpr (F::selects) l.index = index_format(l.n, l.sent);
  l.codes_at = aligned(l.index.bytes);
  const std::int64_t codes_end = l.codes_at + packed_bytes(l.sent, T::bits);
  const std::int64_t groups = !T::has_scale || l.sent == 0 ? 0
                              : T::group() == 0            ? 1
                                                           : ceil_div(l.sent, T::group());
  l.scales_at = groups ? aligned(codes_end) : codes_end;
  l.bytes = l.scales_at + groups * T::scale_bytes;
  return l;
}

template <class Shape>
constexpr bool shape_takes(int rank) {
  if constexpr (requires { Shape::takes(rank); })
    return Shape::takes(rank);
  else
    return (void)rank, true;
}
/// Whether a shape known as a type has the dimensions that a wire's forward chain pools, or both of its chains do.
template <class W, std::int64_t... Ds>
concept ForwardTakes = shape_takes<typename Form<typename as_wire<W>::Forward>::Shape>(sizeof...(Ds));
template <class W, std::int64_t... Ds>
concept BothTake = ForwardTakes<W, Ds...> &&
                   (Form<typename as_wire<W>::Forward>::selects ||
                    shape_takes<typename Form<typename as_wire<W>::Backward>::Shape>(sizeof...(Ds)));

/// The extents of what a wire's gradient chain codes: the shaped ones, or after a selection the list of what
/// was kept.
template <codec::AnyWire W>
constexpr Extents restricted(const Extents& shape) {
  using F = typename as_wire<W>::Forward;
  const Layout l = layout<F>(shape);
  if constexpr (Form<F>::selects)
    return Extents{l.sent};
  else
    return l.shaped;
}

}  // namespace pcomp::detail
