#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "error.hpp"
#include "refuse.hpp"

namespace pcomp {

class Extents;
inline std::string to_string(const Extents& e);

/// The extents of a dense row-major tensor, known at run time.
///
/// Shapes: up to 8 dimensions (none: a scalar), each at least 0; `size()` is their product, in elements, at most 2^56.
/// Errors: `Error` for more than 8 dimensions or a negative extent; from `size()` for more elements.
/// Example: examples/020-bytes
class Extents {
 public:
  static constexpr int max_rank = 8;

  constexpr Extents() = default;
  constexpr Extents(std::initializer_list<std::int64_t> list) {
    for (std::int64_t d : list) push(d);
  }
  template <class It>
  constexpr Extents(It first, It last) {
    for (; first != last; ++first) push(static_cast<std::int64_t>(*first));
  }

  constexpr int rank() const { return rank_; }
  constexpr std::int64_t operator[](int d) const { return dims_[static_cast<std::size_t>(d)]; }
  constexpr const std::int64_t* begin() const { return dims_.data(); }
  constexpr const std::int64_t* end() const { return dims_.data() + rank_; }
  constexpr std::int64_t size() const {
    std::int64_t n = 1;
    for (std::int64_t d : *this) {
      if (n && d > most / n) throw Error("pcomp: a shape has at most 2^56 elements, not " + to_string(*this));
      n *= d;
    }
    return n;
  }
  /// This shape with dimension `d` set to `extent`.
  constexpr Extents with(int d, std::int64_t extent) const {
    Extents e = *this;
    e.dims_[static_cast<std::size_t>(d)] = extent;
    return e;
  }
  friend constexpr bool operator==(const Extents&, const Extents&) = default;

 private:
  constexpr void push(std::int64_t d) {
    if (rank_ == max_rank) throw Error("pcomp: a shape has at most 8 dimensions");
    if (d < 0) throw Error("pcomp: an extent must be at least 0, not " + std::to_string(d));
    dims_[static_cast<std::size_t>(rank_++)] = d;
  }
  static constexpr std::int64_t most = std::int64_t{1} << 56;  // so that no count of bytes or bits overflows

  std::array<std::int64_t, max_rank> dims_{};
  int rank_ = 0;
};

/// The extents of a dense row-major tensor as a type, for sizes that are constant expressions.
///
/// Law: `Extents(Shape<Ds...>{}) == Extents{Ds...}`.
/// Refusals: no extent, more than 8, or one below 1.
/// Example: examples/020-bytes
template <std::int64_t... Ds>
struct Shape {
  static_assert(refuse::extent<(sizeof...(Ds) >= 1 && sizeof...(Ds) <= 8 && ((Ds >= 1) && ...))>());
  constexpr operator Extents() const { return {Ds...}; }
};

/// "64x32x32x32".
inline std::string to_string(const Extents& e) {
  std::string s;
  for (std::int64_t d : e) {
    if (!s.empty()) s += 'x';
    s += std::to_string(d);
  }
  return s.empty() ? "scalar" : s;
}

}  // namespace pcomp
