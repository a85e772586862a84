#pragma once
#include <cstdint>

#include "../base/name.hpp"
#include "../base/refuse.hpp"
#include "../base/shape.hpp"

namespace pcomp {

/// The whole tensor: one selection, or one scale.
struct PerTensor {
  static constexpr codec::FixedString name = "PerTensor";
  static constexpr std::int64_t segment(const Extents& e) { return e.size(); }
};
/// Each sample (index of the first dimension): one selection.
struct PerSample {
  static constexpr codec::FixedString name = "PerSample";
  static constexpr std::int64_t segment(const Extents& e) {
    return e.rank() > 1 && e[0] > 0 ? e.size() / e[0] : e.size();
  }
};
/// Every N consecutive elements: one selection, or one scale of a 16-bit minimum and a 16-bit step. The last group may
/// be shorter.
///
/// Refusals: N below 1; as scope of `Quant`, an N that is not 128, 256, 512, 1024 or 2048.
template <std::int64_t N>
struct PerGroup {
  static_assert(refuse::group_of_at_least_1<(N >= 1)>());
  static constexpr codec::FixedString name = codec::FixedString("PerGroup<") + N + ">";
  static constexpr std::int64_t segment(const Extents&) { return N; }
};

}  // namespace pcomp

namespace pcomp::detail {

/// Elements of one scale: 0 for the whole tensor, -1 for a scope that scales do not have.
template <class Scope>
inline constexpr std::int64_t scale_group = -1;
template <>
inline constexpr std::int64_t scale_group<PerTensor> = 0;
template <std::int64_t N>
inline constexpr std::int64_t scale_group<PerGroup<N>> = N;

/// A scope's name after a comma, empty where it is the default.
template <class Scope, class Default>
inline constexpr codec::FixedString scope_name = codec::FixedString(", ") + Scope::name;
template <class Default>
inline constexpr codec::FixedString scope_name<Default, Default> = "";

}  // namespace pcomp::detail
