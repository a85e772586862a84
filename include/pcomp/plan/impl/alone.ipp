#pragma once
#include <algorithm>
#include <cstdio>

#include "../alone.hpp"
#include "rank.ipp"

namespace pcomp::plan {

PCOMP_IMPL Alone alone(const Choices& choices) {
  choices.check();
  Choices one = choices;
  std::vector<int> numbers = choices.microbatches;
  const auto measured_whole = [](const Machine& m) { return m.blocks.contains(1); };
  if (std::find(numbers.begin(), numbers.end(), 1) == numbers.end() &&
      std::all_of(choices.machines.begin(), choices.machines.end(), measured_whole))
    numbers.push_back(1);
  Alone best;
  bool any = false;
  const auto consider = [&](const Alone& a) {
    const bool better = a.fits != best.fits ? a.fits
                        : a.fits            ? a.seconds < best.seconds
                                            : a.peak_bytes < best.peak_bytes;
    if (!any || better) best = a;
    any = true;
  };
  for (std::size_t m = 0; m < choices.machines.size(); ++m) {
    one.machines = {choices.machines[m]};
    for (const int n : numbers) {
      one.microbatches = {n};
      if (choices.memory_limit > 0 && !one.knows_bytes()) continue;  // 1 micro-batch, without its bytes
      const detail::StageSums sums(one, "", n);
      const detail::StagePeak peak(table_of("1f1b", 1, n).row(0), false);
      for (const bool again : {false, true}) {
        if (again ? choices.recompute == Recomputation::never : choices.recompute == Recomputation::always)
          continue;
        if (again && choices.recompute == Recomputation::to_fit && choices.memory_limit == 0) continue;
        const StageCost c = sums.cost(0, 0, sums.blocks(), false, again);
        const schedule::StageBytes needs = sums.bytes(0, 0, sums.blocks(), false, again);
        Alone a{static_cast<int>(m), n, again, n * (c.forward + c.backward + c.weights + c.again)};
        if (one.knows_bytes()) a.peak_bytes = peak(needs);
        a.fits = choices.memory_limit == 0 || a.peak_bytes <= choices.memory_limit;
        consider(a);
      }
    }
  }
  return best;
}

PCOMP_IMPL std::string verdict(const Candidate& candidate, const Alone& alone) {
  if (candidate.first.size() < 2) return "one rank: there is no pipeline";
  char text[200];
  const double gain = candidate.seconds > 0 ? alone.seconds / candidate.seconds : 1;
  if (!alone.fits)
    std::snprintf(text, sizeof text, "the pipeline pays: one machine alone would need %s",
                  detail::megabytes(alone.peak_bytes).c_str());
  else if (gain >= 1.005)
    std::snprintf(text, sizeof text, "the pipeline pays: it is %.2f times as fast as one machine alone",
                  gain);
  else if (gain <= 1 / 1.005)
    std::snprintf(text, sizeof text,
                  "the pipeline does not pay here: one machine alone is %.2f times as fast", 1 / gain);
  else
    std::snprintf(text, sizeof text, "the pipeline does not pay here: one machine alone is as fast");
  std::string line = text;
  if (candidate.bubble <= 0.3 || candidate.busy.empty()) return line;
  const auto most = std::max_element(candidate.busy.begin(), candidate.busy.end());
  const double work = std::accumulate(candidate.busy.begin(), candidate.busy.end(), 0.0);
  std::snprintf(text, sizeof text,
                "; its ranks wait for %.0f %% of a step, and rank %d does %.0f %% of the work",
                100 * candidate.bubble, static_cast<int>(most - candidate.busy.begin()),
                work > 0 ? 100 * *most / work : 0.0);
  return line + text;
}

}  // namespace pcomp::plan
