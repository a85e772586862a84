#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace pcomp::detail {

/// At most `keep` ways to cut `blocks` into `stages`, those whose heaviest stage weighs least, and of those the ones whose
/// weights have the least sum of squares; in ascending order of the cuts. `weigh(stage, begin, end)` may be infinite: then
/// no cut has such a stage.
///
/// Law: with `keep` at least the number of cuts, all whose stages have finite weights.
/// Source: the k best paths of a dynamic program (Bellman and Kalaba, 1960).
template <class Weigh>
std::vector<std::vector<int>> least_cuts(int blocks, int stages, std::size_t keep, Weigh weigh) {
  /// Stages from one on, of the blocks from one on: the first ends before `end`, `rest` continues there.
  struct Tail {
    double most, squares;
    int end;
    std::size_t rest;
  };
  const auto at = [](int i) { return static_cast<std::size_t>(i); };
  const auto lighter = [](const Tail& a, const Tail& b) {
    if (a.most != b.most) return a.most < b.most;
    if (a.squares != b.squares) return a.squares < b.squares;
    return a.end != b.end ? a.end < b.end : a.rest < b.rest;
  };
  std::vector<std::vector<std::vector<Tail>>> best(at(stages), std::vector<std::vector<Tail>>(at(blocks)));
  for (int s = stages - 1; s >= 0; --s)
    for (int begin = s; begin <= (s == 0 ? 0 : blocks - (stages - s)); ++begin) {
      std::vector<Tail>& all = best[at(s)][at(begin)];
      const bool last = s + 1 == stages;
      for (int end = last ? blocks : begin + 1; end <= blocks - (stages - s - 1); ++end) {
        const double own = weigh(s, begin, end);
        if (!std::isfinite(own)) continue;
        if (last) {
          all.push_back({own, own * own, end, 0});
          continue;
        }
        const std::vector<Tail>& rest = best[at(s + 1)][at(end)];
        for (std::size_t i = 0; i < rest.size(); ++i)
          all.push_back({std::max(own, rest[i].most), own * own + rest[i].squares, end, i});
      }
      std::sort(all.begin(), all.end(), lighter);
      if (all.size() > keep) all.resize(keep);
    }
  std::vector<std::vector<int>> cuts;
  for (std::size_t i = 0; i < best[0][0].size(); ++i) {
    std::vector<int>& first = cuts.emplace_back();
    int begin = 0;
    std::size_t which = i;
    for (int s = 0; s < stages; ++s) {
      first.push_back(begin);
      const Tail& t = best[at(s)][at(begin)][which];
      begin = t.end, which = t.rest;
    }
  }
  std::sort(cuts.begin(), cuts.end());
  return cuts;
}

}  // namespace pcomp::detail
