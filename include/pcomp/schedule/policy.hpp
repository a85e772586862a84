#pragma once
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "action.hpp"

namespace pcomp::detail {

/// n zeros on the heap, usable in constant expressions, where indexing a pointer costs the compiler far less than
/// indexing a std::vector.
template <class T>
class Buffer {
 public:
  constexpr explicit Buffer(std::size_t n) : data_(new T[n ? n : 1]()) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  constexpr ~Buffer() { delete[] data_; }
  constexpr T* data() const { return data_; }

 private:
  T* data_;
};

}  // namespace pcomp::detail

namespace pcomp::schedule {

/// How many stages, micro-batches and ranks a schedule is for.
struct PipelineDims {
  int stages = 1;
  int microbatches = 1;
  int ranks = 1;
};

/// A schedule's policy: a clock that says when each computation would run if every stage had a rank of its own
/// and each took one tick.
///
/// Law: an operation's tick is above those of what it needs: Forward(s, m) above Forward(s-1, m), Backward(s, m)
///   above Backward(s+1, m) and Forward(s, m), BackwardWeights(s, m) above Backward(s, m); ticks on one stage are
///   distinct, and those of one operation ascend with the micro-batch. For every placement this gives an order
///   that cannot deadlock: see row.hpp.
/// Shapes: optional members are `split_backward = true`, for a Backward of inputs alone and a BackwardWeights,
///   and `takes(rank_of)`, whether it runs on a placement.
/// Example: docs/your-own-schedule.md
template <class P>
concept Policy = requires(PipelineDims n) {
  { P::name } -> std::convertible_to<const char*>;
  { P::backward } -> std::convertible_to<bool>;
  { P::tick(Op::Forward, 0, 0, n) } -> std::convertible_to<std::int64_t>;
};

/// Whether each micro-batch has a BackwardWeights of its own.
template <Policy P>
inline constexpr bool splits_backward = [] {
  if constexpr (requires { P::split_backward; })
    return P::backward && P::split_backward;
  else
    return false;
}();

/// Whether the policy runs where stage s is on rank `rank_of[s]`.
template <Policy P>
constexpr bool suits(std::span<const int> rank_of) {
  if constexpr (requires { P::takes(rank_of); })
    return P::takes(rank_of);
  else
    return true;
}

/// The passes that every stage and micro-batch has besides Forward.
struct Passes {
  bool backward = true;
  bool weights = false;
  int frozen = 0;  ///< the first stages, which only run forward
  constexpr int count() const { return 1 + backward + weights; }
  /// Whether this stage has a backward pass, and so the boundary after it carries gradients.
  constexpr bool trains(int stage) const { return backward && stage >= frozen; }
  /// The number of computations of one micro-batch.
  constexpr std::int64_t computations(int stages) const {
    return std::int64_t{count()} * stages - std::int64_t{count() - 1} * frozen;
  }
  constexpr bool has(const Action& a) const {
    switch (a.op) {
      case Op::Backward:
      case Op::RecvGrad:
        return trains(a.stage);
      case Op::SendGrad:
        return trains(a.stage - 1);
      case Op::BackwardWeights:
        return weights && trains(a.stage);
      default:
        return true;
    }
  }
};

}  // namespace pcomp::schedule

namespace pcomp::detail {

template <schedule::Policy P>
inline constexpr schedule::Passes passes_of{P::backward, schedule::splits_backward<P>};

/// The rows of all ranks.
using Rows = std::span<const std::span<const Action>>;

}  // namespace pcomp::detail
