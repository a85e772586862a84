#pragma once
#include <algorithm>

#include "../schedule/send_queue.hpp"
#include "costs.hpp"

namespace pcomp::detail {

/// Runs a table in simulated time, as the executor would; see `simulate`.
class Simulator {
 public:
  Simulator(const schedule::ScheduleTable& table, const plan::Costs& costs)
      : table_(table),
        costs_(costs),
        depth_(static_cast<std::size_t>(costs.buffers)),
        ranks_(static_cast<std::size_t>(table.ranks)),
        channels_(2 * static_cast<std::size_t>(table.stages)) {
    costs.check(table);
    for (int s = 0; s + 1 < table.stages; ++s)
      for (const bool gradient : {false, true}) {
        Channel& c = channel(s, gradient);
        c.boundary = s, c.gradient = gradient;
        c.early = EarlySends(depth_);
        const plan::LinkModel link =
            costs.links.empty() ? plan::LinkModel{} : costs.links[static_cast<std::size_t>(s)];
        const schedule::BoundaryBytes bytes =
            costs.bytes.empty() ? schedule::BoundaryBytes{} : costs.bytes[static_cast<std::size_t>(s)];
        c.occupies = static_cast<double>(gradient ? bytes.gradient : bytes.forward) / link.bandwidth;
        c.latency = link.latency;
      }
    for (int r = 0; r < table.ranks; ++r)
      for (const Action& a : table.row(r))
        if (a.op == Op::Send || a.op == Op::SendGrad) sends(a).early.expect(a.micro);
  }

  plan::Simulation run() {
    plan::Simulation s;
    s.trace.stages = table_.stages;
    s.trace.ranks.resize(ranks_.size());
    trace_ = &s.trace;
    for (std::size_t before = 0; (before = progress_, step_all(), progress_ != before);) {
    }
    const Rank* last = &ranks_[0];
    for (int r = 0; r < table_.ranks; ++r) {
      if (rank(r).at < table_.row(r).size())
        throw Error("pcomp: a simulated rank waits for ever: the table needs more than " +
                    std::to_string(costs_.buffers) + " messages in flight");
      s.busy.push_back(rank(r).busy);
      if (rank(r).now.time > last->now.time) last = &rank(r);
    }
    s.seconds = last->now.time;
    double end = s.seconds;
    for (int n = last->now.cause; n >= 0; n = nodes_[static_cast<std::size_t>(n)].cause) {
      const Node& node = nodes_[static_cast<std::size_t>(n)];
      s.critical.push_back({node.action, node.begin, end});
      end = node.begin;
    }
    std::reverse(s.critical.begin(), s.critical.end());
    char text[80];
    std::snprintf(text, sizeof text, ", simulated: %.4g s", s.seconds);
    s.trace.title = describe(table_.policy.c_str(), table_.size()) + text;
    return s;
  }

 private:
  /// A computation or transfer; `cause` is the one whose end let it begin.
  struct Node {
    Action action;
    double begin;
    int cause;
  };
  /// A point in time, and the node that determines it.
  struct Moment {
    double time = 0;
    int cause = -1;
    void not_before(const Moment& m) {
      if (m.time > time) *this = m;
    }
  };
  struct Channel {
    double occupies = 0, latency = 0;
    std::vector<int> microbatches;  ///< in the order of the sends
    std::vector<Moment> handed, arrived, taken;
    Moment link_free;
    EarlySends early;
    int boundary = 0;
    bool gradient = false;
  };
  struct Rank {
    std::size_t at = 0;
    bool begun = false;  ///< whether the action at `at` has begun; its payload may then wait for a buffer
    Moment now;
    double busy = 0;
  };

  Rank& rank(int r) { return ranks_[static_cast<std::size_t>(r)]; }
  Channel& channel(int boundary, bool gradient) {
    return channels_[2 * static_cast<std::size_t>(boundary) + (gradient ? 1 : 0)];
  }
  /// The channel of a Send or SendGrad.
  Channel& sends(const Action& a) {
    return a.op == Op::Send ? channel(a.stage, false) : channel(a.stage - 1, true);
  }
  bool remote(int boundary) const {
    return boundary >= 0 && boundary + 1 < table_.stages &&
           table_.rank_of(boundary) != table_.rank_of(boundary + 1);
  }

  void step_all() {
    for (int r = 0; r < table_.ranks; ++r)
      for (; rank(r).at < table_.row(r).size() && act(r, table_.row(r)[rank(r).at]); ++rank(r).at) {
        ++progress_;
        rank(r).begun = false;
      }
  }

