#pragma once
#include <cstdio>
#include <string>

#include "facts.hpp"

namespace pcomp::detail {

/// A Gantt chart as text: a lane per rank, a column per tick, a dot where the rank is idle.
inline std::string draw(const char* policy, const std::vector<std::span<const Action>>& rows, Size n) {
  const Timeline t = timeline(rows, n);
  const bool several = static_cast<int>(rows.size()) < n.stages;
  const auto label = [&](const Action& a) {
    return (a.op == Op::Forward ? "F" : "B") + (several ? std::to_string(a.stage) + "." : "") +
           std::to_string(a.micro);
  };
  const std::size_t width = label({Op::Forward, n.stages - 1, n.micros - 1}).size();
  char facts[160];
  std::snprintf(facts, sizeof facts,
                "%s, %d stages on %d ranks, %d micro-batches: %d ticks, bubble %.1f %%\n", policy, n.stages,
                static_cast<int>(rows.size()), n.micros, t.ticks, 100 * bubble(rows, t.ticks));
  std::string text = facts;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    std::vector<std::string> lane(static_cast<std::size_t>(t.ticks), ".");
    for (std::size_t i = 0; i < rows[r].size(); ++i)
      if (is_compute(rows[r][i].op)) lane[static_cast<std::size_t>(t.start[r][i])] = label(rows[r][i]);
    const std::string rank = std::to_string(r);
    std::string line = "rank " + std::string(rank.size() < 2 ? 2 - rank.size() : 0, ' ') + rank + " |";
    for (const std::string& cell : lane) line += " " + cell + std::string(width - cell.size(), ' ');
    while (line.back() == ' ') line.pop_back();
    text += line + "\n";
  }
  text += several ? "Fs.m and Bs.m: forward and backward of stage s, micro-batch m\n"
                  : "Fm and Bm: forward and backward of micro-batch m\n";
  return text;
}

}  // namespace pcomp::detail
