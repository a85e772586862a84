#pragma once
#include "policy.hpp"

namespace pcomp::detail {

/// When each computation of a table begins if each takes one tick and messages take none.
///
/// Calls `note(rank, step, tick)` for every entry (for a message, the tick at which it happens) and returns the end.
template <class Note>
constexpr int timeline(Rows rows, schedule::PipelineDims n, Note note) {
  struct Rank {
    const Action* row = nullptr;
    std::size_t size = 0, at = 0;
    int free = 0;
  };
  const std::size_t cells = static_cast<std::size_t>(n.stages) * static_cast<std::size_t>(n.microbatches);
  const Buffer<int> forwards(cells), backwards(cells);  // the tick after it, or 0 while unknown
  const Buffer<Rank> buffer(rows.size());
  int* const forward = forwards.data();
  int* const backward = backwards.data();
  Rank* const ranks = buffer.data();
  for (std::size_t r = 0; r < rows.size(); ++r) ranks[r] = {rows[r].data(), rows[r].size()};
  int end = 0;
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t r = 0; r < rows.size(); ++r)
      for (Rank& rank = ranks[r]; rank.at < rank.size; ++rank.at) {
        const Action& a = rank.row[rank.at];
        const std::ptrdiff_t cell = std::ptrdiff_t{a.stage} * n.microbatches + a.micro;
        int ready = -1;  // nothing to wait for
        if ((a.op == Op::Forward || a.op == Op::Recv) && a.stage > 0) ready = forward[cell - n.microbatches];
        if (a.op == Op::Backward || a.op == Op::RecvGrad)
          ready = a.stage + 1 < n.stages ? backward[cell + n.microbatches] : forward[cell];
        if (ready == 0) break;
        const int begin = ready > rank.free ? ready : rank.free;
        if (a.op == Op::Forward) forward[cell] = begin + 1;
        if (a.op == Op::Backward) backward[cell] = begin + 1;
        rank.free = schedule::is_compute(a.op) ? begin + 1 : begin;
        note(r, rank.at, begin);
        moved = true;
      }
  }
  for (std::size_t r = 0; r < rows.size(); ++r) end = ranks[r].free > end ? ranks[r].free : end;
  return end;
}
constexpr int count_ticks(Rows rows, schedule::PipelineDims n) {
  return timeline(rows, n, [](std::size_t, std::size_t, int) {});
}

/// The most activations alive at once in one row. One lives from its Forward to the end of its backward pass, or,
/// where nothing flows back, during Forward.
constexpr int peak_live(std::span<const Action> row, schedule::Passes passes) {
  int live = 0, peak = 0;
  for (const Action& a : row) {
    if (a.op == Op::Forward && live + 1 > peak) peak = live + 1;
    if (a.op == Op::Forward && passes.trains(a.stage)) ++live;
    if (a.op == (passes.weights ? Op::BackwardWeights : Op::Backward)) --live;
  }
  return peak;
}

/// The share of rank-ticks in which nothing is computed.
constexpr double bubble(schedule::PipelineDims n, schedule::Passes passes, int ticks) {
  const double busy = static_cast<double>(passes.computations(n.stages)) * n.microbatches;
  const double all = static_cast<double>(ticks) * n.ranks;
  return all > 0 ? 1.0 - busy / all : 0.0;
}

}  // namespace pcomp::detail
