#pragma once
#include "../base/boundary_bytes.hpp"
#include "../base/error.hpp"
#include "../base/shape.hpp"
#include "lazy_rows.hpp"
#include "schedule.hpp"

namespace pcomp::detail {

/// A fact about a table; reading one that is not known throws.
template <class T>
class Fact {
 public:
  Fact() = default;
  Fact(T value) : value_(std::move(value)), known_(true) {}
  const T& get() const {
    if (!known_)
      throw Error("pcomp: this fact of a large table would need all of its rows: ask a smaller one");
    return value_;
  }
  operator const T&() const { return get(); }
  auto operator[](std::size_t i) const { return get().at(i); }
  auto size() const { return get().size(); }
  auto begin() const
    requires requires(const T& t) { t.begin(); }
  {
    return get().begin();
  }
  auto end() const
    requires requires(const T& t) { t.end(); }
  {
    return get().end();
  }

 private:
  T value_{};
  bool known_ = false;
};

[[noreturn]] inline void fail(const LongText& text) { throw Error(text.string()); }
inline schedule::PipelineDims checked(int stages, int microbatches) {
  if (stages < 1) fail(LongText() << "pcomp: a schedule needs at least 1 stage, not " << stages);
  if (microbatches < 1)
    fail(LongText() << "pcomp: this schedule needs more micro-batches: at least 1, not " << microbatches);
  return {stages, microbatches};
}
inline void check_frozen(int first, int least, int stages) {
  if (first < least || first >= stages)
    fail(LongText() << "pcomp: of " << stages << " stages the first " << least << " to " << stages - 1
                    << " can be frozen, not " << first);
}
inline void check_rank(int rank, int ranks) {
  if (rank < 0 || rank >= ranks)
    fail(LongText() << "pcomp: there is no rank " << rank << ": this schedule has " << ranks);
}

template <schedule::Policy P>
void check_suits(std::span<const int> rank_of) {
  if (!schedule::suits<P>(rank_of))
    fail(list(LongText() << "pcomp: this schedule cannot run a Placement that names a rank twice like this: "
                         << P::name << " on ranks ",
              rank_of));
}
/// One rank's row, once the clock is checked to keep its law.
template <schedule::Policy P>
std::vector<Action> checked_row(int rank, schedule::PipelineDims n, std::span<const int> rank_of) {
  if (const ClockFault late = clock_fault<P>(rank, n, rank_of); late.found)
    fail(LongText() << "pcomp: the clock of " << P::name << " breaks its law: the tick of " << late.late
                    << " must be above that of " << late.needs);
  return make_row<P>(rank, n, rank_of);
}

}  // namespace pcomp::detail

namespace pcomp::schedule {

/// A schedule built at run time, with the facts of `Schedule` under the same names.
///
/// Law: equal to `Schedule<P, stages, microbatches, Where>` entry by entry.
///   A table never changes, but for `bytes`; rows live as long as the table or a copy of it that has them.
/// Shapes: up to `proved_at_once` actions, all rows are built and proved together. A larger table builds a row
///   when it is first asked for, in memory proportional to that row, and checks the policy's clock there, which
///   implies freedom from deadlock.
/// Errors: `row` of a rank that does not exist; facts of a large table, which would need every row.
/// Example: examples/040-schedules
class ScheduleTable {
  /// Calls `use` with all rows.
  template <class Use>
  auto with_rows(Use use) const {
    if (lazy_)
      detail::fail(detail::LongText() << "pcomp: a table of more than " << proved_at_once
                                      << " actions is asked for single rows");
    const detail::Buffer<std::span<const Action>> views(rows_.size());
    for (std::size_t r = 0; r < rows_.size(); ++r) views.data()[r] = {rows_[r].data(), rows_[r].size()};
    return use(detail::Rows(views.data(), rows_.size()));
  }

 public:
  static constexpr int proved_at_once = 4'000'000;

  int stages = 1, microbatches = 1, ranks = 1;
  bool backward = true;
  std::string policy;
  bool deadlock_free = true;  ///< under a blocking rendezvous
  detail::Fact<std::vector<int>> peak_live;
  detail::Fact<int> ticks;
  detail::Fact<double> bubble;
  std::vector<BoundaryBytes> bytes;  ///< payloads of every boundary, where set

  int rank_of(int stage) const { return rank_of_.at(static_cast<std::size_t>(stage)); }
  const std::vector<int>& rank_map() const { return rank_of_; }
  bool splits_backward() const { return passes_.weights; }
  PipelineDims size() const { return {stages, microbatches, ranks}; }

