#pragma once
#include <cstdio>
#include <string>

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

/// The share of rank-ticks in which nothing is computed.
constexpr double bubble(schedule::PipelineDims n, schedule::Passes passes, int ticks) {
  const double busy = static_cast<double>(passes.computations(n.stages)) * n.microbatches;
  const double all = static_cast<double>(ticks) * n.ranks;
  return all > 0 ? 1.0 - busy / all : 0.0;
}

}  // namespace pcomp::detail

namespace pcomp::schedule {

struct TextChart;

/// One operation as it took place, on its rank's thread.
///
/// Shapes: a computation from begin to end; a receive from when the rank reached it to when it had the payload; a
///   send from when the payload was ready to when it was on its way. Both often have no length.
struct Interval {
  Op op = Op::Forward;
  int stage = 0;
  int micro = 0;
  double begin = 0, end = 0;
};

/// One step of every rank: planned in ticks, simulated or measured in seconds. What charts draw.
///
/// Law: the intervals of one rank ascend and do not overlap.
/// Example: examples/040-schedules
struct Trace {
  std::string title;
  int stages = 1;
  bool ticks = false;  ///< the unit of time: ticks, or else seconds
  std::vector<std::vector<Interval>> ranks;

  double end() const {
    double last = 0;
    for (const auto& lane : ranks)
      for (const Interval& i : lane)
        if (i.end > last) last = i.end;
    return last;
  }
  /// As text, or whatever a chart makes of it.
  template <class Chart = TextChart>
  std::string draw(const Chart& chart = {}) const {
    return chart(*this);
  }
  /// Whether a rank holds several stages, so that labels need the stage.
  bool loops() const { return static_cast<int>(ranks.size()) < stages; }
};

/// "F3", or "F1.3" for stage 1 where ranks hold several.
inline std::string label(const Interval& i, bool with_stage) {
  std::string text = i.op == Op::Forward ? "F" : i.op == Op::Backward ? "B" : "W";
  if (with_stage) text += std::to_string(i.stage) + '.';
  return text += std::to_string(i.micro);
}

}  // namespace pcomp::schedule

namespace pcomp::detail {

/// "1F1B, 4 stages on 4 ranks, 8 micro-batches".
inline std::string describe(const char* policy, schedule::PipelineDims n) {
  char text[200];
  std::snprintf(text, sizeof text, "%s, %d stage%s on %d rank%s, %d micro-batch%s", policy, n.stages,
                n.stages == 1 ? "" : "s", n.ranks, n.ranks == 1 ? "" : "s", n.microbatches,
                n.microbatches == 1 ? "" : "es");
  return text;
}

/// A table as a trace in ticks, each message at its computation; a template, so that a program that draws nothing
/// does not pay for it.
template <class T>
T trace_of(const char* policy, Rows rows, schedule::PipelineDims n, std::span<const int> rank_of,
           schedule::Passes passes) {
  T trace{describe(policy, n), n.stages, true, {}};
  trace.ranks.resize(rows.size());
  const auto remote = [&](int boundary) {
    return boundary >= 0 && boundary + 1 < n.stages &&
           rank_of[static_cast<std::size_t>(boundary)] != rank_of[static_cast<std::size_t>(boundary) + 1];
  };
  const int last = timeline(rows, n, [&](std::size_t r, std::size_t i, int tick) {
    const Action& a = rows[r][i];
    if (!schedule::is_compute(a.op)) return;
    auto& lane = trace.ranks[r];
    const double begin = tick, end = tick + 1;
    const bool forward = a.op == Op::Forward;
    const int before = forward ? a.stage - 1 : a.stage, after = forward ? a.stage : a.stage - 1;
    if (a.op != Op::BackwardWeights && remote(before))
      lane.push_back({forward ? Op::Recv : Op::RecvGrad, a.stage, a.micro, begin, begin});
    lane.push_back({a.op, a.stage, a.micro, begin, end});
    if (a.op != Op::BackwardWeights && remote(after) && (forward || passes.trains(after)))
      lane.push_back({forward ? Op::Send : Op::SendGrad, a.stage, a.micro, end, end});
  });
  char facts[80];
  if (passes.frozen > 0) {
    std::snprintf(facts, sizeof facts, ", %d frozen", passes.frozen);
    trace.title += facts;
  }
  std::snprintf(facts, sizeof facts, ": %d ticks, bubble %.1f %%", last,
                100 * detail::bubble(n, passes, last));
  trace.title += facts;
  return trace;
}

}  // namespace pcomp::detail
