#pragma once
#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>

#include <set>

#include "process_setup.hpp"
#include "../transport/c10d/connect.hpp"
#include "agreement.hpp"
#include "../nn/batch_end.hpp"
#include "engine_base.hpp"
#include "sample_ids.hpp"
#include "device_streams.hpp"
#include "ranks.hpp"
#include "shape_inference.hpp"

namespace pcomp {

template <class... Stages>
class Pipeline;

/// A network's stages where a schedule places them, ready to train: of a `Pipeline` and its `Plan`, or of stages, wires
/// and a schedule that are known at run time alone.
///
/// Law: loss, gradients and running statistics equal those of a sequential loop over the same micro-batches and
///   `boundary`, bit for bit with one thread per rank, whatever the placement and whether ranks are threads or
///   processes. The exception is stages that draw random numbers (dropout): ranks that are threads race for LibTorch's
///   one generator, so results vary between runs; processes, or one rank, reproduce theirs with one seed. Each stage is
///   built with its own seed, made from its number and one number that the engine draws from LibTorch's generator
///   (rank 0's counts): two engines differ, and neither depends on the placement.
/// Processes: every rank makes the same calls in the same order; calls that differ end on every rank in one `Error`
///   that names both. Only stage 0's rank reads the values of x, only the last stage's those of y; of the others' x
///   only the shape counts, and their y may be undefined. Where stage 0's rank has a y of the same dtype and shape it
///   must be the same, or, if both are given `sample_ids`, these. `parameters`, `module`, `train`, `report` and `trace`
///   cover only this process's ranks.
/// Bytes: `report()`.
/// Shapes: `stages.size() == schedule.stages`, and one wire fewer. The first dimension of every tensor is the batch;
///   the rest is learnt from one sample per new input shape, and again when autocast changes; the dtypes of stage
///   outputs must then not change. Stage 0 may change x in place, as in a loop.
/// Links: `join` says how the ranks reach each other, for callers with a custom link.
/// Refusals: a Plan for another number of stages than the Pipeline has.
/// Errors: `Error` for sizes that do not fit; during a step, one `Error` that names rank, stage, micro-batch and
///   operation, after which another step may be tried; between processes the pipeline is then over.
/// Source: GPipe (Huang et al., 2019); torchgpipe (Kim et al., 2020).
/// Example: examples/050-first-program
class Engine : public detail::EngineBase {
 public:
  template <class... Stages, class Plan>
  Engine(const World& world, const Pipeline<Stages...>& net, Plan,
         const transport::CommunicatorFactory& join = transport::connect)
      : Engine(world, net.stages(), net.wires(), detail::table_of<Plan, sizeof...(Stages)>(), join) {}
  Engine(const World& world, std::vector<runtime::StageSpec> stages, std::vector<const kernel::WireKernels*> wires,
         schedule::ScheduleTable schedule, const transport::CommunicatorFactory& join = transport::connect)
      : EngineBase(schedule), whole_(std::move(schedule)), wires_(std::move(wires)), boundaries_(wires_.size()) {
    detail::expect_runnable(schedule_, stages.size(), wires_.size());
    communicator_ = join(world, schedule_.ranks, schedule_.rank_map());
    detail::Agreement::handshake(*communicator_, world, schedule_, wires_);
    const std::uint64_t seed = detail::shared_seed(*communicator_);
    for (int r : communicator_->here()) ranks_.add(r, schedule_.rank_map(), wires_, communicator_->link(r));
    const int neighbours =
        world.launch() && world.launch()->local_size ? world.launch()->local_size : schedule_.ranks;
    const int threads =
        world.threads_per_rank > 0 ? world.threads_per_rank : detail::default_threads(neighbours);
    ranks_.on_every([&](detail::Rank&) {
      at::set_num_threads(threads);
      detail::set_local_device(world);
    });
    checked([&] { ranks_.build(stages, schedule_.rank_map(), seed); });
    graphs_->know(all_stages());
  }

  /// The parameters of this process's modules, in stage order; one that several stages share, once. Not for a norm of
  /// all gradients, which needs the stages of every process: `clip_grad_norm`.
  [[nodiscard]] std::vector<at::Tensor> parameters() const {
    std::vector<at::Tensor> all;
    std::set<const void*> listed;
    for (int s = 0; s < schedule_.stages; ++s)
      if (const auto m = module(s))
        for (const at::Tensor& p : m->parameters())
          if (listed.insert(p.unsafeGetTensorImpl()).second) all.push_back(p);
    return all;
  }
  const std::vector<const kernel::WireKernels*>& wires() const { return wires_; }
  /// The wire ends on a stage's rank, or null in another process; for checkpoints.
  detail::BoundaryEnds* ends_at(int stage) {
    detail::Rank* rank = ranks_.find(schedule_.rank_of(stage));
    return rank ? &rank->executor.ends() : nullptr;
  }