  /// What rank `r` does, in order.
  std::span<const Action> row(int r) const {
    detail::check_rank(r, ranks);
    if (lazy_) return lazy_->row(r);
    const std::vector<Action>& row = rows_[static_cast<std::size_t>(r)];
    return {row.data(), row.size()};
  }
  int messages(int boundary) const { return detail::messages(map(), microbatches, boundary); }
  std::int64_t bytes_per_step(int boundary, std::int64_t forward, std::int64_t gradient) const {
    return messages(boundary) * (forward + (trains(boundary) ? gradient : 0));
  }
  /// For the payloads in `bytes`, one entry per boundary.
  std::int64_t bytes_per_step(int boundary) const {
    const int named = static_cast<int>(bytes.size());
    if (named != stages - 1)
      detail::fail(detail::LongText()
                   << "pcomp: set `bytes` for " << stages - 1 << " boundaries first, not " << named);
    messages(boundary);
    const BoundaryBytes b = bytes[static_cast<std::size_t>(boundary)];
    return bytes_per_step(boundary, b.forward, b.gradient);
  }
  /// The most bytes that each rank needs at once in a step, if the stages need these.
  [[nodiscard]] std::vector<std::int64_t> peak_bytes(const std::vector<StageBytes>& needs) const {
    if (needs.size() != static_cast<std::size_t>(stages))
      detail::fail(detail::LongText() << "pcomp: peak_bytes takes what each of " << stages
                                      << " stages needs, not " << static_cast<int>(needs.size()));
    return with_rows([&](detail::Rows all) {
      std::vector<std::int64_t> peak;
      for (const auto& row : all)
        peak.push_back(detail::peak_bytes(row, passes_, {needs.data(), needs.size()}));
      return peak;
    });
  }
  template <class W>
  std::int64_t bytes_per_step(int boundary, W wire, const Extents& microbatch) const {
    const BoundaryBytes b = detail::BoundaryBytesOf<W>::of(wire, microbatch);
    return bytes_per_step(boundary, b.forward, b.gradient);
  }

  /// Whether the table runs to its end with at most `in_flight` messages between a send and its receive on each boundary
  /// and direction; 0 is a blocking rendezvous.
  [[nodiscard]] bool runs_with(int in_flight) const {
    return with_rows([&](detail::Rows all) { return Proof(all, size(), map(), passes_, in_flight).ok(); });
  }

  /// The same table with the first stages frozen: they only run forward, and no gradient is sent to them.
  ///
  /// Law: every row without those operations, in the same order, so it runs wherever the whole table does.
  /// Errors: `Error` if no stage is left to train, or fewer are frozen than in this table.
  /// Source: PipeTransformer (He et al., 2021) for pipelines whose first stages are frozen.
  [[nodiscard]] ScheduleTable freeze(int frozen_stages) const {
    if (!backward)
      detail::fail(detail::LongText() << "pcomp: a schedule without backward passes has none to leave out");
    detail::check_frozen(frozen_stages, passes_.frozen, stages);
    Passes passes = passes_;
    passes.frozen = frozen_stages;
    ScheduleTable less = without(passes, microbatches);
    if (lazy_) return less;
    less.count();
    less.deadlock_free = deadlock_free || less.runs_with(0);
    return less;
  }
  /// The same table with its first micro-batches alone, for a batch that has too few samples for all.
  ///
  /// Law: every row without the others' operations, in the same order, so it runs wherever the whole table does.
  /// Errors: `Error` for fewer than 1, or more than this table has.
  [[nodiscard]] ScheduleTable first(int count) const {
    if (count < 1 || count > microbatches)
      detail::fail(detail::LongText()
                   << "pcomp: a table of " << microbatches << " micro-batches has no first " << count);
    ScheduleTable less = without(passes_, count);
    if (lazy_) return less;
    less.deadlock_free = deadlock_free || less.runs_with(0);
    less.deadlock_free ? less.prove(0) : less.count();
    return less;
  }
  int frozen() const { return passes_.frozen; }
  /// Whether this stage has a backward pass, and so the boundary after it carries gradients.
  bool trains(int stage) const { return passes_.trains(stage); }

  template <class T = Trace>
  T trace() const {
    return with_rows(
        [&](detail::Rows all) { return detail::trace_of<T>(policy.c_str(), all, size(), map(), passes_); });
  }
  template <class Chart = TextChart>
  [[nodiscard]] std::string draw(const Chart& chart = {}) const {
    return chart(trace());
  }

  /// A table of your own rows, for at most `in_flight` messages on their way (0: a blocking rendezvous).
  /// Errors: `Error` with the text of `Proof::explain` if they cannot run.
  ScheduleTable(std::string policy_name, PipelineDims n, Passes passes, std::vector<int> rank_map,
                std::vector<std::vector<Action>> rows, int in_flight = 0)
      : ScheduleTable(std::move(policy_name), detail::checked(n.stages, n.microbatches), passes,
                      RankMap(std::move(rank_map)).resolve(n.stages)) {
    if (rows.size() != static_cast<std::size_t>(ranks))
      detail::fail(detail::LongText() << "pcomp: a table for " << ranks << " ranks needs as many rows, not "
                                      << static_cast<int>(rows.size()));
    detail::check_frozen(passes.frozen, 0, stages);
    rows_ = std::move(rows);
    prove(in_flight);
    deadlock_free = in_flight == 0 || runs_with(0);
  }

