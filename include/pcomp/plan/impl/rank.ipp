#pragma once
#include <cstdio>
#include <numeric>
#include <optional>

#include "../rank.hpp"
#include "costs_of.ipp"
#include "least_cuts.ipp"

namespace pcomp::detail {

/// Megabytes for messages.
inline std::string megabytes(std::int64_t bytes) {
  char text[40];
  std::snprintf(text, sizeof text, "%.4g MB", static_cast<double>(bytes) / 1e6);
  return text;
}

/// What of one wire, schedule and number of micro-batches is kept in memory, and where that makes stages recompute.
class Fitting {
 public:
  Fitting(const plan::Choices& choices, const StageSums& sums, const schedule::ScheduleTable& table)
      : choices_(choices), sums_(sums), split_(table.splits_backward()) {
    for (int r = 0; r < table.ranks; ++r) peaks_.emplace_back(table.row(r), split_);
  }

  std::int64_t peak(int s, int begin, int end, bool recompute) const {
    return peaks_[static_cast<std::size_t>(s)](sums_.bytes(s, begin, end, split_, recompute));
  }
  /// Whether the stage recomputes; none if it does not fit either way.
  std::optional<bool> recompute(int s, int begin, int end) const {
    const bool always = choices_.recompute == plan::Recomputation::always;
    if (choices_.memory_limit == 0) return always;
    for (const bool again : {false, true})
      if (allowed(again) && peak(s, begin, end, again) <= choices_.memory_limit) return again;
    return std::nullopt;
  }
  std::int64_t least(int s, int begin, int end) const {
    std::int64_t bytes = std::numeric_limits<std::int64_t>::max();
    for (const bool again : {false, true})
      if (allowed(again)) bytes = std::min(bytes, peak(s, begin, end, again));
    return bytes;
  }

 private:
  bool allowed(bool again) const {
    return choices_.recompute == plan::Recomputation::to_fit ||
           again == (choices_.recompute == plan::Recomputation::always);
  }
  const plan::Choices& choices_;
  const StageSums& sums_;
  bool split_;
  std::vector<StagePeak> peaks_;
};

/// A lower bound on a step's time, per micro-batch: the work of a stage, or of the link behind it.
inline double bound(const plan::Choices& choices, const StageSums& sums, int s, int begin, int end,
                    bool recompute) {
  const plan::StageCost c = sums.cost(s, begin, end, false, recompute);
  const double work = c.forward + c.backward + c.weights + c.again;
  if (end == sums.blocks()) return work;
  const schedule::BoundaryBytes& bytes = sums.payload(end - 1);
  return std::max(work,
                  static_cast<double>(std::max(bytes.forward, bytes.gradient)) / choices.link.bandwidth);
}

/// Simulates a candidate and fills in what that tells.
inline void fill_in(plan::Candidate& c, const plan::Choices& choices, const StageSums& sums,
                    const schedule::ScheduleTable& table) {
  const plan::Simulation step = predict(choices, c, sums, table);
  c.seconds = step.seconds;
  c.busy = step.busy;
  if (step.seconds > 0)
    c.bubble = 1 - std::accumulate(step.busy.begin(), step.busy.end(), 0.0) /
                       (static_cast<double>(c.first.size()) * step.seconds);
  for (std::size_t s = 0; s + 1 < c.first.size(); ++s) {
    const int last = c.first[s + 1] - 1;
    c.bytes += c.microbatches * (sums.payload(last).forward + sums.payload(last).gradient);
    c.raw_bytes += c.microbatches * 2 * 4 * sums.elements(last);
  }
  c.peak_bytes = table.peak_bytes(needs_of(choices, c, sums));
}

}  // namespace pcomp::detail

namespace pcomp::plan {

PCOMP_IMPL std::vector<Candidate> rank(const Choices& choices) {
  choices.check();
  constexpr double never = std::numeric_limits<double>::infinity();
  const int stages = static_cast<int>(choices.machines.size());
  const std::size_t keep = static_cast<std::size_t>(choices.shortlist);
  std::vector<Candidate> all;
  Candidate leanest;
  std::string why_not;
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (const int microbatches : choices.microbatches)
    for (const WireChoice& wire : choices.wires) {
      const detail::StageSums sums(choices, wire.name, microbatches);
      if (!sums.why_not().empty()) why_not = wire.name + ": " + sums.why_not();
      for (const std::string& schedule : choices.schedules) {
        const schedule::ScheduleTable table = table_of(schedule, stages, microbatches);
        const detail::Fitting fitting(choices, sums, table);
        const auto cuts = detail::least_cuts(sums.blocks(), stages, keep, [&](int s, int begin, int end) {
          if (!sums.cuttable(begin, end)) return never;
          const std::optional<bool> again = fitting.recompute(s, begin, end);
          return again ? detail::bound(choices, sums, s, begin, end, *again) : never;
        });
        for (const std::vector<int>& first : cuts) {
          Candidate c{first, wire.name, schedule, microbatches};
          for (int s = 0; s < stages; ++s)
            c.recompute.push_back(*fitting.recompute(s, first[static_cast<std::size_t>(s)],
                                                     detail::end_of(c, static_cast<std::size_t>(s), sums)));
          detail::fill_in(c, choices, sums, table);
          all.push_back(std::move(c));
        }
        if (!all.empty()) continue;
        const auto leaner = detail::least_cuts(sums.blocks(), stages, 1, [&](int s, int begin, int end) {
          return sums.cuttable(begin, end) ? static_cast<double>(fitting.least(s, begin, end)) : never;
        });
        for (const std::vector<int>& first : leaner) {
          const Candidate c{first, wire.name, schedule, microbatches};
          std::int64_t needs = 0;
          for (std::size_t s = 0; s < first.size(); ++s)
            needs = std::max(needs, fitting.least(static_cast<int>(s), first[s], detail::end_of(c, s, sums)));
          if (needs < least) least = needs, leanest = c;
        }
      }
    }
  if (all.empty() && leanest.first.empty())
    throw Error("pcomp: no wire can carry what is between any " + std::to_string(stages) + " stages; " +
                why_not);
  if (all.empty()) {
    std::string cuts;
    for (std::size_t s = 1; s < leanest.first.size(); ++s)
      cuts += (s == 1 ? ", cut before block " : ", ") + std::to_string(leanest.first[s]);
    throw Error("pcomp: nothing fits into " + detail::megabytes(choices.memory_limit) +
                " a rank: the leanest needs " + detail::megabytes(least) + " (" + leanest.wire + ", " +
                leanest.schedule + ", " + std::to_string(leanest.microbatches) + " micro-batches" + cuts +
                ")" + (choices.recompute == Recomputation::never ? ", without recomputation" : ""));
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Candidate& a, const Candidate& b) { return a.seconds < b.seconds; });
  return all;
}

PCOMP_IMPL const Candidate& recommend(const std::vector<Candidate>& ranked, double tolerance) {
  if (ranked.empty()) throw Error("pcomp: there is nothing to recommend from");
  if (!(tolerance >= 0))
    throw Error("pcomp: a tolerance is a share of at least 0, not " + std::to_string(tolerance));
  const Candidate* best = &ranked.front();
  const auto share = [](const Candidate& c) {
    return c.raw_bytes > 0 ? static_cast<double>(c.bytes) / static_cast<double>(c.raw_bytes) : 1.0;
  };
  for (const Candidate& c : ranked)
    if (c.seconds <= (1 + tolerance) * ranked.front().seconds && share(c) > share(*best)) best = &c;
  return *best;
}

}  // namespace pcomp::plan