  void train(bool on = true) {
    for (int s = 0; s < schedule_.stages; ++s)
      if (const auto m = module(s)) m->train(on);
  }
  void eval() { train(false); }

  /// Divides batches so that no micro-batch has fewer samples than this (1 at first), in fewer micro-batches than the
  /// schedule's if need be, e.g. 2 for batch normalisation; all ranks call it alike.
  void smallest_microbatch(int samples) {
    if (samples < 1)
      throw Error("pcomp: a micro-batch has at least 1 sample, not " + std::to_string(samples));
    tables_.smallest = samples;
  }

  /// One batch forward and backward: accumulates gradients in the parameters, returns the batch's mean loss.
  ///
  /// `sample_ids` are the samples' identities in the data set, which wires with Delta need; stage 0's rank reads them. A
  /// batch of fewer samples than micro-batches runs in fewer, in the order that the schedule gives them. Where x
  /// requires a gradient, as behind an encoder, it reaches x's graph once, on stage 0's rank. The first step of a kind
  /// also looks at the stages' graphs (graph_check.hpp).
  ///
  /// Errors: `Error` for x and y of different batch sizes, Delta without ids, x that requires a gradient before frozen
  ///   stages, a loss or stage whose graph would leave something untrained, or first and last stage's ranks with
  ///   different batches.
  at::Tensor step(const at::Tensor& x, const at::Tensor& y, const training::Loss& loss, const at::Tensor& sample_ids = {}) {
    const auto call = called("trains", x);
    const at::AutoGradMode grad(true);
    detail::Batch batch = checked([&] { return batch_of(x, y, sample_ids); });
    const schedule::ScheduleTable& table = tables_.training(schedule_, static_cast<int>(batch.parts.size()));
    const at::Tensor source = std::exchange(batch.x, batch.x.detach());
    batch.loss = &loss;
    batch.frozen = schedule_.frozen();
    batch.wants_grad = source.requires_grad() && here(0);
    checked([&] {
      if (batch.wants_grad && batch.frozen > 0)
        throw Error("pcomp: x requires a gradient, but the first " + std::to_string(batch.frozen) +
                    " stages are frozen and give it none: detach x, or freeze no stage");
    });
    for (const kernel::WireKernels* w : wires_)
      if (w->first && batch.sample_ids.empty())
        batch.sample_ids = detail::agreed_sample_ids(sample_ids, x.size(0), schedule_.rank_of(0), *communicator_);
    const void* shapes = infer_shapes(batch);
    Numbers losses;
    graphs_->begin(batch.parts.size(), batch.frozen, shapes, all_stages());
    batch.graphs = graphs_.get();
    try {
      losses = run(table, batch);
    } catch (...) {
      end_step(false);
      throw;
    }
    end_step(true);
    ++steps_;
    if (batch.wants_grad) detail::pass_back(source, batch, find_rank(0)->executor.input_grads());
    predict(batch, &runtime::BoundaryReport::forward, &detail::BoundaryEnds::bytes, 0);
    predict(batch, &runtime::BoundaryReport::gradient, &detail::BoundaryEnds::grad_bytes, 1, batch.frozen);
    return sum_of(losses, 0);
  }

  /// The last stage's output for a batch, with compression and without gradients, in the stages' current mode.
  ///
  /// Between processes it is an undefined tensor on the ranks that are not to have it: `Outputs::last_stage`,
  /// `Outputs::on({ranks})`; by default every rank has it, and it travels as it is.
  at::Tensor infer(const at::Tensor& x, const training::Outputs& outputs = training::Outputs::every_rank) {
    const auto call = called("infers", x, [&] { return ", outputs for " + outputs.text(); });
    detail::Batch batch = forward_batch(x, {}, {});
    batch.outputs = &outputs;
    std::vector<at::Tensor> all;
    for (auto& made : run_forward(batch))
      if (!made.empty()) all.push_back(made[0]);
    return all.empty() ? at::Tensor() : at::cat(all);
  }

