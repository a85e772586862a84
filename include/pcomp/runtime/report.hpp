#pragma once
#include <array>
#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "../base/compiled.hpp"
#include "../plan/costs.hpp"
#include "../schedule/memory.hpp"
#include "../schedule/trace.hpp"

namespace pcomp {
class Engine;
}  // namespace pcomp

namespace pcomp::runtime {

/// What crossed one boundary in one direction.
struct Traffic {
  std::int64_t messages = 0;
  std::int64_t bytes = 0;      ///< counted where a payload is handed to the link
  std::int64_t predicted = 0;  ///< wire_bytes or grad_wire_bytes of every micro-batch
  std::int64_t raw = 0;        ///< the same tensors as 32-bit floats

  Traffic& operator+=(const Traffic& o) {
    messages += o.messages, bytes += o.bytes, predicted += o.predicted, raw += o.raw;
    return *this;
  }
};

/// One boundary of a pipeline, measured.
struct BoundaryReport {
  int boundary = 0;
  int from_rank = 0, to_rank = 0;  ///< equal: encoded, but no message
  std::string wire;
  Traffic forward, gradient;  ///< of training steps
  Traffic inference;          ///< of infer
  std::int64_t state = 0;     ///< bytes that its ends keep for feedback
};

/// Where one rank's time in training steps went, in seconds of its own thread, and what it sent over no boundary.
struct RankReport {
  double compute = 0, encode = 0, decode = 0;  ///< on a boundary within the rank both count as encode
  double wait = 0;                             ///< for payloads to arrive
  double send = 0;                             ///< posting sends, and waiting for a buffer still in flight
  double steps = 0;                            ///< from begin to end
  Traffic losses, outputs;                     ///< what the last stage's rank sent to the others
  Traffic agreement;            ///< what the batch is, and the numbers of `sum` and `clip_grad_norm`
  std::int64_t peak_bytes = 0;  ///< the most that it needed at once, as in `Report::peak_bytes`

  double busy() const { return compute + encode + decode; }
  /// The share of the steps' time in which this rank does no work of its own.
  double bubble() const { return steps > 0 ? 1 - busy() / steps : 0; }
  Traffic messages() const {
    Traffic all = losses;
    return all += outputs, all += agreement;
  }
  std::array<double*, 6> counters() { return {&compute, &encode, &decode, &wait, &send, &steps}; }
};

/// What one stage cost in training steps, in seconds, including the coding of its payloads on either side.
struct StageReport {
  plan::StageCost sum;
  std::int64_t microbatches = 0;
  schedule::StageBytes bytes{};  ///< in the step that needed most
  plan::StageCost each() const {
    const double n = microbatches > 0 ? static_cast<double>(microbatches) : 1;
    return {sum.forward / n, sum.backward / n, sum.weights / n};
  }
};

/// What a pipeline sent and where its time went since it was built.
///
/// Law: for every boundary and direction, and for what crosses none, `bytes == predicted`; failed calls do not count,
///   nor what goes through the store: start-up, new batch shapes, `exchange`. `step.seconds` is what `simulate`
///   predicts from the measured stage costs over links that cost nothing: any excess is due to the links or the
///   machine. `peak_bytes` is what the schedule predicts from what one micro-batch of each stage needed; measured and
///   predicted count weights, gradients, buffers, and what a step allocates for its graphs and payloads, in the
///   first step of each kind of batch and of each larger batch, but not an optimiser's state; 0 while the program's own
///   profiler is on.
/// Bytes: per direction, beside the prediction and the raw size.
/// Example: examples/050-first-program
struct Report {
  std::int64_t steps = 0;
  std::vector<BoundaryReport> boundaries;
  std::vector<RankReport> ranks;
  std::vector<StageReport> stages;
  plan::Simulation step;                 ///< predicted; 0 seconds before the first step
  std::vector<std::int64_t> peak_bytes;  ///< predicted, by rank; empty before the first step

  /// Measured seconds per step, of the slowest rank.
  double seconds() const {
    double slowest = 0;
    for (const RankReport& r : ranks) slowest = std::max(slowest, r.steps);
    return steps > 0 ? slowest / static_cast<double>(steps) : 0;
  }
  /// Bytes that rank `r` sent over boundaries in training steps.
  std::int64_t bytes(int r) const {
    std::int64_t sum = 0;
    for (const BoundaryReport& b : boundaries)
      if (b.from_rank != b.to_rank)
        sum += (b.from_rank == r ? b.forward.bytes : 0) + (b.to_rank == r ? b.gradient.bytes : 0);
    return sum;
  }
  /// Simulates one step from the measured stage costs, and counts its memory.
  void predict(const schedule::ScheduleTable& schedule, std::vector<plan::LinkModel> links = {});

