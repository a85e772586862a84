#pragma once
#include <cstddef>
#include <deque>

#include "edge_buffers.hpp"

namespace pcomp::detail {

/// Which sends of an edge may be posted before their place in the row: those whose buffer was used by a send whose
/// place is past. To wait for a later one could be to wait for oneself.
///
/// Law: every payload is sent once, in the order in which they were offered, at or before its place.
class EarlySends {
 public:
  /// A payload is ready: sends it, now or at its place.
  template <class Send>
  void offer(int micro, Send send) {
    if (!deferred_.empty() || posted_ >= passed_ + EdgeBuffers::depth) return deferred_.push_back(micro);
    ++posted_;
    send(micro);
  }
  /// The place of a send in the row.
  template <class Send>
  void pass(Send send) {
    ++passed_;
    if (deferred_.empty()) return;
    const int micro = deferred_.front();
    deferred_.pop_front();
    ++posted_;
    send(micro);
  }

 private:
  std::size_t posted_ = 0, passed_ = 0;
  std::deque<int> deferred_;
};

}  // namespace pcomp::detail
