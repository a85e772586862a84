#pragma once
#include <string>

#include "../rank.hpp"
#include "stage_sums.ipp"

namespace pcomp::detail {

inline void expect_stages(const plan::Choices& choices, const plan::Candidate& c, const StageSums& sums) {
  const std::size_t stages = c.first.size();
  bool ok = stages >= 1 && stages <= choices.machines.size() && c.first[0] == 0;
  for (std::size_t s = 0; ok && s < stages; ++s)
    ok = c.first[s] < (s + 1 < stages ? c.first[s + 1] : sums.blocks());
  std::string cuts;
  for (const int b : c.first) cuts += (cuts.empty() ? "" : ", ") + std::to_string(b);
  if (!ok)
    throw Error("pcomp: stages begin at ascending blocks from 0 to " + std::to_string(sums.blocks() - 1) +
                ", at most " + std::to_string(choices.machines.size()) + " of them, not at " + cuts);
}

inline int end_of(const plan::Candidate& c, std::size_t stage, const StageSums& sums) {
  return stage + 1 < c.first.size() ? c.first[stage + 1] : sums.blocks();
}

inline plan::Costs costs_of(const plan::Choices& choices, const plan::Candidate& c, const StageSums& sums,
                            const std::vector<double>& crowd) {
  expect_stages(choices, c, sums);
  plan::Costs costs;
  for (std::size_t s = 0; s < c.first.size(); ++s) {
    const int end = end_of(c, s, sums);
    costs.stages.push_back(sums.cost(static_cast<int>(s), c.first[s], end, c.schedule == "zero-bubble",
                                     c.recomputes(s), crowd.empty() ? 0 : crowd.at(s)));
    if (s + 1 == c.first.size()) break;
    costs.bytes.push_back(sums.payload(end - 1));
    costs.links.push_back(choices.link);
  }
  return costs;
}

inline std::vector<schedule::StageBytes> needs_of(const plan::Choices& choices, const plan::Candidate& c,
                                                  const StageSums& sums) {
  expect_stages(choices, c, sums);
  std::vector<schedule::StageBytes> needs(c.first.size());
  if (choices.knows_bytes())
    for (std::size_t s = 0; s < needs.size(); ++s)
      needs[s] = sums.bytes(static_cast<int>(s), c.first[s], end_of(c, s, sums), c.schedule == "zero-bubble",
                            c.recomputes(s));
  return needs;
}

inline plan::Simulation predict(const plan::Choices& choices, const plan::Candidate& c, const StageSums& sums,
                                const schedule::ScheduleTable& table) {
  const plan::Simulation alone = plan::simulate(table, costs_of(choices, c, sums, {}));
  const std::size_t n = alone.busy.size();
  const auto crowds = [](const plan::Machine& m) { return !m.crowded.empty(); };
  if (n < 2 || std::none_of(choices.machines.begin(), choices.machines.end(), crowds)) return alone;
  const auto computes = [](const schedule::Interval& i) { return schedule::is_compute(i.op); };
  std::vector<double> crowd;
  for (std::size_t r = 0; r < n; ++r) {
    double together = 0;
    for (std::size_t o = 0; o < n; ++o)
      for (const schedule::Interval& i : alone.trace.ranks[r])
        for (const schedule::Interval& j : alone.trace.ranks[o])
          if (o != r && computes(i) && computes(j))
            together += std::max(0.0, std::min(i.end, j.end) - std::max(i.begin, j.begin));
    const double all = alone.busy[r] * static_cast<double>(n - 1);
    crowd.push_back(all > 0 ? std::min(1.0, together / all) : 0);
  }
  return plan::simulate(table, costs_of(choices, c, sums, crowd));
}

}  // namespace pcomp::detail

namespace pcomp::plan {

PCOMP_IMPL Costs costs_of(const Choices& choices, const Candidate& candidate,
                          const std::vector<double>& crowd) {
  choices.check();
  return detail::costs_of(choices, candidate,
                          detail::StageSums(choices, candidate.wire, candidate.microbatches), crowd);
}

PCOMP_IMPL std::vector<schedule::StageBytes> needs_of(const Choices& choices, const Candidate& candidate) {
  choices.check();
  return detail::needs_of(choices, candidate,
                          detail::StageSums(choices, candidate.wire, candidate.microbatches));
}

PCOMP_IMPL Simulation predict(const Choices& choices, const Candidate& c) {
  choices.check();
  const detail::StageSums sums(choices, c.wire, c.microbatches);
  detail::expect_stages(choices, c, sums);
  return detail::predict(choices, c, sums,
                         table_of(c.schedule, static_cast<int>(c.first.size()), c.microbatches));
}

}  // namespace pcomp::plan
