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
#include "shared_weights.hpp"

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

  EngineParts(schedule::ScheduleTable given, kernel::Wires on)
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
  kernel::Wires wires;
  std::vector<runtime::BoundaryReport> boundaries;
  ShapeInference shapes;
  Agreement agreement;
  BatchShape batch_shape;
  SharedWeights shared;
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

  /// Whether a stage of this process computes again before its backward passes.
  bool recomputes() const {
    for (int s = 0; s < table.stages; ++s)
      if (const runtime::StageModule* held = find(s); held && held->recompute) return true;
    return false;
  }

  /// Runs what this rank alone may refuse; then the call ends on every rank.
  template <class F>
  std::invoke_result_t<F&> checked(F&& body) const {
    return Agreement::checked(*communicator, body);
  }
  /// A call on a batch, from its beginning to the end of the scope. `more()`: what else the ranks compare.
  template <class More>
  transport::Calls::Scope called(const char* verb, at::Tensor& x, More more) {
    const auto about = [&] {
      return (x.defined() ? text_of(extents_of(x), x.scalar_type()) : "nothing") + autocast() +
             (in_eval ? ", in eval mode" : "") + more();
    };
    const bool told = x.defined() || find_rank(0) || communicator->elsewhere().empty();
    transport::Calls* calls = communicator->calls();
    transport::Calls::Scope call(calls, verb, [&] { return told ? about() : transport::Calls::untold; });
    try {
      x = checked([&] { return batch_shape.agree(x, *communicator, table.stages + 1, table.rank_of(0)); });
    } catch (...) {
      batch_shape.forget();
      throw;
    }
    if (!told) calls->tell(about());
    return call;
  }
  transport::Calls::Scope called(const char* verb, at::Tensor& x) {
    return called(verb, x, [] { return std::string(); });
  }

  /// What a call was given.
  struct Given {
    const at::Tensor& x;
    const training::BatchTensors& y;
    const training::BatchTensors& side;
    const at::Tensor& sample_ids;
  };
  Batch batch_of(const Given& given) const {
    const at::Tensor& x = given.x;
    expect_batch(x);
    expect_targets(given.y, x.size(0));
    expect_side(given.side, x.size(0));
    Batch batch;
    batch.parts = training::split(x.size(0), tables.microbatches(table, x.size(0)));
    batch.x = to_stage_device(x, 0);
    batch.y = given.y, batch.side = given.side;
    for (auto& target : batch.y) target.tensor = to_stage_device(target.tensor, table.stages - 1);
    batch.given_ids = given.sample_ids;
    return batch;
  }
  void expect_loss(const training::Loss& loss) const {
    if (!loss && find_rank(table.stages - 1))
      throw Error("pcomp: the last stage's rank needs a loss: step(x, y, loss)");
  }
  Batch forward_batch(const Given& given) const {
    Batch batch = checked([&] { return batch_of(given); });
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
    const bool locks = ranks.size() > 1 && recomputes();
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
        rank.executor.run(plan.row(r), batch, rank.link, communicator->elsewhere(), locks);
      });
      checked([&] { batch_shape.finish(); });
      (*ranks.begin())->executor.stopwatch().count(&runtime::RankReport::agreement, batch_shape.sent());
    } catch (...) {
      batch_shape.forget();
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
    const auto& known = shapes.of(batch.x, batch.side, all_stages(), wires, table.rank_map(), *communicator,
                                  batch.parts[0].count);
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
              {0, 0, static_cast<std::int64_t>(ends->bytes(d, e, m)), raw_bytes(batch, d, e, m)};
  }
  /// The same tensors as 32-bit floats; those of Verbatim as they are.
  std::int64_t raw_bytes(const Batch& batch, Direction d, int boundary, int micro) const {
    std::int64_t sum = 0;
    const kernel::BoundaryWires& all = wires[static_cast<std::size_t>(boundary)];
    for (std::size_t k = 0; k < all.size(); ++k) {
      const Extents s = batch.shape(boundary, micro, k);
      if (!all[k].verbatim)
        sum += 4 * s.size();
      else if (d == Direction::forward)
        sum += static_cast<std::int64_t>(payload_bytes(all[k], s, batch.activation(boundary, k).dtype));
    }
    return sum;
  }
  void count_gathered() {
    (*ranks.begin())->executor.stopwatch().count(&runtime::RankReport::agreement, gather.sent());
  }
};

}  // namespace pcomp::detail
