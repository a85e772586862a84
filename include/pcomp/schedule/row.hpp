#pragma once
#include <span>
#include <vector>

#include "policy.hpp"

namespace pcomp::detail {

/// One operation of one stage over all micro-batches, with its place in the one order of all events.
///
/// A message takes place just before what consumes it, at the consumer's tick, and has the same key in the
/// sender's row and in the receiver's. Within one tick the deepest stage comes first, its message before its
/// computation: where a rank has several stages, none waits for the message of the next. So every row is part of
/// one order in which each event comes after all that it needs, and a rendezvous never waits for something later
/// in that order.
struct Stream {
  Op op;
  int stage;
  Op consumer;    ///< the operation whose tick counts
  int at;         ///< the consumer's stage
  bool computes;  ///< a computation, which comes after its message
  int micro = 0;
  std::int64_t key = 0;  ///< tick, depth and kind as one number

  template <class P>
  constexpr void find_key(schedule::PipelineDims n) {
    key = 2 * (P::tick(consumer, at, micro, n) * n.stages - at) + (computes ? 1 : 0);
  }
};

/// Sinks heap[i] to where no child has an earlier key.
constexpr void sink(Stream* heap, std::size_t size, std::size_t i) {
  for (std::size_t child = 2 * i + 1; child < size; child = 2 * i + 1) {
    if (child + 1 < size && heap[child + 1].key < heap[child].key) ++child;
    if (heap[child].key >= heap[i].key) return;
    const Stream s = heap[i];
    heap[i] = heap[child];
    heap[child] = s;
    i = child;
  }
}

/// The operations of one rank, each a stream.
template <schedule::Policy P>
constexpr std::vector<Stream> streams(int rank, std::span<const int> rank_of) {
  std::vector<Stream> list;
  for (int s = 0; s < static_cast<int>(rank_of.size()); ++s) {
    const auto i = static_cast<std::size_t>(s);
    if (rank_of[i] != rank) continue;
    const bool from = s > 0 && rank_of[i - 1] != rank;
    const bool to = i + 1 < rank_of.size() && rank_of[i + 1] != rank;
    if (from) list.push_back({Op::Recv, s, Op::Forward, s, false});
    list.push_back({Op::Forward, s, Op::Forward, s, true});
    if (to) list.push_back({Op::Send, s, Op::Forward, s + 1, false});
    if (!P::backward) continue;
    if (to) list.push_back({Op::RecvGrad, s, Op::Backward, s, false});
    list.push_back({Op::Backward, s, Op::Backward, s, true});
    if (from) list.push_back({Op::SendGrad, s, Op::Backward, s - 1, false});
    if (schedule::splits_backward<P>) list.push_back({Op::BackwardWeights, s, Op::BackwardWeights, s, true});
  }
  return list;
}

/// The row of one rank, from the policy's clock alone: needs no other rank's row, and no more memory than the
/// row itself.
template <schedule::Policy P>
constexpr std::vector<Action> make_row(int rank, schedule::PipelineDims n, std::span<const int> rank_of) {
  std::vector<Stream> list = streams<P>(rank, rank_of);
  std::vector<Action> row;
  row.reserve(list.size() * static_cast<std::size_t>(n.microbatches));
  Stream* const heap = list.data();
  std::size_t size = list.size();
  for (Stream& s : list) s.find_key<P>(n);
  for (std::size_t i = size / 2; i-- > 0;) sink(heap, size, i);
  while (size) {
    row.push_back({heap->op, heap->stage, heap->micro});
    if (++heap->micro < n.microbatches)
      heap->find_key<P>(n);
    else
      *heap = heap[--size];
    sink(heap, size, 0);
  }
  return row;
}

/// An operation whose tick is not above that of one it needs.
struct ClockFault {
  bool found = false;
  Action late{}, needs{};
};

/// The first such operation of one rank.
///
/// Law: if no rank has one, rows of this clock cannot deadlock; so each rank may check its own.
template <schedule::Policy P>
constexpr ClockFault clock_fault(int rank, schedule::PipelineDims n, std::span<const int> rank_of) {
  ClockFault fault;
  const auto late = [&](const Action& a, const Action& b) {
    if (P::tick(a.op, a.stage, a.micro, n) > P::tick(b.op, b.stage, b.micro, n)) return false;
    fault = {true, a, b};
    return true;
  };
  for (int s = 0; s < n.stages; ++s) {
    if (rank_of[static_cast<std::size_t>(s)] != rank) continue;
    for (int m = 0; m < n.microbatches; ++m) {
      const Action f{Op::Forward, s, m}, b{Op::Backward, s, m}, w{Op::BackwardWeights, s, m};
      if (m > 0 && late(f, {f.op, s, m - 1})) return fault;
      if (s > 0 && late(f, {f.op, s - 1, m})) return fault;
      if (!P::backward) continue;
      if (late(b, f) || (m > 0 && late(b, {b.op, s, m - 1}))) return fault;
      if (s + 1 < n.stages && late(b, {b.op, s + 1, m})) return fault;
      if (schedule::splits_backward<P> && (late(w, b) || (m > 0 && late(w, {w.op, s, m - 1})))) return fault;
    }
  }
  return fault;
}

}  // namespace pcomp::detail