  /// The same table as a compile-time schedule.
  template <Policy P, int Stages, int Microbatches, class Where>
  ScheduleTable(Schedule<P, Stages, Microbatches, Where>)
      : ScheduleTable(P{}, Stages, Microbatches, RankMap(Where{})) {}

  /// What `make_schedule` returns.
  template <Policy P>
  ScheduleTable(P, int stage_count, int microbatch_count, const RankMap& where)
      : ScheduleTable(P::name, detail::checked(stage_count, microbatch_count), detail::passes_of<P>,
                      where.resolve(detail::checked(stage_count, microbatch_count).stages)) {
    detail::check_suits<P>(map());
    if (actions() > proved_at_once) {
      lazy_ = std::make_shared<const detail::LazyRows>(detail::checked_row<P>, size(), rank_of_);
      return;
    }
    rows_.resize(static_cast<std::size_t>(ranks));
    for (int r = 0; r < ranks; ++r)
      rows_[static_cast<std::size_t>(r)] = detail::make_row<P>(r, size(), map());
    prove(0);
  }

 private:
  ScheduleTable(std::string policy_name, PipelineDims n, Passes passes, std::vector<int> rank_map)
      : stages(n.stages),
        microbatches(n.microbatches),
        backward(passes.backward),
        policy(std::move(policy_name)),
        passes_(passes),
        rank_of_(std::move(rank_map)) {
    ranks = detail::count_ranks(map());
  }
  /// The operations of these passes and first micro-batches alone; its facts are those of the whole table still.
  ScheduleTable without(const Passes& passes, int count) const {
    ScheduleTable less = *this;
    less.passes_ = passes, less.microbatches = count;
    for (auto& row : less.rows_) detail::drop(row, passes, count);
    if (lazy_) less.lazy_ = std::make_shared<const detail::LazyRows>(*lazy_, passes, count);
    return less;
  }

  std::span<const int> map() const { return {rank_of_.data(), rank_of_.size()}; }
  std::int64_t actions() const {
    std::int64_t each = std::int64_t{passes_.count()} * stages;
    for (int e = 0; e + 1 < stages; ++e)
      if (messages(e)) each += backward ? 4 : 2;
    return each * microbatches;
  }
  void prove(int in_flight) {
    with_rows([&](detail::Rows all) {
      const Proof proof(all, size(), map(), passes_, in_flight);
      if (!proof.ok()) throw Error(proof.explain());
    });
    count();
  }
  void count() {
    with_rows([&](detail::Rows all) {
      std::vector<int> peaks(all.size());
      for (std::size_t r = 0; r < all.size(); ++r) peaks[r] = detail::peak_live(all[r], passes_);
      peak_live = std::move(peaks);
      ticks = detail::count_ticks(all, size());
      bubble = detail::bubble(size(), passes_, ticks);
    });
  }

  Passes passes_;
  std::vector<int> rank_of_;
  std::vector<std::vector<Action>> rows_;
  std::shared_ptr<const detail::LazyRows>
      lazy_;  ///< instead of `rows_`, for a table too large for all at once
};

}  // namespace pcomp::schedule

namespace pcomp {

/// Builds and proves a schedule at run time.
///
/// Law: as `Schedule`.
/// Shapes: at least one stage and one micro-batch; `where` is a list of ranks, `round_robin(n)`, a placement
///   type's value, or nothing for one stage per rank.
/// Errors: `Error` with the text of the compile-time refusal.
/// Example: examples/040-schedules
template <schedule::Policy P>
[[nodiscard]] schedule::ScheduleTable make_schedule(P policy, int stages, int microbatches,
                                                    const schedule::RankMap& where = {}) {
  return {policy, stages, microbatches, where};
}

}  // namespace pcomp

namespace pcomp::schedule {

/// One rank's row alone, in memory proportional to it.
///
/// Law: `make_schedule(policy, stages, microbatches, where).row(rank)`.
/// Errors: as there.
template <Policy P>
[[nodiscard]] std::vector<Action> make_row(P, int stages, int microbatches, int rank,
                                           const RankMap& where = {}) {
  const std::vector<int> map = where.resolve(detail::checked(stages, microbatches).stages);
  const std::span<const int> rank_of(map.data(), map.size());
  const PipelineDims n{stages, microbatches, detail::count_ranks(rank_of)};
  detail::check_rank(rank, n.ranks);
  detail::check_suits<P>(rank_of);
  return detail::checked_row<P>(rank, n, rank_of);
}

}  // namespace pcomp::schedule
