#pragma once
#include "../base/boundary_bytes.hpp"
#include "../base/shape.hpp"
#include "draw.hpp"
#include "memory.hpp"
#include "placement.hpp"
#include "prove.hpp"
#include "row.hpp"

namespace pcomp::detail {

template <class P, int Stages>
constexpr bool placement_fits() {
  if constexpr (requires { P::size; })
    return P::size == Stages;
  else
    return true;
}

/// The largest table that both compilers build and prove within their default limits, and in under two seconds.
inline constexpr std::int64_t most_actions = 8192;
inline constexpr int most_stages = 64;

}  // namespace pcomp::detail

namespace pcomp {

/// A table of what every rank does in one step, as a constant: the same table is proved, drawn and executed.
///
/// Law: `deadlock_free` under a blocking rendezvous, or it does not compile; forward and backward passes run in
///   ascending micro-batches on every stage; `peak_live[r]` is the most activations that rank r keeps at once, and
///   `peak_bytes(needs)[r]` the most memory.
/// Bytes: `bytes_per_step(boundary, f, g)` for f bytes forward and g bytes backward in each micro-batch, or
///   `bytes_per_step(boundary, wire, shape of a micro-batch)`.
/// Shapes: `ticks` counts every computation as one and messages as none; `bubble` is the idle fraction of ranks
///   times ticks. Up to 8192 actions and 64 stages; larger ones come from `make_schedule`.
/// Refusals: no stage or no micro-batch; a placement that does not name one rank for every stage, leaves a rank
///   out or does not suit the policy; a larger table; a table that cannot run, with the step and the cycle.
/// Source: GPipe (Huang et al., 2019), PipeDream-flush (Narayanan et al., 2021).
/// Example: examples/040-schedules
template <schedule::Policy P, int Stages, int Microbatches, class Where = schedule::OneStagePerRank>
class Schedule {
  static constexpr bool sizes_ok = Stages >= 1 && Microbatches >= 1;
  static constexpr bool size_ok = detail::placement_fits<Where, Stages>();
  static constexpr auto named = [] {
    std::array<int, (Stages > 0 ? Stages : 1)> list{};
    if constexpr (size_ok)
      for (int s = 0; s < Stages; ++s) list[static_cast<std::size_t>(s)] = Where::rank(s);
    return list;
  }();
  static constexpr bool ranks_ok = !size_ok || detail::count_ranks(named) > 0;
  static constexpr bool suits_ok = !sizes_ok || !size_ok || !ranks_ok || schedule::suits<P>(named);
  static constexpr std::int64_t actions = [] {
    std::int64_t each = detail::passes_of<P>.count() * std::int64_t{Stages};
    for (std::size_t s = 0; s + 1 < named.size(); ++s)
      if (named[s] != named[s + 1]) each += P::backward ? 4 : 2;
    return each * Microbatches;
  }();
  static constexpr bool small = actions <= detail::most_actions && Stages <= detail::most_stages;
  static constexpr bool fits = sizes_ok && size_ok && ranks_ok && suits_ok && small;
  // After a refusal the rest describes one stage on one rank, so that it adds no error of its own.
  static constexpr auto map = fits ? named : decltype(named){};

 public:
  using PolicyType = P;
  static_assert(refuse::too_few_microbatches<sizes_ok>());
  static_assert(refuse::placement_size<size_ok>());
  static_assert(refuse::placement_ranks<ranks_ok>());
  static_assert(refuse::placement_repeats<suits_ok>());
  static_assert(refuse::table_size<small>());

  static constexpr int stages = Stages;
  static constexpr int microbatches = Microbatches;
  static constexpr int ranks = fits ? detail::count_ranks(map) : 1;
  static constexpr bool backward = P::backward;
  static constexpr const char* policy = P::name;
  static constexpr int rank_of(int stage) { return map[static_cast<std::size_t>(stage)]; }

 private:
  static constexpr schedule::PipelineDims n{fits ? Stages : 1, fits ? Microbatches : 1, ranks};
  static constexpr std::span<const int> placed() { return std::span<const int>(map).first(n.stages); }

  /// Each rank's row is a constant of its own, so that no single evaluation is long.
  template <int R>
  static constexpr auto stored = [] {
    constexpr std::size_t size = [] {
      std::size_t streams = detail::streams<P>(R, placed()).size();
      return streams * static_cast<std::size_t>(n.microbatches);
    }();
    std::array<Action, size> row{};
    const std::vector<Action> made = detail::make_row<P>(R, n, placed());
    for (std::size_t i = 0; i < size; ++i) row[i] = made[i];
    return row;
  }();
  template <int... R>
  static constexpr auto views(std::integer_sequence<int, R...>) {
    return std::array<std::span<const Action>, sizeof...(R)>{std::span<const Action>(stored<R>)...};
  }
  static constexpr std::array<std::span<const Action>, static_cast<std::size_t>(ranks)> all =
      views(std::make_integer_sequence<int, ranks>());
  static constexpr detail::Rows rows() { return all; }

 public:
  /// Calls `use` with the proof.
  template <class Use>
  static constexpr auto proved(Use use) {
    return use(schedule::Proof(rows(), n, placed(), detail::passes_of<P>));
  }

  static constexpr bool deadlock_free = proved([](const schedule::Proof& proof) { return proof.ok(); });
  static_assert(refuse::deadlock<deadlock_free, detail::Diagnosis<deadlock_free, Schedule>>());

  /// What rank `r` does, in order.
  static constexpr std::span<const Action> row(int r) { return all[static_cast<std::size_t>(r)]; }

  static constexpr std::array<int, static_cast<std::size_t>(ranks)> peak_live = [] {
    std::array<int, static_cast<std::size_t>(ranks)> peak{};
    for (std::size_t r = 0; r < peak.size(); ++r) peak[r] = detail::peak_live(all[r], detail::passes_of<P>);
    return peak;
  }();
  /// The most bytes that each rank needs at once in a step, if the stages need these.
  static constexpr std::array<std::int64_t, static_cast<std::size_t>(ranks)> peak_bytes(
      const std::array<schedule::StageBytes, static_cast<std::size_t>(n.stages)>& needs) {
    std::array<std::int64_t, static_cast<std::size_t>(ranks)> peak{};
    for (std::size_t r = 0; r < peak.size(); ++r)
      peak[r] = detail::peak_bytes(all[r], detail::passes_of<P>, needs);
    return peak;
  }
  static constexpr int ticks = detail::count_ticks(rows(), n);
  static constexpr double bubble = detail::bubble(n, detail::passes_of<P>, ticks);

  /// Messages over the boundary between `boundary` and the next stage in one step and direction.
  static constexpr int messages(int boundary) { return detail::messages(placed(), Microbatches, boundary); }
  static constexpr std::int64_t bytes_per_step(int boundary, std::int64_t forward, std::int64_t gradient) {
    return messages(boundary) * (forward + (P::backward ? gradient : 0));
  }
  template <class W>
  static constexpr std::int64_t bytes_per_step(int boundary, W wire, const Extents& microbatch) {
    const schedule::BoundaryBytes b = detail::BoundaryBytesOf<W>::of(wire, microbatch);
    return bytes_per_step(boundary, b.forward, b.gradient);
  }

  /// The table as a trace in ticks, and drawn: by default as text.
  static schedule::Trace trace() {
    return detail::trace_of<schedule::Trace>(P::name, rows(), n, placed(), detail::passes_of<P>);
  }
  template <class Chart = schedule::TextChart>
  static std::string draw(const Chart& chart = {}) {
    return chart(trace());
  }
};

}  // namespace pcomp
