#pragma once
#include <algorithm>
#include <span>
#include <vector>

#include "policy.hpp"

namespace pcomp::detail {

/// An action and its place in the one order of all events.
///
/// A message takes place just before what consumes it, at the consumer's tick, and has the same key in the
/// sender's row and in the receiver's. So every row is a part of one order in which each event comes after all
/// that it needs, and a rendezvous never waits for something later in that order.
struct Event {
  std::int64_t tick;
  int kind;  ///< messages before computations of one tick
  int tie;   ///< of two messages or computations on one rank, the deeper edge or stage first
  int micro;
  Action action;

  friend constexpr bool operator<(const Event& a, const Event& b) {
    if (a.tick != b.tick) return a.tick < b.tick;
    if (a.kind != b.kind) return a.kind < b.kind;
    if (a.tie != b.tie) return a.tie > b.tie;
    return a.micro < b.micro;
  }
};

/// The row of one rank, from the policy's clock alone: no other rank's row is needed.
template <Policy P>
constexpr std::vector<Action> make_row(int rank, Size n, std::span<const int> rank_of) {
  const auto on = [&](int s) { return rank_of[static_cast<std::size_t>(s)]; };
  std::vector<Event> events;
  for (int s = 0; s < n.stages; ++s) {
    if (on(s) != rank) continue;
    const bool from = s > 0 && on(s - 1) != rank, to = s + 1 < n.stages && on(s + 1) != rank;
    for (int m = 0; m < n.micros; ++m) {
      const std::int64_t forward = P::tick(Op::Forward, s, m, n);
      if (from) events.push_back({forward, 0, s - 1, m, {Op::Recv, s, m}});
      events.push_back({forward, 2, s, m, {Op::Forward, s, m}});
      if (to) events.push_back({P::tick(Op::Forward, s + 1, m, n), 0, s, m, {Op::Send, s, m}});
      if (!P::backward) continue;
      const std::int64_t backward = P::tick(Op::Backward, s, m, n);
      if (to) events.push_back({backward, 1, s, m, {Op::RecvGrad, s, m}});
      events.push_back({backward, 2, s, m, {Op::Backward, s, m}});
      if (from) events.push_back({P::tick(Op::Backward, s - 1, m, n), 1, s - 1, m, {Op::SendGrad, s, m}});
    }
  }
  std::sort(events.begin(), events.end());
  std::vector<Action> row;
  row.reserve(events.size());
  for (const Event& e : events) row.push_back(e.action);
  return row;
}

}  // namespace pcomp::detail
