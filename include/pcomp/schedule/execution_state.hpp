#pragma once
#include "policy.hpp"

namespace pcomp::detail {

/// Which actions of one step are done, and which may come next.
class Progress {
 public:
  constexpr Progress(schedule::PipelineDims n, std::span<const int> rank_of, schedule::Passes passes)
      : n_(n),
        rank_of_(rank_of.data()),
        passes_(passes),
        plane_(std::ptrdiff_t{n.stages} * n.microbatches),
        done_(static_cast<std::size_t>(7 * plane_)),
        enters_(static_cast<std::size_t>(n.stages) + 1) {
    for (int s = 1; s < n.stages; ++s) enters_.data()[s] = rank_of_[s - 1] != rank_of_[s];
  }

  constexpr int rank(int stage) const { return rank_of_[stage]; }

  constexpr void mark(const Action& a) {
    done_.data()[static_cast<int>(a.op) * plane_ + std::ptrdiff_t{a.stage} * n_.microbatches + a.micro] = 1;
    ++count_;
  }

  /// Why `a` is invalid on rank `r` now, or null.
  constexpr const char* fault(int r, const Action& a) const {
    if (a.stage < 0 || a.stage >= n_.stages || a.micro < 0 || a.micro >= n_.microbatches)
      return "a stage or micro-batch that does not exist";
    if (rank_of_[a.stage] != r) return "a stage of another rank";
    const char* const done =
        done_.data() + std::ptrdiff_t{a.stage} * n_.microbatches + a.micro;  // + op * plane_
    const bool enters = enters_.data()[a.stage], leaves = enters_.data()[a.stage + 1];
    if (done[static_cast<int>(a.op) * plane_]) return "an operation comes twice";
    switch (a.op) {
      case Op::Recv:
        return enters ? nullptr : no_boundary;
      case Op::RecvGrad:
        return leaves && passes_.has(a) ? nullptr : no_boundary;
      case Op::Send:
        return !leaves ? no_boundary : done[forward * plane_] ? nullptr : "a send before its computation";
      case Op::SendGrad:
        return !enters || !passes_.has(a) ? no_boundary
               : done[backward * plane_]  ? nullptr
                                          : "a send before its computation";
      case Op::Forward:
        return a.stage == 0 || (enters ? done[received * plane_] : done[forward * plane_ - n_.microbatches])
                   ? nullptr
                   : "a forward before its input";
      case Op::Backward:
        if (!passes_.has(a)) return no_pass;
        if (!done[forward * plane_]) return "a backward before its forward";
        return a.stage + 1 == n_.stages ||
                       (leaves ? done[received_grad * plane_] : done[backward * plane_ + n_.microbatches])
                   ? nullptr
                   : "a backward before its gradient";
      case Op::BackwardWeights:
        return !passes_.has(a)           ? no_pass
               : done[backward * plane_] ? nullptr
                                         : "the gradients of weights before that of the input";
    }
    return "an operation that does not exist";
  }

  /// Every marked action was valid and came once, so a count tells whether all are done.
  constexpr bool complete() const {
    std::ptrdiff_t each = passes_.computations(n_.stages);
    for (int s = 1; s < n_.stages; ++s)
      if (enters_.data()[s]) each += passes_.trains(s - 1) ? 4 : 2;
    return count_ == n_.microbatches * each;
  }
  /// The first action that is not done.
  constexpr Action missing() const {
    for (Op op :
         {Op::Forward, Op::Backward, Op::BackwardWeights, Op::Recv, Op::Send, Op::RecvGrad, Op::SendGrad})
      for (int s = 0; s < n_.stages; ++s)
        for (int m = 0; m < n_.microbatches; ++m)
          if (belongs(op, s) &&
              !done_.data()[static_cast<int>(op) * plane_ + std::ptrdiff_t{s} * n_.microbatches + m])
            return {op, s, m};
    return {};
  }

 private:
  static constexpr const char* no_boundary = "a message where no edge leaves the rank";
  static constexpr const char* no_pass = "a pass that this policy does not have";
  static constexpr int received = static_cast<int>(Op::Recv), forward = static_cast<int>(Op::Forward),
                       received_grad = static_cast<int>(Op::RecvGrad),
                       backward = static_cast<int>(Op::Backward);

  constexpr bool belongs(Op op, int s) const {
    return passes_.has({op, s, 0}) &&
           (schedule::is_compute(op) || enters_.data()[s + (op == Op::Send || op == Op::RecvGrad ? 1 : 0)]);
  }

  schedule::PipelineDims n_;
  const int* rank_of_;
  schedule::Passes passes_;
  std::ptrdiff_t plane_;  ///< stages times micro-batches
  Buffer<char> done_;     ///< [op][stage][micro]
  Buffer<char> enters_;   ///< [stage]: whether its input comes from another rank
  std::ptrdiff_t count_ = 0;
};

}  // namespace pcomp::detail