  /// The mean loss and metrics of a batch as `infer` would compute its outputs, which stay where they are.
  ///
  /// Law: equal on every rank, and to those with threads. A metric's numbers are added up over the micro-batches, so it
  ///   should count or sum: `count_correct`.
  /// Bytes: 8 for each number and micro-batch, to each other process.
  /// Errors: as `step`; a loss or metric that is not one number.
  training::Evaluation evaluate(const at::Tensor& x, const at::Tensor& y, const training::Loss& loss,
                      const std::vector<training::Metric>& metrics = {}, const at::Tensor& sample_ids = {}) {
    const auto call =
        called("evaluates", x, [&] { return ", " + std::to_string(metrics.size()) + " metrics"; });
    detail::Batch batch = forward_batch(x, y, sample_ids);
    batch.judge = &loss;
    batch.metrics = &metrics;
    const Numbers made = run_forward(batch);
    training::Evaluation e{sum_of(made, 0), {}};
    for (std::size_t i = 0; i < metrics.size(); ++i) e.metrics.push_back(sum_of(made, i + 1));
    return e;
  }

  /// Sets other wires from the next step on, e.g. raw ones for a warm-up; all ranks call it between the same steps.
  ///
  /// Errors: `Error` for another number of wires, or if the processes differ.
  void rewire(std::vector<const kernel::WireKernels*> wires) {
    const transport::Calls::Scope call(communicator_->calls(), "rewires");
    checked([&] {
      if (wires.size() != wires_.size())
        throw Error("pcomp: " + std::to_string(wires_.size() + 1) + " stages take " +
                    std::to_string(wires_.size()) + " wires, not " + std::to_string(wires.size()));
    });
    detail::Agreement::compare(*communicator_, "description of the wires", schedule_, wires);
    wires_ = std::move(wires);
    agreement_.forget();
    for (auto& rank : ranks_) rank->executor.ends().rewire(wires_);
  }

  /// Freezes the first `stages` stages from the next step on (0: none); all ranks call it between the same steps.
  /// Frozen stages only run forward, without a graph, and no gradient is sent to them; their parameters keep the
  /// gradients they have, and batch normalisation its mode.
  ///
  /// Errors: `Error` if no stage is left to train, or if the processes differ.
  void freeze(int stages) {
    const transport::Calls::Scope call(communicator_->calls(), "freezes");
    schedule::ScheduleTable less = checked([&] { return whole_.freeze(stages); });
    detail::Agreement::compare(*communicator_, "number of frozen stages", less, wires_);
    schedule_ = std::move(less);
    tables_.forget();
  }

  /// Whether to time later steps operation by operation; off at first, and cheap.
  void record(bool on = true) { recording_ = on; }
  /// The last recorded step, in seconds since it began.
  const schedule::Trace& trace() const { return trace_; }
  /// When that step began here, by this machine's steady clock.
  detail::Stopwatch::Clock::time_point trace_origin() const { return trace_origin_; }

  /// What the ranks of this process sent, and where their time went.
  [[nodiscard]] runtime::Report report() const { return detail::report_of(schedule_, wires_, boundaries_, steps_, ranks_); }

 private:
  using Numbers = std::vector<std::vector<at::Tensor>>;
  detail::Rank* find_rank(int stage) const { return ranks_.find(schedule_.rank_of(stage)); }
  /// Null for stages in other processes.
  std::vector<const runtime::StageModule*> all_stages() const {
    std::vector<const runtime::StageModule*> all;
    for (int s = 0; s < schedule_.stages; ++s) all.push_back(find(s));
    return all;
  }

