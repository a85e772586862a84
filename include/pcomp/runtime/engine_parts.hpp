#pragma once
#include <ATen/ops/add.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../nn/batch_end.hpp"
#include "../schedule/policies/forward_only.hpp"
#include "agreement.hpp"
#include "gather.hpp"
#include "payload_buffers.hpp"
#include "ranks.hpp"
#include "shape_inference.hpp"

namespace pcomp::detail {

/// Refuses a schedule that an engine with so many stages and wires cannot train by.
inline void expect_runnable(const schedule::ScheduleTable& schedule, std::size_t stages, std::size_t wires) {
  if (static_cast<int>(stages) != schedule.stages || wires + 1 != stages)
    throw Error("pcomp: a schedule of " + std::to_string(schedule.stages) +
                " stages needs as many stages and one "
                "wire fewer, not " +
                std::to_string(stages) + " stages and " + std::to_string(wires) + " wires");
  if (!schedule.backward) throw Error("pcomp: training needs a schedule with backward passes");
  constexpr int buffers = static_cast<int>(BoundaryBuffers::depth);
  if (!schedule.deadlock_free && !schedule.runs_with(buffers))
    throw Error("pcomp: this schedule needs more than " + std::to_string(buffers) +
                " messages in flight on a boundary, and a rank has " + std::to_string(buffers) +
                " buffers for it");
}

/// The schedules that an engine runs: its own, those for batches with too few samples for all micro-batches, and those
/// without backward passes.
class Tables {
 public:
  int smallest = 1;  ///< samples of a micro-batch

  int microbatches(const schedule::ScheduleTable& schedule, std::int64_t samples) const {
    return static_cast<int>(std::clamp<std::int64_t>(samples / smallest, 1, schedule.microbatches));
  }
  const schedule::ScheduleTable& training(const schedule::ScheduleTable& schedule, int microbatches) {
    if (microbatches == schedule.microbatches) return schedule;
    const auto known = fewer_.find(microbatches);
    return known != fewer_.end() ? known->second
                                 : fewer_.emplace(microbatches, schedule.first(microbatches)).first->second;
  }
  const schedule::ScheduleTable& inference(const schedule::ScheduleTable& schedule, int microbatches) {
    if (!inference_ || inference_->microbatches != microbatches)
      inference_ = std::make_unique<schedule::ScheduleTable>(make_schedule(
          ForwardOnly{}, schedule.stages, microbatches, schedule::RankMap(schedule.rank_map())));
    return *inference_;
  }
  /// The engine's schedule is another one from now on.
  void forget() { fewer_.clear(); }

 private:
  std::map<int, schedule::ScheduleTable> fewer_;
  std::unique_ptr<schedule::ScheduleTable> inference_;
};

/// What an engine consists of.
struct EngineParts {
  using Numbers = std::vector<std::vector<at::Tensor>>;

  EngineParts(schedule::ScheduleTable given, std::vector<const kernel::WireKernels*> on)
      : table(given), whole(std::move(given)), wires(std::move(on)), boundaries(wires.size()) {}
  EngineParts(const EngineParts&) = delete;
  EngineParts& operator=(const EngineParts&) = delete;

  schedule::ScheduleTable table;  ///< `whole` without what frozen stages skip
  schedule::ScheduleTable whole;  ///< as given
  // Later members go before earlier ones: graphs before the stages that they watch, links before the buffers of ranks.
  Ranks ranks;
  Gather gather;
  std::unique_ptr<transport::Communicator> communicator;
  std::map<std::string, std::shared_ptr<void>> kept;
  Tables tables;
  std::vector<const kernel::WireKernels*> wires;
  std::vector<runtime::BoundaryReport> boundaries;
  ShapeInference shapes;
  Agreement agreement;
  std::unique_ptr<StepGraphs> graphs = std::make_unique<StepGraphs>();
  std::int64_t steps = 0;
  bool recording = false;
  bool in_eval = false;  ///< by the last `train` or `eval`
  schedule::Trace trace;
  Stopwatch::Clock::time_point trace_origin;

  const runtime::StageModule* find(int stage) const {
    const Rank* rank = ranks.find(table.rank_of(stage));
    return rank ? &rank->executor.stage(stage) : nullptr;
  }
  Rank* find_rank(int stage) const { return ranks.find(table.rank_of(stage)); }
  /// Null for stages in other processes.
  std::vector<const runtime::StageModule*> all_stages() const {
    std::vector<const runtime::StageModule*> all;
    for (int s = 0; s < table.stages; ++s) all.push_back(find(s));
    return all;
  }
  /// The boundary's ends on a stage's rank, or null in another process; for checkpoints.
  BoundaryEnds* ends_at(int stage) {
    Rank* rank = ranks.find(table.rank_of(stage));
    return rank ? &rank->executor.ends() : nullptr;
  }
  std::shared_ptr<torch::nn::Module> module(int stage) const {
    const runtime::StageModule* held = find(stage);
    return held ? held->module : nullptr;
  }

