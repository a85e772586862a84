#pragma once
#include "schedule.hpp"

namespace pcomp {

/// A schedule that is known at run time, with the facts of `Schedule` under the same names.
///
/// Law: equal to `Schedule<P, stages, micros, Where>` entry by entry.
/// Example: docs/schedules.md
class ScheduleTable {
 public:
  int stages = 1, micros = 1, ranks = 1;
  bool backward = true;
  std::string policy;
  bool deadlock_free = true;
  std::vector<int> peak_live;
  int ticks = 0;
  double bubble = 0;

  int rank_of(int stage) const { return rank_of_.at(static_cast<std::size_t>(stage)); }
  const std::vector<int>& rank_map() const { return rank_of_; }
  std::span<const Action> row(int rank) const { return rows_.at(static_cast<std::size_t>(rank)); }
  int messages(int edge) const { return rank_of(edge) == rank_of(edge + 1) ? 0 : micros; }
  std::int64_t bytes_per_step(int edge, std::int64_t forward, std::int64_t gradient) const {
    return messages(edge) * (forward + (backward ? gradient : 0));
  }
  std::string draw() const { return detail::draw(policy.c_str(), views(), {stages, micros}); }

  /// A table of one's own rows.
  /// Errors: `Error` with what `Rendezvous::explain` says where they cannot run.
  ScheduleTable(std::string policy_name, Size n, bool with_backward, std::vector<int> rank_map,
                std::vector<std::vector<Action>> rows)
      : stages(n.stages),
        micros(n.micros),
        ranks(static_cast<int>(rows.size())),
        backward(with_backward),
        policy(std::move(policy_name)),
        rank_of_(std::move(rank_map)),
        rows_(std::move(rows)) {
    const auto all = views();
    const Rendezvous proof(all, n, rank_of_, backward);
    if (!proof.ok()) throw Error(proof.explain());
    for (const auto& row : rows_) peak_live.push_back(detail::peak_live(row));
    ticks = detail::timeline(all, n).ticks;
    bubble = detail::bubble(all, ticks);
  }

  /// The same table as a compile-time schedule.
  template <Policy P, int Stages, int MicroBatches, class Where>
  ScheduleTable(Schedule<P, Stages, MicroBatches, Where>) {
    using S = Schedule<P, Stages, MicroBatches, Where>;
    stages = S::stages, micros = S::micros, ranks = S::ranks, backward = S::backward, policy = S::policy;
    peak_live.assign(S::peak_live.begin(), S::peak_live.end());
    ticks = S::ticks, bubble = S::bubble;
    for (int s = 0; s < stages; ++s) rank_of_.push_back(S::rank_of(s));
    for (int r = 0; r < ranks; ++r) rows_.emplace_back(S::row(r).begin(), S::row(r).end());
  }

 private:
  std::vector<std::span<const Action>> views() const { return {rows_.begin(), rows_.end()}; }

  std::vector<int> rank_of_;
  std::vector<std::vector<Action>> rows_;
};

/// Builds and proves a schedule at run time.
///
/// Law: as `Schedule`.
/// Shapes: at least one stage and one micro-batch; `where` is a list of ranks, `round_robin(n)`, a placement
///   type's value, or nothing for a stage a rank.
/// Errors: `Error` with the text of the compile-time refusal.
/// Example: docs/schedules.md
template <Policy P>
ScheduleTable make_schedule(P, int stages, int micros, const RankMap& where = {}) {
  if (stages < 1) throw Error("pcomp: a schedule needs at least 1 stage, not " + std::to_string(stages));
  if (micros < 1)
    throw Error("pcomp: this schedule needs more micro-batches: at least 1, not " + std::to_string(micros));
  std::vector<int> map = where.resolve(stages);
  std::vector<std::vector<Action>> rows;
  for (int r = 0; r < detail::count_ranks(map); ++r)
    rows.push_back(detail::make_row<P>(r, {stages, micros}, map));
  return {P::name, {stages, micros}, P::backward, std::move(map), std::move(rows)};
}

}  // namespace pcomp
