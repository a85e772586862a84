#pragma once
#include <algorithm>
#include <array>

#include "../../../base/shape.hpp"

namespace pcomp::detail {

/// Where the elements of a strided tensor lie in memory, in the row-major order of its shape.
///
/// A panel is a stretch of that order that lies close together in memory: some steps along the dimension of stride 1,
/// each with all dimensions behind it. In a channels-last tensor: some channels of an image.
class StridedOrder {
 public:
  /// Row-major without gaps, for any extents.
  StridedOrder() = default;

  StridedOrder(const Extents& shape, const Extents& strides) {
    for (int d = 0; d < shape.rank(); ++d) {
      if (shape[d] == 1) continue;
      if (rank_ > 0 && stride(rank_ - 1) == shape[d] * strides[d]) {  // merges into the dimension before
        extent(rank_ - 1) *= shape[d];
        stride(rank_ - 1) = strides[d];
      } else {
        extent(rank_) = shape[d];
        stride(rank_++) = strides[d];
      }
    }
    if (shape.size() == 0 || (rank_ == 1 && stride(0) == 1)) rank_ = 0;
    if (rank_ == 0 || stride(rank_ - 1) == 1) return;
    for (int d = rank_ - 1; d-- > 0;)
      if (stride(d) == 1) lane_ = d;
    if (lane_ < 0) return;
    for (int d = lane_ + 1; d < rank_; ++d) behind_ *= extent(d);
    steps_ = std::min(std::max(usual_panel / behind_, line), extent(lane_));
    if (steps_ * behind_ > largest_panel) steps_ = largest_panel / behind_ / part_line * part_line;
    if (extent(lane_) < part_line || steps_ < part_line) lane_ = -1;
  }

  bool is_dense() const { return rank_ == 0; }
  bool has_panels() const { return lane_ >= 0; }
  /// Elements of the largest panel.
  std::int64_t panel_size() const { return has_panels() ? steps_ * behind_ : 0; }

  struct Panel {
    std::int64_t begin = 0, end = 0;  ///< in row-major order
    bool has(std::int64_t i) const { return i >= begin && i < end; }
  };
  /// The panel of element i, from the beginning of i's step.
  Panel panel_of(std::int64_t i) const {
    const std::int64_t first = i / behind_, step = first % extent(lane_);
    const std::int64_t last = std::min((step / steps_ + 1) * steps_, extent(lane_));
    return {first * behind_, (first + last - step) * behind_};
  }

  /// Calls f(offset in memory, stride, first element, count) for each row of elements [i, i + n).
  template <class F>
  void for_rows(std::int64_t i, std::int64_t n, F&& f) const {
    const std::int64_t row = extent(rank_ - 1);
    while (n > 0) {
      const std::int64_t part = std::min(n, row - i % row);
      f(offset(i), stride(rank_ - 1), i, part);
      i += part, n -= part;
    }
  }
  /// Calls f(offset in memory, stride, first element, count) for each row of a panel's first step. All steps have
  /// these rows, each step one element further in memory and step() further in order.
  template <class F>
  void for_panel_rows(const Panel& p, F&& f) const {
    for_rows(p.begin, behind_, f);
  }
  std::int64_t step() const { return behind_; }
  std::int64_t steps_of(const Panel& p) const { return (p.end - p.begin) / behind_; }

 private:
  static constexpr std::int64_t line = 16, part_line = 4;
  static constexpr std::int64_t usual_panel = 1 << 15, largest_panel = 1 << 17;

  std::int64_t& extent(int d) { return extent_[static_cast<std::size_t>(d)]; }
  std::int64_t& stride(int d) { return stride_[static_cast<std::size_t>(d)]; }
  std::int64_t extent(int d) const { return extent_[static_cast<std::size_t>(d)]; }
  std::int64_t stride(int d) const { return stride_[static_cast<std::size_t>(d)]; }

  std::int64_t offset(std::int64_t i) const {
    std::int64_t at = 0;
    for (int d = rank_; d-- > 0; i /= extent(d)) at += i % extent(d) * stride(d);
    return at;
  }

  std::array<std::int64_t, Extents::max_rank> extent_{}, stride_{};
  int rank_ = 0, lane_ = -1;  // lane_: the dimension of stride 1, unless it is the last
  std::int64_t behind_ = 1, steps_ = 1;
};

}  // namespace pcomp::detail
