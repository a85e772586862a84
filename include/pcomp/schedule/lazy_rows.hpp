#pragma once
#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "policy.hpp"

namespace pcomp::detail {

/// Drops from a row what frozen stages do not do, and micro-batches from `microbatches` on.
inline void drop(std::vector<Action>& row, const schedule::Passes& passes, int microbatches) {
  std::erase_if(row, [&](const Action& a) { return !passes.has(a) || a.micro >= microbatches; });
}

/// The rows of a table too large to build at once: each is made when it is first asked for.
///
/// Law: a row never changes, and any thread may ask. Two that ask for one row at once may both make it; one is kept.
class LazyRows {
 public:
  using Make = std::vector<Action> (*)(int, schedule::PipelineDims, std::span<const int>);

  /// `made_for`: the size of the whole table, of which `passes` and the first micro-batches are kept.
  LazyRows(Make make, schedule::PipelineDims made_for, std::vector<int> rank_of)
      : made_for_(made_for), make_(make), rank_of_(std::move(rank_of)), rows_(ranks()) {}
  LazyRows(const LazyRows& whole, const schedule::Passes& passes, int microbatches)
      : made_for_(whole.made_for_),
        make_(whole.make_),
        rank_of_(whole.rank_of_),
        passes_(passes),
        microbatches_(microbatches),
        rows_(ranks()) {}
  LazyRows& operator=(const LazyRows&) = delete;
  ~LazyRows() {
    for (auto& row : rows_) delete row.load();
  }

  std::span<const Action> row(int r) const {
    std::atomic<const std::vector<Action>*>& held = rows_[static_cast<std::size_t>(r)];
    const std::vector<Action>* row = held.load();
    if (!row) {
      auto made =
          std::make_unique<std::vector<Action>>(make_(r, made_for_, {rank_of_.data(), rank_of_.size()}));
      drop(*made, passes_, microbatches_);
      if (held.compare_exchange_strong(row, made.get())) row = made.release();
    }
    return {row->data(), row->size()};
  }

 private:
  std::size_t ranks() const { return static_cast<std::size_t>(made_for_.ranks); }

  schedule::PipelineDims made_for_;
  Make make_;
  std::vector<int> rank_of_;
  schedule::Passes passes_{true, true, 0};
  int microbatches_ = made_for_.microbatches;
  mutable std::vector<std::atomic<const std::vector<Action>*>> rows_;
};

}  // namespace pcomp::detail
