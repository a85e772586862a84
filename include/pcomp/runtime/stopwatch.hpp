#pragma once
#include <chrono>
#include <tuple>
#include <utility>
#include <vector>

#include "../schedule/trace.hpp"
#include "report.hpp"

namespace pcomp::detail {

/// Where one rank's time goes: in sums by kind and by stage and, if a trace's lane is given, operation by operation.
/// Steps without a backward pass leave the sums alone.
class Stopwatch {
 public:
  using Clock = std::chrono::steady_clock;

  /// From here on also writes each timing to `lane`, in seconds since `origin`; null: does not.
  void record(std::vector<Interval>* lane, Clock::time_point origin) {
    lane_ = lane;
    origin_ = origin;
  }
  void begin(bool training) {
    training_ = training;
    begin_ = Clock::now();
  }
  void end() { add(&RankReport::steps, begin_, Clock::now()); }

  template <class F>
  void operator()(double RankReport::*what, const Action& a, F&& body) {
    const auto start = Clock::now();
    body();
    const auto stop = Clock::now();
    add(what, start, stop);
    if (what != &RankReport::wait && what != &RankReport::send) charge(what, a, start, stop);
    if (lane_) note(a, start, stop);
  }

  /// `take_back` undoes what was added since `mark`.
  void mark() { marked_ = {times_, stages_}; }
  void take_back() { std::tie(times_, stages_) = marked_; }

  /// Counts messages that cross no boundary.
  void count(Traffic RankReport::*what, const Traffic& more) { times_.*what += more; }
  const RankReport& times() const { return times_; }
  const std::vector<StageReport>& stages() const { return stages_; }

 private:
  static double between(Clock::time_point a, Clock::time_point b) {
    return std::chrono::duration<double>(b - a).count();
  }
  void add(double RankReport::*what, Clock::time_point start, Clock::time_point stop) {
    if (training_) times_.*what += between(start, stop);
  }
  /// The cost of a stage's pass includes the coding of its payloads, on either side.
  void charge(double RankReport::*what, const Action& a, Clock::time_point start, Clock::time_point stop) {
    if (!training_) return;
    const auto s = static_cast<std::size_t>(a.stage);
    if (stages_.size() <= s) stages_.resize(s + 1);
    const bool ahead = a.op == Op::Recv || a.op == Op::Forward || a.op == Op::Send;
    StageCost& cost = stages_[s].sum;
    (ahead                         ? cost.forward
     : a.op == Op::BackwardWeights ? cost.weights
                                   : cost.backward) += between(start, stop);
    if (a.op == Op::Forward && what == &RankReport::compute) ++stages_[s].micros;
  }
  void note(const Action& a, Clock::time_point start, Clock::time_point stop) {
    if (!lane_->empty())
      if (Interval& last = lane_->back(); last.op == a.op && last.stage == a.stage && last.micro == a.micro) {
        last.end = between(origin_, stop);
        return;
      }
    lane_->push_back({a.op, a.stage, a.micro, between(origin_, start), between(origin_, stop)});
  }

  RankReport times_;
  std::vector<StageReport> stages_;
  std::pair<RankReport, std::vector<StageReport>> marked_;
  bool training_ = true;
  Clock::time_point begin_;
  std::vector<Interval>* lane_ = nullptr;
  Clock::time_point origin_;
};

}  // namespace pcomp::detail
