#pragma once
#include <array>
#include <cstdint>

#include "draw.hpp"
#include "facts.hpp"
#include "placement.hpp"
#include "prove.hpp"
#include "row.hpp"

namespace pcomp {
namespace detail {

template <class P, int Stages>
constexpr bool placement_fits() {
  if constexpr (requires { P::size; })
    return P::size == Stages;
  else
    return true;
}

template <int Stages, int Ranks>
constexpr int edge_count(const std::array<int, Stages>& rank_of, int rank) {
  int n = 0;
  for (std::size_t s = 0; s + 1 < Stages; ++s)
    if (rank_of[s] != rank_of[s + 1]) n += (rank_of[s] == rank) + (rank_of[s + 1] == rank);
  return n;
}

}  // namespace detail

/// A table of what every rank does in one step, as a constant: proved, drawn and executed, the same table each
/// time.
///
/// Law: `deadlock_free` under a blocking rendezvous, or it does not compile; forward and backward passes run in
///   ascending micro-batches on every stage; `peak_live[r]` is the most activations that rank r keeps at once.
/// Bytes: `bytes_per_step(edge, f, g)` for f bytes forward and g bytes backward in each micro-batch.
/// Shapes: `ticks` counts Forward and Backward as one each and messages as none; `bubble` is a fraction of
///   ranks times ticks.
/// Refusals: fewer micro-batches than the policy needs; a placement that does not name one rank for every stage
///   or leaves one out; a table that deadlocks.
/// Source: GPipe (Huang et al., 2019), PipeDream-flush (Narayanan et al., 2021).
/// Example: docs/schedules.md
template <Policy P, int Stages, int MicroBatches, class Where = OneStagePerRank>
class Schedule {
  static constexpr bool sizes_ok = Stages >= 1 && MicroBatches >= 1;
  static constexpr bool size_ok = detail::placement_fits<Where, Stages>();
  static constexpr auto named = [] {
    std::array<int, (Stages > 0 ? Stages : 1)> list{};
    if constexpr (size_ok)
      for (int s = 0; s < Stages; ++s) list[static_cast<std::size_t>(s)] = Where::rank(s);
    return list;
  }();
  static constexpr bool ranks_ok = !size_ok || detail::count_ranks(named) > 0;
  static constexpr bool fits = sizes_ok && size_ok && ranks_ok;
  // After a refusal the rest is about one stage on one rank, so that it adds no error of its own.
  static constexpr auto map = fits ? named : decltype(named){};

 public:
  using PolicyType = P;
  static_assert(refuse::too_few_micro_batches<sizes_ok>());
  static_assert(refuse::placement_size<size_ok>());
  static_assert(refuse::placement_ranks<ranks_ok>());

  static constexpr int stages = Stages;
  static constexpr int micros = MicroBatches;
  static constexpr int ranks = fits ? detail::count_ranks(map) : 1;
  static constexpr bool backward = P::backward;
  static constexpr const char* policy = P::name;
  static constexpr int rank_of(int stage) { return map[static_cast<std::size_t>(stage)]; }

 private:
  static constexpr Size n{fits ? Stages : 1, fits ? MicroBatches : 1};
  static constexpr std::size_t total = [] {
    std::size_t messages = 0;
    for (std::size_t s = 0; s + 1 < map.size(); ++s)
      if (fits && map[s] != map[s + 1]) messages += 2;
    return static_cast<std::size_t>(n.micros) * (static_cast<std::size_t>(n.stages) + messages) *
           (P::backward ? 2u : 1u);
  }();
  struct Storage {
    std::array<Action, total> actions{};
    std::array<std::size_t, static_cast<std::size_t>(ranks) + 1> first{};
  };
  static constexpr Storage storage = [] {
    Storage t;
    std::size_t at = 0;
    for (int r = 0; r < ranks; ++r) {
      for (const Action& a : detail::make_row<P>(r, n, std::span(map).first(n.stages))) t.actions[at++] = a;
      t.first[static_cast<std::size_t>(r) + 1] = at;
    }
    return t;
  }();
  static constexpr std::vector<std::span<const Action>> rows() {
    std::vector<std::span<const Action>> all;
    for (int r = 0; r < ranks; ++r) all.push_back(row(r));
    return all;
  }

 public:
  /// What rank `r` does, in order.
  static constexpr std::span<const Action> row(int r) {
    const auto i = static_cast<std::size_t>(r);
    return std::span(storage.actions).subspan(storage.first[i], storage.first[i + 1] - storage.first[i]);
  }

  static constexpr bool deadlock_free = [] {
    const auto all = rows();
    return Rendezvous(all, n, std::span(map).first(n.stages), P::backward).ok();
  }();
  static_assert(refuse::deadlock<deadlock_free>());

  static constexpr std::array<int, static_cast<std::size_t>(ranks)> peak_live = [] {
    std::array<int, static_cast<std::size_t>(ranks)> peak{};
    for (int r = 0; r < ranks; ++r) peak[static_cast<std::size_t>(r)] = detail::peak_live(row(r));
    return peak;
  }();
  static constexpr int ticks = detail::timeline(rows(), n).ticks;
  static constexpr double bubble = detail::bubble(rows(), ticks);

  /// Messages over the boundary between `edge` and the next stage in one step and direction.
  static constexpr int messages(int edge) { return rank_of(edge) == rank_of(edge + 1) ? 0 : MicroBatches; }
  static constexpr std::int64_t bytes_per_step(int edge, std::int64_t forward, std::int64_t gradient) {
    return messages(edge) * (forward + (P::backward ? gradient : 0));
  }

  /// The table as text: ranks as lanes, ticks as columns.
  static std::string draw() { return detail::draw(P::name, rows(), n); }
};

}  // namespace pcomp
