#pragma once
#include "../schedule/make_schedule.hpp"
#include "ranks.hpp"

namespace pcomp::detail {

/// What the ranks of this process sent over each boundary, and where their time went. `edges`: what was predicted.
inline Report report_of(const ScheduleTable& schedule, const std::vector<const BoundaryOps*>& wires,
                        const std::vector<BoundaryReport>& edges, std::int64_t steps, const Ranks& ranks) {
  Report r;
  r.steps = steps;
  for (std::size_t e = 0; e < wires.size(); ++e) {
    const int edge = static_cast<int>(e);
    BoundaryReport b = edges[e];
    b.edge = edge;
    b.from_rank = schedule.rank_of(edge), b.to_rank = schedule.rank_of(edge + 1);
    b.wire = std::string(wires[e]->name.view());
    for (const auto& rank : ranks) {
      b.forward += rank->executor.ends().forward(edge);
      b.gradient += rank->executor.ends().gradient(edge);
      b.inference += rank->executor.ends().inference(edge);
      b.state += rank->executor.ends().state(edge);
    }
    r.boundaries.push_back(b);
  }
  r.ranks.resize(static_cast<std::size_t>(schedule.ranks));
  for (const auto& rank : ranks)
    r.ranks[static_cast<std::size_t>(rank->executor.rank())] = rank->executor.stopwatch().times();
  r.stages.resize(static_cast<std::size_t>(schedule.stages));
  for (int s = 0; s < schedule.stages; ++s)
    if (const Rank* rank = ranks.find(schedule.rank_of(s)))
      if (const auto& own = rank->executor.stopwatch().stages(); static_cast<std::size_t>(s) < own.size())
        r.stages[static_cast<std::size_t>(s)] = own[static_cast<std::size_t>(s)];
  r.predict(schedule);
  return r;
}

}  // namespace pcomp::detail
