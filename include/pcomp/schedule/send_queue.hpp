#pragma once
#include <cstddef>
#include <vector>

namespace pcomp::detail {

/// Which sends of a boundary and direction may be posted before their place in the row: those that are ready, in row
/// order, whose buffer was last used by a send whose place has passed. Waiting for a later send could be a rank
/// waiting for itself.
///
/// Law: every payload is sent once, in row order, at or before its place.
class EarlySends {
 public:
  explicit EarlySends(std::size_t buffers = 0) : buffers_(buffers) {}

  /// Appends the next send of the row.
  void expect(int micro) { order_.push_back(micro); }
  /// Marks a send as ready: its payload can be made.
  void offer(int micro) {
    const auto m = static_cast<std::size_t>(micro);
    if (m >= ready_.size()) ready_.resize(m + 1);
    ready_[m] = 1;
  }
  /// The row has reached the place of a send.
  void pass() { ++passed_; }

  /// Whether there is a send to post now; `next` and `take` say which.
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
  std::vector<char> ready_;  ///< per micro-batch
};

}  // namespace pcomp::detail
