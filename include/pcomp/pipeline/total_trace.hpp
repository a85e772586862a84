#pragma once
#include <fstream>
#include <sstream>

#include "engine.hpp"

namespace pcomp {

/// The last recorded step of all ranks, on every rank.
///
/// Law: processes on one machine share one time axis; on several machines, whose clocks nobody compares, each begins
///   at 0.
/// Processes: all call it, after a step that all recorded. With threads it is `engine.trace()`.
/// Example: examples/100-mobilenetv2-cifar10
[[nodiscard]] inline Trace total_trace(Engine& engine) {
  Trace total = engine.trace();
  std::string boot = "unknown";
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  std::ostringstream own;
  own.precision(17);
  own << boot << ' ' << std::chrono::duration<double>(engine.trace_origin().time_since_epoch()).count()
      << '\n';
  for (std::size_t r = 0; r < total.ranks.size(); ++r)
    for (const Interval& i : total.ranks[r])
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
    for (Interval i; in >> rank >> op >> i.stage >> i.micro >> i.begin >> i.end;) {
      i.op = static_cast<Op>(op), i.begin += shift, i.end += shift;
      total.ranks.at(rank).push_back(i);
    }
  }
  return total;
}

}  // namespace pcomp