  /// Only the bytes, which are the same on every machine.
  void print_traffic(std::ostream& out) const;

  /// Where the time went, rank by rank, measured beside predicted.
  void print_times(std::ostream& out) const;

  /// The most memory that each rank needed at once, measured beside predicted.
  void print_memory(std::ostream& out) const;

  friend std::ostream& operator<<(std::ostream& out, const Report& r);

 private:
  static void line(std::ostream& out, const BoundaryReport& b, const char* direction, const Traffic& t);
};

}  // namespace pcomp::runtime

namespace pcomp::detail {

/// Where one rank's time goes: in sums by kind and by stage and, if a trace's lane is given, operation by operation.
/// Steps without a backward pass leave the sums alone.
class Stopwatch {
 public:
  using Clock = std::chrono::steady_clock;

  /// From here on also writes each timing to `lane`, in seconds since `origin`; null: does not.
  void record(std::vector<schedule::Interval>* lane, Clock::time_point origin) {
    lane_ = lane;
    origin_ = origin;
  }
  void begin(bool training) {
    training_ = training;
    begin_ = Clock::now();
  }
  void end() { add(&runtime::RankReport::steps, begin_, Clock::now()); }

  template <class F>
  void operator()(double runtime::RankReport::*what, const Action& a, F&& body) {
    const auto start = Clock::now();
    body();
    const auto stop = Clock::now();
    add(what, start, stop);
    if (what != &runtime::RankReport::wait && what != &runtime::RankReport::send)
      charge(what, a, start, stop);
    if (lane_) note(a, start, stop);
  }

  /// `take_back` undoes what was added since `mark`.
  void mark() { marked_ = {times_, stages_}; }
  void take_back() { std::tie(times_, stages_) = marked_; }

  /// Counts messages that cross no boundary.
  void count(runtime::Traffic runtime::RankReport::*what, const runtime::Traffic& more) {
    times_.*what += more;
  }
  const runtime::RankReport& times() const { return times_; }
  const std::vector<runtime::StageReport>& stages() const { return stages_; }

 private:
  static double between(Clock::time_point a, Clock::time_point b) {
    return std::chrono::duration<double>(b - a).count();
  }
  void add(double runtime::RankReport::*what, Clock::time_point start, Clock::time_point stop) {
    if (training_) times_.*what += between(start, stop);
  }
  /// The cost of a stage's pass includes the coding of its payloads, on either side.
  void charge(double runtime::RankReport::*what, const Action& a, Clock::time_point start,
              Clock::time_point stop) {
    if (!training_) return;
    const auto s = static_cast<std::size_t>(a.stage);
    if (stages_.size() <= s) stages_.resize(s + 1);
    const bool ahead = a.op == Op::Recv || a.op == Op::Forward || a.op == Op::Send;
    plan::StageCost& cost = stages_[s].sum;
    (ahead                         ? cost.forward
     : a.op == Op::BackwardWeights ? cost.weights
                                   : cost.backward) += between(start, stop);
    if (a.op == Op::Forward && what == &runtime::RankReport::compute) ++stages_[s].microbatches;
  }
  void note(const Action& a, Clock::time_point start, Clock::time_point stop) {
    if (!lane_->empty())
      if (schedule::Interval& last = lane_->back();
          last.op == a.op && last.stage == a.stage && last.micro == a.micro) {
        last.end = between(origin_, stop);
        return;
      }
    lane_->push_back({a.op, a.stage, a.micro, between(origin_, start), between(origin_, stop)});
  }

  runtime::RankReport times_;
  std::vector<runtime::StageReport> stages_;
  std::pair<runtime::RankReport, std::vector<runtime::StageReport>> marked_;
  bool training_ = true;
  Clock::time_point begin_;
  std::vector<schedule::Interval>* lane_ = nullptr;
  Clock::time_point origin_;
};

}  // namespace pcomp::detail

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
/// Example: apps/train
[[nodiscard]] Report total_report(Engine& engine);

/// The last recorded step of all ranks, on every rank.
///
/// Law: processes on one machine share one time axis; on several machines, whose clocks nobody compares, each begins
///   at 0.
/// Processes: all call it, after a step that all recorded. With threads it is `engine.trace()`.
/// Example: apps/train
[[nodiscard]] schedule::Trace total_trace(Engine& engine);

}  // namespace pcomp::runtime

#if !defined(PCOMP_COMPILED)
#include "impl/report.ipp"
#endif
