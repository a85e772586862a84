#pragma once
#include <array>
#include <sstream>

#include "engine.hpp"

namespace pcomp {

/// The counters of a boundary's report in a fixed order, for writing and reading.
inline std::array<std::int64_t*, 12> counters(BoundaryReport& b) {
  std::array<std::int64_t*, 12> all{};
  std::size_t n = 0;
  for (Traffic* t : {&b.forward, &b.gradient, &b.inference})
    for (std::int64_t* v : {&t->messages, &t->bytes, &t->predicted, &t->raw}) all[n++] = v;
  return all;
}

namespace detail {
/// Every time in a report, in a fixed order.
inline std::vector<double*> seconds_of(Report& r) {
  std::vector<double*> all;
  for (RankReport& k : r.ranks)
    for (double* v : k.counters()) all.push_back(v);
  for (StageReport& s : r.stages)
    for (double* v : {&s.sum.forward, &s.sum.backward, &s.sum.weights}) all.push_back(v);
  return all;
}
/// Every count of what crossed no boundary, in a fixed order.
inline std::vector<std::int64_t*> messages_of(Report& r) {
  std::vector<std::int64_t*> all;
  for (RankReport& k : r.ranks)
    for (Traffic* t : {&k.losses, &k.outputs, &k.agreement})
      for (std::int64_t* v : {&t->messages, &t->bytes, &t->predicted, &t->raw}) all.push_back(v);
  return all;
}
}  // namespace detail

/// What all ranks sent and where their time went, on every rank: the sum of their reports.
///
/// Processes: all call it. With threads it is `engine.report()`.
/// Example: examples/100-mobilenetv2-cifar10
[[nodiscard]] inline Report total_report(Engine& engine) {
  const Calls::Scope call(engine.calls(), "adds up the reports");
  Report total = engine.report();
  std::ostringstream own;
  own.precision(17);
  for (BoundaryReport& b : total.boundaries) {
    for (std::int64_t* v : counters(b)) own << std::exchange(*v, 0) << ' ';
    own << std::exchange(b.state, 0) << ' ';
  }
  for (std::int64_t* v : detail::messages_of(total)) own << std::exchange(*v, 0) << ' ';
  for (double* v : detail::seconds_of(total)) own << std::exchange(*v, 0) << ' ';
  for (StageReport& s : total.stages) own << std::exchange(s.micros, 0) << ' ';
  for (const std::string& text : engine.exchange("report", own.str())) {
    std::istringstream in(text);
    const auto add = [&](std::int64_t& v) {
      std::int64_t more = 0;
      in >> more;
      v += more;
    };
    for (BoundaryReport& b : total.boundaries) {
      for (std::int64_t* v : counters(b)) add(*v);
      add(b.state);
    }
    for (std::int64_t* v : detail::messages_of(total)) add(*v);
    for (double* v : detail::seconds_of(total)) {
      double more = 0;
      in >> more;
      *v += more;
    }
    for (StageReport& s : total.stages) add(s.micros);
  }
  total.predict(engine.schedule());
  return total;
}

}  // namespace pcomp
