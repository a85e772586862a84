#pragma once
#include <fstream>
#include <sstream>

#include "../engine.hpp"

namespace pcomp::detail {

/// Every time in a report, in a fixed order.
inline std::vector<double*> seconds_of(runtime::Report& r) {
  std::vector<double*> all;
  for (runtime::RankReport& k : r.ranks)
    for (double* v : k.counters()) all.push_back(v);
  for (runtime::StageReport& s : r.stages)
    for (double* v : {&s.sum.forward, &s.sum.backward, &s.sum.weights}) all.push_back(v);
  return all;
}
/// Every count of what crossed no boundary, in a fixed order.
inline std::vector<std::int64_t*> messages_of(runtime::Report& r) {
  std::vector<std::int64_t*> all;
  for (runtime::RankReport& k : r.ranks)
    for (runtime::Traffic* t : {&k.losses, &k.outputs, &k.agreement})
      for (std::int64_t* v : {&t->messages, &t->bytes, &t->predicted, &t->raw}) all.push_back(v);
  return all;
}

}  // namespace pcomp::detail

namespace pcomp::runtime {

PCOMP_IMPL Report total_report(Engine& engine) {
  const transport::Calls::Scope call(engine.calls(), "adds up the reports");
  Report total = engine.report();
  std::ostringstream own;
  own.precision(17);
  for (BoundaryReport& b : total.boundaries) {
    for (std::int64_t* v : counters(b)) own << std::exchange(*v, 0) << ' ';
    own << std::exchange(b.state, 0) << ' ';
  }
  for (std::int64_t* v : detail::messages_of(total)) own << std::exchange(*v, 0) << ' ';
  for (double* v : detail::seconds_of(total)) own << std::exchange(*v, 0) << ' ';
  for (StageReport& s : total.stages) own << std::exchange(s.microbatches, 0) << ' ';
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
    for (StageReport& s : total.stages) add(s.microbatches);
  }
  total.predict(engine.schedule());
  return total;
}

PCOMP_IMPL schedule::Trace total_trace(Engine& engine) {
  schedule::Trace total = engine.trace();
  std::string boot = "unknown";
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  std::ostringstream own;
  own.precision(17);
  own << boot << ' ' << std::chrono::duration<double>(engine.trace_origin().time_since_epoch()).count()
      << '\n';
  for (std::size_t r = 0; r < total.ranks.size(); ++r)
    for (const schedule::Interval& i : total.ranks[r])
      own << r << ' ' << static_cast<int>(i.op) << ' ' << i.stage << ' ' << i.micro << ' ' << i.begin << ' '
          << i.end << '\n';
  const auto texts = engine.exchange("trace", own.str());
  bool one_machine = true;
  double first = std::numeric_limits<double>::infinity();
  std::vector<double> origins;
  for (const std::string& text : texts) {
    std::istringstream in(text);
    std::string machine;
    double origin = 0;
    in >> machine >> origin;
    one_machine = one_machine && machine == boot && boot != "unknown";
    origins.push_back(origin);
    first = std::min(first, origin);
  }
  for (auto& lane : total.ranks) lane.clear();
  for (std::size_t p = 0; p < texts.size(); ++p) {
    std::istringstream in(texts[p]);
    const double shift = one_machine ? origins[p] - first : 0;
    std::string line;
    std::getline(in, line);
    std::size_t rank = 0;
    int op = 0;
    for (schedule::Interval i; in >> rank >> op >> i.stage >> i.micro >> i.begin >> i.end;) {
      i.op = static_cast<Op>(op), i.begin += shift, i.end += shift;
      total.ranks.at(rank).push_back(i);
    }
  }
  return total;
}

}  // namespace pcomp::runtime
