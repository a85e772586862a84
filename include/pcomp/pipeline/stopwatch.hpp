#pragma once
#include <chrono>

#include "../schedule/trace.hpp"

namespace pcomp::detail {

/// Where one rank's time goes: in sums, and, where a lane of a trace is given, operation by operation.
class Stopwatch {
 public:
  using Clock = std::chrono::steady_clock;

  /// What is timed from here on is also written to `lane`, in seconds since `origin`; null: it is not.
  void record(std::vector<Interval>* lane, Clock::time_point origin) {
    lane_ = lane;
    origin_ = origin;
  }

  template <class F>
  void operator()(double& seconds, const Action& a, F&& body) {
    const auto start = Clock::now();
    body();
    const auto stop = Clock::now();
    seconds += std::chrono::duration<double>(stop - start).count();
    if (lane_) note(a, start, stop);
  }

 private:
  void note(const Action& a, Clock::time_point start, Clock::time_point stop) {
    const auto since = [&](Clock::time_point t) {
      return std::chrono::duration<double>(t - origin_).count();
    };
    if (!lane_->empty())
      if (Interval& last = lane_->back(); last.op == a.op && last.stage == a.stage && last.micro == a.micro) {
        last.end = since(stop);
        return;
      }
    lane_->push_back({a.op, a.stage, a.micro, since(start), since(stop)});
  }

  std::vector<Interval>* lane_ = nullptr;
  Clock::time_point origin_;
};

}  // namespace pcomp::detail