  /// Runs what this rank alone may refuse; then the call ends on every rank.
  template <class F>
  std::invoke_result_t<F&> checked(F&& body) const {
    return Agreement::checked(*communicator, body);
  }
  template <class More>
  transport::Calls::Scope called(const char* verb, const at::Tensor& x, More more) const {
    return transport::Calls::Scope(communicator->calls(), verb, [&] {
      return (x.defined() ? text_of(extents_of(x), x.scalar_type()) : "nothing") + autocast() +
             (in_eval ? ", in eval mode" : "") + more();
    });
  }
  transport::Calls::Scope called(const char* verb, const at::Tensor& x) const {
    return called(verb, x, [] { return std::string(); });
  }

  Batch batch_of(const at::Tensor& x, const at::Tensor& y, const at::Tensor& sample_ids) const {
    expect_batch(x);
    expect_targets(y, x);
    Batch batch;
    batch.parts = training::split(x.size(0), tables.microbatches(table, x.size(0)));
    batch.x = to_stage_device(x, 0), batch.y = to_stage_device(y, table.stages - 1);
    batch.given_ids = sample_ids;
    return batch;
  }
  Batch forward_batch(const at::Tensor& x, const at::Tensor& y, const at::Tensor& sample_ids) const {
    Batch batch = checked([&] { return batch_of(x, y, sample_ids); });
    batch.x = batch.x.detach();
    return batch;
  }
  Numbers run_forward(Batch& batch) {
    const at::AutoGradMode grad(false);
    const schedule::ScheduleTable& forward = tables.inference(table, static_cast<int>(batch.parts.size()));
    infer_shapes(batch);
    Numbers made;
    try {
      made = run(forward, batch);
    } catch (...) {
      notify_batch_end(false);
      throw;
    }
    notify_batch_end(false);
    predict(batch, &runtime::BoundaryReport::inference, Direction::forward);
    return made;
  }
  /// In order, as a loop would.
  static at::Tensor sum_of(const Numbers& made, std::size_t which) {
    at::Tensor sum = made[0][which];
    for (std::size_t m = 1; m < made.size(); ++m) sum = sum + made[m][which];
    return sum;
  }
  /// All micro-batches went through, or one of them failed.
  void end_step(bool complete) {
    graphs->end(complete);
    ranks.end_step(complete);
    notify_batch_end(complete);
  }
  void notify_batch_end(bool complete) {
    std::vector<std::shared_ptr<torch::nn::Module>> all;
    for (int s = 0; s < table.stages; ++s) all.push_back(module(s));
    tell_batch_over(all, complete);
  }
  /// Moves a tensor from another GPU to its stage's on the caller's stream: the rank's is not ordered with that GPU.
  at::Tensor to_stage_device(const at::Tensor& t, int stage) const {
    const runtime::StageModule* held = find(stage);
    return t.defined() && !t.is_cpu() && held && held->device != t.device() ? t.to(held->device) : t;
  }
  Numbers run(const schedule::ScheduleTable& plan, const Batch& batch) {
    communicator->begin();
    const FreshCasts casts;
    const bool record = recording && batch.loss;
    if (record) trace = {describe(plan.policy.c_str(), plan.size()) + ", measured", plan.stages, false, {}};
    if (record) trace.ranks.resize(static_cast<std::size_t>(plan.ranks));
    const auto origin = Stopwatch::Clock::now();
    if (record) trace_origin = origin;
    ranks.mark();
    try {
      ranks.on_every([&](Rank& rank) {
        const int r = rank.executor.rank();
        rank.executor.stopwatch().record(record ? &trace.ranks[static_cast<std::size_t>(r)] : nullptr,
                                         origin);
        rank.executor.run(plan.row(r), batch, rank.link, communicator->elsewhere());
      });
    } catch (...) {
      if (communicator->elsewhere().empty()) ranks.drain();  // a lost process's message never completes
      ranks.take_back();
      throw;
    }
    Rank* last = ranks.find(plan.rank_of(plan.stages - 1));
    return (last ? last : ranks.begin()->get())->executor.results();
  }
  /// Learns every stage's output shape; the ranks agree on each new batch shape before its first payload.
  /// Returns what stands for this kind of batch.
  const void* infer_shapes(Batch& batch) {
    const auto& known =
        shapes.of(batch.x, all_stages(), table.rank_map(), *communicator, batch.parts[0].count);
    batch.activations = known;
    expect_shapes(batch, wires);
    agreement.compare(*communicator, batch, wires);
    return &known;
  }
  /// The constants of what has been sent, counted where it was.
  void predict(const Batch& batch, runtime::Traffic runtime::BoundaryReport::*counted, Direction d,
               int first = 0) {
    for (int e = first; e < static_cast<int>(wires.size()); ++e)
      if (const BoundaryEnds* ends = ends_at(d == Direction::forward ? e : e + 1))
        for (int m = 0; m < static_cast<int>(batch.parts.size()); ++m)
          (boundaries[static_cast<std::size_t>(e)].*counted) +=
              {0, 0, static_cast<std::int64_t>(ends->bytes(d, e, m)), 4 * batch.shape(e, m).size()};
  }
  void count_gathered() {
    (*ranks.begin())->executor.stopwatch().count(&runtime::RankReport::agreement, gather.sent());
  }
};

}  // namespace pcomp::detail