  detail::Batch batch_of(const at::Tensor& x, const at::Tensor& y, const at::Tensor& sample_ids) const {
    detail::expect_batch(x);
    detail::expect_targets(y, x);
    detail::Batch batch;
    batch.parts = training::split(x.size(0), tables_.microbatches(schedule_, x.size(0)));
    batch.x = to_stage_device(x, 0), batch.y = to_stage_device(y, schedule_.stages - 1);
    batch.given_ids = sample_ids;
    return batch;
  }
  detail::Batch forward_batch(const at::Tensor& x, const at::Tensor& y, const at::Tensor& sample_ids) const {
    detail::Batch batch = checked([&] { return batch_of(x, y, sample_ids); });
    batch.x = batch.x.detach();
    return batch;
  }
  Numbers run_forward(detail::Batch& batch) {
    const at::AutoGradMode grad(false);
    const schedule::ScheduleTable& table = tables_.inference(schedule_, static_cast<int>(batch.parts.size()));
    infer_shapes(batch);
    Numbers made;
    try {
      made = run(table, batch);
    } catch (...) {
      notify_batch_end(false);
      throw;
    }
    notify_batch_end(false);
    predict(batch, &runtime::BoundaryReport::inference, &detail::BoundaryEnds::bytes, 0);
    return made;
  }
  /// In order, as a loop would.
  static at::Tensor sum_of(const Numbers& made, std::size_t which) {
    at::Tensor sum = made[0][which];
    for (std::size_t m = 1; m < made.size(); ++m) sum = sum + made[m][which];
    return sum;
  }
  /// All micro-batches went through, or one of them failed.
  void end_step(bool whole) {
    graphs_->end(whole);
    ranks_.end_step(whole);
    notify_batch_end(whole);
  }
  void notify_batch_end(bool whole) {
    std::vector<std::shared_ptr<torch::nn::Module>> all;
    for (int s = 0; s < schedule_.stages; ++s) all.push_back(module(s));
    detail::tell_batch_over(all, whole);
  }

  /// Moves a tensor from another GPU to its stage's on the caller's stream: the rank's is not ordered with that GPU.
  at::Tensor to_stage_device(const at::Tensor& t, int stage) const {
    const runtime::StageModule* held = find(stage);
    return t.defined() && !t.is_cpu() && held && held->device != t.device() ? t.to(held->device) : t;
  }

  Numbers run(const schedule::ScheduleTable& table, const detail::Batch& batch) {
    communicator_->begin();
    const detail::FreshCasts casts;
    const bool record = recording_ && batch.loss;
    if (record)
      trace_ = {detail::describe(table.policy.c_str(), table.size()) + ", measured", table.stages, false, {}};
    if (record) trace_.ranks.resize(static_cast<std::size_t>(table.ranks));
    const auto origin = detail::Stopwatch::Clock::now();
    if (record) trace_origin_ = origin;
    ranks_.mark();
    try {
      ranks_.on_every([&](detail::Rank& rank) {
        const int r = rank.executor.rank();
        rank.executor.stopwatch().record(record ? &trace_.ranks[static_cast<std::size_t>(r)] : nullptr,
                                         origin);
        rank.executor.run(table.row(r), batch, rank.link, communicator_->elsewhere());
      });
    } catch (...) {
      if (communicator_->elsewhere().empty()) ranks_.drain();  // a lost process's message never completes
      ranks_.take_back();
      throw;
    }
    detail::Rank* last = ranks_.find(table.rank_of(table.stages - 1));
    return (last ? last : ranks_.begin()->get())->executor.results();
  }

  /// Learns every stage's output shape; the ranks agree on each new batch shape before its first payload.
  /// Returns what stands for this kind of batch.
  const void* infer_shapes(detail::Batch& batch) {
    const auto& shapes =
        shapes_.of(batch.x, all_stages(), schedule_.rank_map(), *communicator_, batch.parts[0].count);
    batch.activations = shapes;
    detail::expect_shapes(batch, wires_);
    agreement_.compare(*communicator_, batch, wires_);
    return &shapes;
  }

  void predict(const detail::Batch& batch, runtime::Traffic runtime::BoundaryReport::*direction,
               std::size_t (detail::BoundaryEnds::*size)(int, int) const, int sender, int first = 0) {
    for (int e = first; e < static_cast<int>(wires_.size()); ++e)
      if (const detail::BoundaryEnds* ends = ends_at(e + sender))
        for (int m = 0; m < static_cast<int>(batch.parts.size()); ++m)
          (boundaries_[static_cast<std::size_t>(e)].*direction) +=
              {0, 0, static_cast<std::int64_t>((ends->*size)(e, m)), 4 * batch.shape(e, m).size()};
  }

  schedule::ScheduleTable whole_;  ///< as given; `schedule_` is without what frozen stages skip
  detail::Tables tables_;
  std::vector<const kernel::WireKernels*> wires_;
  std::vector<runtime::BoundaryReport> boundaries_;
  detail::ShapeInference shapes_;
  detail::Agreement agreement_;
  std::unique_ptr<detail::StepGraphs> graphs_ = std::make_unique<detail::StepGraphs>();
  std::int64_t steps_ = 0;
  bool recording_ = false;
  schedule::Trace trace_;
  detail::Stopwatch::Clock::time_point trace_origin_;
};

}  // namespace pcomp
