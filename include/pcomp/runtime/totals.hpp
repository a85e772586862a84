#pragma once
#include <array>

#include "engine.hpp"

namespace pcomp::runtime {

/// The counters of a boundary's report in a fixed order, for writing and reading.
inline std::array<std::int64_t*, 12> counters(BoundaryReport& b) {
  std::array<std::int64_t*, 12> all{};
  std::size_t n = 0;
  for (Traffic* t : {&b.forward, &b.gradient, &b.inference})
    for (std::int64_t* v : {&t->messages, &t->bytes, &t->predicted, &t->raw}) all[n++] = v;
  return all;
}


/// What all ranks sent and where their time went, on every rank: the sum of their reports.
///
/// Processes: all call it. With threads it is `engine.report()`.
/// Example: examples/100-mobilenetv2-cifar10
[[nodiscard]] Report total_report(Engine& engine);

/// The last recorded step of all ranks, on every rank.
///
/// Law: processes on one machine share one time axis; on several machines, whose clocks nobody compares, each begins
///   at 0.
/// Processes: all call it, after a step that all recorded. With threads it is `engine.trace()`.
/// Example: examples/100-mobilenetv2-cifar10
[[nodiscard]] schedule::Trace total_trace(Engine& engine);

}  // namespace pcomp::runtime

#if !defined(PCOMP_COMPILED)
#include "impl/totals.ipp"
#endif
