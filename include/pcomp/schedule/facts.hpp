#pragma once
#include <algorithm>
#include <span>
#include <vector>

#include "policy.hpp"

namespace pcomp::detail {

/// When each computation of a table begins if each takes one tick and messages none.
///
/// Returns the start of every entry of every row (of a message: when it takes place), and the end.
struct Timeline {
  std::vector<std::vector<int>> start;
  int ticks = 0;
};

constexpr Timeline timeline(const std::vector<std::span<const Action>>& rows, Size n) {
  const auto micros = static_cast<std::size_t>(n.micros);
  const auto flag = [&](int s, int m) {
    return static_cast<std::size_t>(s) * micros + static_cast<std::size_t>(m);
  };
  auto forward = filled(static_cast<std::size_t>(n.stages) * micros, -1);
  auto backward = filled(static_cast<std::size_t>(n.stages) * micros, -1);
  auto at = filled<std::size_t>(rows.size(), 0);
  auto free = filled(rows.size(), 0);
  Timeline t;
  for (const auto& row : rows) t.start.push_back(filled(row.size(), 0));
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t r = 0; r < rows.size(); ++r)
      for (; at[r] < rows[r].size(); ++at[r], moved = true) {
        const Action a = rows[r][at[r]];
        t.start[r][at[r]] = free[r];
        if (!is_compute(a.op)) continue;
        int ready = 0;
        if (a.op == Op::Forward) {
          if (a.stage > 0) ready = forward[flag(a.stage - 1, a.micro)];
        } else {
          ready =
              a.stage + 1 < n.stages ? backward[flag(a.stage + 1, a.micro)] : forward[flag(a.stage, a.micro)];
        }
        if (ready < 0) break;
        const int begin = std::max(free[r], ready);
        t.start[r][at[r]] = begin;
        free[r] = begin + 1;
        (a.op == Op::Forward ? forward : backward)[flag(a.stage, a.micro)] = free[r];
        t.ticks = std::max(t.ticks, free[r]);
      }
  }
  return t;
}

/// The most activations that are alive at once in one row: from Forward to Backward; where nothing flows back, one.
constexpr int peak_live(std::span<const Action> row) {
  int live = 0, peak = 0, backward = 0;
  for (const Action& a : row) {
    if (a.op == Op::Forward) peak = std::max(peak, ++live);
    if (a.op == Op::Backward) --live, ++backward;
  }
  return backward ? peak : std::min(peak, 1);
}

/// The share of rank-ticks in which nothing is computed.
constexpr double bubble(const std::vector<std::span<const Action>>& rows, int ticks) {
  int busy = 0;
  for (const auto& row : rows)
    for (const Action& a : row) busy += is_compute(a.op);
  const auto all = static_cast<double>(ticks) * static_cast<double>(rows.size());
  return all > 0 ? 1.0 - busy / all : 0.0;
}

}  // namespace pcomp::detail
