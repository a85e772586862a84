#pragma once
#include <chrono>
#include <cstring>
#include <fstream>
#include <limits>

#include "../../transport/communicator.hpp"
#include "../engine.hpp"

namespace pcomp::detail {

/// Calls f(number) for every count and time of a report, in a fixed order.
template <class F>
void for_each_number(runtime::Report& r, F f) {
  for (runtime::BoundaryReport& b : r.boundaries) {
    for (std::int64_t* v : counters(b)) f(*v);
    f(b.state);
  }
  for (runtime::RankReport& k : r.ranks) {
    for (runtime::Traffic* t : {&k.losses, &k.outputs, &k.agreement})
      for (std::int64_t* v : {&t->messages, &t->bytes, &t->predicted, &t->raw}) f(*v);
    f(k.peak_bytes);
    for (double* v : k.counters()) f(*v);
  }
  for (runtime::StageReport& s : r.stages) {
    for (double* v : {&s.sum.forward, &s.sum.backward, &s.sum.weights}) f(*v);
    f(s.microbatches);
    for (std::int64_t* v : {&s.bytes.fixed, &s.bytes.live, &s.bytes.forward, &s.bytes.backward,
                            &s.bytes.between, &s.bytes.weights})
      f(*v);
  }
}

/// One process's clock, and what its ranks did.
struct TracedInterval {
  std::int32_t rank = 0;
  schedule::Interval what;
};
struct TraceClock {
  char machine[40] = {};  ///< its boot id; empty if it has none
  double origin = 0;      ///< seconds of the machine's steady clock
};

}  // namespace pcomp::detail

namespace pcomp::runtime {

PCOMP_IMPL Report total_report(Engine& engine) {
  const transport::Calls::Scope call(engine.calls(), "adds up the reports");
  Report total = engine.report();
  std::vector<std::int64_t> counts;
  std::vector<double> times;
  const auto take = [&](auto& v) {
    if constexpr (std::is_same_v<std::remove_reference_t<decltype(v)>, double>)
      times.push_back(std::exchange(v, 0.0));
    else
      counts.push_back(std::exchange(v, 0));
  };
  detail::for_each_number(total, take);
  const auto all_counts =
      transport::gather<std::vector<std::int64_t>>(engine, "report", [&] { return counts; }).values();
  const auto all_times =
      transport::gather<std::vector<double>>(engine, "times of a report", [&] { return times; }).values();
  for (std::size_t p = 0; p < all_counts.size(); ++p) {
    auto count = all_counts[p].begin();
    auto time = all_times[p].begin();
    detail::for_each_number(total, [&](auto& v) {
      if constexpr (std::is_same_v<std::remove_reference_t<decltype(v)>, double>)
        v += *time++;
      else
        v += *count++;
    });
  }
  total.predict(engine.schedule());
  return total;
}

PCOMP_IMPL schedule::Trace total_trace(Engine& engine) {
  schedule::Trace total = engine.trace();
  detail::TraceClock clock;
  clock.origin = std::chrono::duration<double>(engine.trace_origin().time_since_epoch()).count();
  std::ifstream("/proc/sys/kernel/random/boot_id").get(clock.machine, sizeof clock.machine);
  std::vector<detail::TracedInterval> own;
  for (std::size_t r = 0; r < total.ranks.size(); ++r)
    for (const schedule::Interval& i : total.ranks[r]) own.push_back({static_cast<std::int32_t>(r), i});
  const auto clocks =
      transport::gather<detail::TraceClock>(engine, "clock of a trace", [&] { return clock; }).values();
  const auto traces =
      transport::gather<std::vector<detail::TracedInterval>>(engine, "trace", [&] { return own; }).values();
  bool one_machine = clock.machine[0] != 0;
  double first = std::numeric_limits<double>::infinity();
  for (const detail::TraceClock& c : clocks) {
    one_machine = one_machine && !std::strcmp(c.machine, clock.machine);
    first = std::min(first, c.origin);
  }
  for (auto& lane : total.ranks) lane.clear();
  for (std::size_t p = 0; p < traces.size(); ++p) {
    const double shift = one_machine ? clocks[p].origin - first : 0;
    for (auto [rank, i] : traces[p]) {
      i.begin += shift, i.end += shift;
      total.ranks.at(static_cast<std::size_t>(rank)).push_back(i);
    }
  }
  return total;
}

}  // namespace pcomp::runtime