  bool act(int r, const Action& a) {
    switch (a.op) {
      case Op::Recv:
        return take(r, a, channel(a.stage - 1, false));
      case Op::RecvGrad:
        return take(r, a, channel(a.stage, true));
      case Op::Send:
      case Op::SendGrad:
        if (!rank(r).begun) sends(a).early.pass();
        rank(r).begun = true;
        return hand_ready(r, sends(a));
      default:
        if (!rank(r).begun) compute(r, a);
        if (a.op == Op::Forward && remote(a.stage)) return offer(r, a, channel(a.stage, false));
        if (a.op == Op::Backward && remote(a.stage - 1) && table_.trains(a.stage - 1))
          return offer(r, a, channel(a.stage - 1, true));
        return true;
    }
  }

  void note(int r, const Action& a, double begin) {
    trace_->ranks[static_cast<std::size_t>(r)].push_back({a.op, a.stage, a.micro, begin, rank(r).now.time});
  }

  void compute(int r, const Action& a) {
    Rank& k = rank(r);
    const double begin = k.now.time, seconds = costs_.seconds(a, table_.splits_backward());
    nodes_.push_back({a, begin, k.now.cause});
    k.now = {begin + seconds, static_cast<int>(nodes_.size()) - 1};
    k.busy += seconds;
    k.begun = true;
    ++progress_;
    note(r, a, begin);
  }

  bool offer(int r, const Action& a, Channel& c) {
    c.early.offer(a.micro);
    return hand_ready(r, c);
  }
  bool hand_ready(int r, Channel& c) {
    for (; c.early.any(); c.early.take())
      if (!hand(r, c, c.early.next())) return false;
    return true;
  }

  bool hand(int r, Channel& c, int micro) {
    const std::size_t n = c.handed.size();
    const double begin = rank(r).now.time;
    if (n >= depth_) {
      if (c.arrived.size() <= n - depth_) return false;
      rank(r).now.not_before(c.arrived[n - depth_]);
    }
    c.handed.push_back(rank(r).now);
    c.microbatches.push_back(micro);
    note(r, {c.gradient ? Op::SendGrad : Op::Send, c.gradient ? c.boundary + 1 : c.boundary, micro}, begin);
    transfer(c);
    return true;
  }

  /// Begins the transfers that can: payload handed over, link free, and a buffer free at the other end.
  void transfer(Channel& c) {
    for (std::size_t n = c.arrived.size(); n < c.handed.size(); ++n) {
      if (n >= depth_ && c.taken.size() <= n - depth_) return;
      Moment start = c.handed[n];
      start.not_before(c.link_free);
      if (n >= depth_) start.not_before(c.taken[n - depth_]);
      const Action a{c.gradient ? Op::SendGrad : Op::Send, c.gradient ? c.boundary + 1 : c.boundary,
                     c.microbatches[n]};
      nodes_.push_back({a, start.time, start.cause});
      const int node = static_cast<int>(nodes_.size()) - 1;
      c.link_free = {start.time + c.occupies, node};
      c.arrived.push_back({start.time + c.occupies + c.latency, node});
      ++progress_;
    }
  }

  bool take(int r, const Action& a, Channel& c) {
    const std::size_t n = c.taken.size();
    if (c.arrived.size() <= n) return false;
    const double begin = rank(r).now.time;
    rank(r).now.not_before(c.arrived[n]);
    c.taken.push_back(rank(r).now);
    note(r, a, begin);
    transfer(c);
    return true;
  }

  const schedule::ScheduleTable& table_;
  const plan::Costs& costs_;
  std::size_t depth_;
  std::vector<Rank> ranks_;
  std::vector<Channel> channels_;
  std::vector<Node> nodes_;
  std::size_t progress_ = 0;
  schedule::Trace* trace_ = nullptr;
};

}  // namespace pcomp::detail

namespace pcomp::plan {

/// One step of a schedule in simulated time.
///
/// Law: ranks run their rows as the executor does. A payload is handed to its link as soon as its computation is
///   over and those before it in the row are handed over, at the latest at its place in the row; a link carries one
///   payload of a boundary and direction at a time, in order, the latency not counted; `costs.buffers` payloads may be
///   between a send and its receive on either side.
/// Bytes: `costs.bytes`, from the wires.
/// Shapes: seconds. Coding is not counted: add it to the stages where it matters.
/// Errors: `Error` for costs that do not fit, and for a table that needs more in flight than `costs.buffers`.
/// Source: Narayanan et al., SC 2021, for the cost model without links.
/// Example: examples/040-schedules
[[nodiscard]] inline Simulation simulate(const schedule::ScheduleTable& table, const Costs& costs) {
  return detail::Simulator(table, costs).run();
}

}  // namespace pcomp::plan
