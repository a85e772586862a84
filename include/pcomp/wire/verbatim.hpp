#pragma once
#include <cstdint>

#include "bytes.hpp"

namespace pcomp::ops {

/// The type of `Verbatim`; it stands alone.
struct Verbatim {
  static constexpr bool stands_alone = true;
  // clang-format off
  template <class T> friend refuse::VERBATIM_IS_A_WIRE_OF_ITS_OWN_AND_IS_NOT_JOINED_WITH_OTHERS<T> operator|(Verbatim, T) = delete;
  template <class T> requires(!std::is_same_v<std::remove_cv_t<T>, Verbatim>)
  friend refuse::VERBATIM_IS_A_WIRE_OF_ITS_OWN_AND_IS_NOT_JOINED_WITH_OTHERS<T> operator|(T, Verbatim) = delete;
  // clang-format on
  friend constexpr bool operator==(Verbatim, Verbatim) = default;
};

}  // namespace pcomp::ops

namespace pcomp {

/// A tensor's own bytes, whatever its dtype: indices, masks and states that are no floats, or of which no bit may change.
///
/// Law: what arrives is what was sent, bit for bit. There is no gradient: a tensor that requires one is an `Error`.
/// Bytes: n times the size of an element, 4 unless said; no gradient payload.
/// Shapes: any.
/// Refusals: `|` with a codec.
/// Example: examples/080-transformer
inline constexpr ops::Verbatim Verbatim{};

template <>
struct Wire<ops::Verbatim{}, detail::SameCoder{}> {};

}  // namespace pcomp

namespace pcomp::detail {

template <>
inline constexpr bool is_wire<Wire<Verbatim>> = false;  // it has no codecs
template <class W>
concept VerbatimWire =
    std::is_same_v<std::remove_cv_t<W>, ops::Verbatim> || std::is_same_v<std::remove_cv_t<W>, Wire<Verbatim>>;

}  // namespace pcomp::detail

namespace pcomp {

template <detail::VerbatimWire W>
[[nodiscard]] constexpr std::size_t wire_bytes(W, const Extents& shape, std::size_t element_bytes = 4) {
  return static_cast<std::size_t>(shape.size()) * element_bytes;
}
template <detail::VerbatimWire W>
[[nodiscard]] constexpr std::size_t grad_wire_bytes(W, const Extents&) {
  return 0;
}
template <detail::VerbatimWire W>
[[nodiscard]] constexpr codec::FixedString<> name(W) {
  return codec::FixedString("Verbatim");
}

}  // namespace pcomp

namespace pcomp::detail {

template <VerbatimWire W>
struct BoundaryBytesOf<W> {
  static constexpr schedule::BoundaryBytes of(W wire, const Extents& microbatch) {
    return {static_cast<std::int64_t>(wire_bytes(wire, microbatch)), 0};
  }
};

}  // namespace pcomp::detail
