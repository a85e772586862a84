#pragma once
#include <cstddef>
#include <vector>

namespace pcomp::detail {

/// Which sends of an edge and direction may be posted before their place in the row: those that are ready, in the order
/// of the row, whose buffer was used by a send whose place is past. To wait for a later one could be to wait for
/// oneself.
///
/// Law: every payload is sent once, in the order of the row, at or before its place.
class EarlySends {
 public:
  explicit EarlySends(std::size_t buffers = 0) : buffers_(buffers) {}

  /// The next send of the row.
  void expect(int micro) { order_.push_back(micro); }
  /// Its payload can be made.
  void offer(int micro) {
    const auto m = static_cast<std::size_t>(micro);
    if (m >= ready_.size()) ready_.resize(m + 1);
    ready_[m] = 1;
  }
  /// The place of a send in the row.
  void pass() { ++passed_; }

  /// Whether there is one to post now, and which.
  bool any() const {
    if (posted_ == order_.size() || posted_ >= passed_ + buffers_) return false;
    const auto m = static_cast<std::size_t>(order_[posted_]);
    return m < ready_.size() && ready_[m];
  }
  int next() const { return order_[posted_]; }
  int take() { return order_[posted_++]; }

 private:
  std::size_t buffers_, posted_ = 0, passed_ = 0;
  std::vector<int> order_;
  std::vector<char> ready_;  ///< of each micro-batch
};

}  // namespace pcomp::detail
