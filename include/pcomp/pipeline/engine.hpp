#pragma once
#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>

#include <set>
#include <tuple>

#include "../core/cpus.hpp"
#include "../transport/connect.hpp"
#include "batch_end.hpp"
#include "fingerprint.hpp"
#include "identities.hpp"
#include "own_gpu.hpp"
#include "rank_reports.hpp"
#include "shapes.hpp"
#include "tables.hpp"

namespace pcomp {

/// A pipeline whose stages, wires and schedule are known at run time: what `train` builds, without its types.
///
/// Law: loss, gradients and running statistics equal those of a sequential loop over the same micro-batches and
///   `boundary`, bit for bit with one thread per rank, whatever the placement and whether ranks are threads or
///   processes. The exception is stages that draw random numbers (dropout): ranks that are threads race for LibTorch's
///   one generator, so results vary between runs; processes, or one rank, reproduce theirs with one seed. Each stage is
///   built with its own seed, made from its number and one number that the engine draws from LibTorch's generator
///   (rank 0's counts): two engines differ, and neither depends on the placement.
/// Processes: every rank calls the constructor, `step` and `infer` in the same order; only stage 0's rank reads the
///   values of x, only the last stage's those of y, the others only shapes. Every rank gets the loss and outputs.
///   `parameters`, `module`, `train`, `report` and `trace` cover only this process's ranks.
/// Bytes: `report()`.
/// Shapes: `stages.size() == schedule.stages`, and one wire fewer. The first dimension of every tensor is the batch;
///   the rest is learnt from one sample per new input shape, and again when autocast changes; the dtypes of stage
///   outputs must then not change. Stage 0 may change x in place, as in a loop.
/// Links: `join` says how the ranks reach each other, for callers with a custom link.
/// Errors: `Error` for sizes that do not fit; during a step, one `Error` that names rank, stage, micro-batch and
///   operation, after which another step may be tried; between processes the pipeline is then over.
/// Source: GPipe (Huang et al., 2019); torchgpipe (Kim et al., 2020).
/// Example: examples/100-mobilenetv2-cifar10
class Engine {
 public:
  Engine(const World& world, std::vector<StageSpec> stages, std::vector<const BoundaryOps*> wires,
         ScheduleTable schedule, const Connect& join = connect)
      : whole_(std::move(schedule)), schedule_(whole_), wires_(std::move(wires)), edges_(wires_.size()) {
    detail::expect_runnable(schedule_, stages.size(), wires_.size());
    links_ = join(world, schedule_.ranks, schedule_.rank_map());
    meet(world);
    for (int r : links_->here()) ranks_.add(r, schedule_.rank_map(), wires_, links_->link(r));
    const int neighbours =
        world.launch() && world.launch()->local_size ? world.launch()->local_size : schedule_.ranks;
    const int threads =
        world.threads_per_rank > 0 ? world.threads_per_rank : detail::default_threads(neighbours);
    const std::uint64_t seed = detail::shared_seed(*links_);
    ranks_.on_every([&](detail::Rank&) {
      at::set_num_threads(threads);
      detail::take_own_gpu(world);
    });
    try {
      ranks_.build(stages, schedule_.rank_map(), seed);
    } catch (const c10::Error& e) {
      unbuilt(e.what_without_backtrace());
    } catch (const std::exception& e) {
      unbuilt(e.what());
    }
    graphs_->know(all_stages());
  }

  /// Whether the rank of this stage is in this process.
  bool here(int stage) const { return find(stage) != nullptr; }

  /// The parameters of this process's modules, in stage order; one that several stages share, once.
  [[nodiscard]] std::vector<at::Tensor> parameters() const {
    std::vector<at::Tensor> all;
    std::set<const void*> listed;
    for (int s = 0; s < schedule_.stages; ++s)
      if (const auto m = module(s))
        for (const at::Tensor& p : m->parameters())
          if (listed.insert(p.unsafeGetTensorImpl()).second) all.push_back(p);
    return all;
  }
  /// A stage's module, or null if it is a plain function or in another process.
  std::shared_ptr<torch::nn::Module> module(int stage) const {
    const StageModule* held = find(stage);
    return held ? held->module : nullptr;
  }
  const ScheduleTable& schedule() const { return schedule_; }
  const std::vector<const BoundaryOps*>& wires() const { return wires_; }
  /// The wire ends on a stage's rank, or null in another process; for checkpoints.
  detail::WireEnds* ends_at(int stage) {
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
  /// `ids` are the samples' identities in the data set, which wires with Delta need; stage 0's rank reads them. A
  /// batch of fewer samples than micro-batches runs in fewer, in the order that the schedule gives them. Where x
  /// requires a gradient, as behind an encoder, it reaches x's graph once, on stage 0's rank. The first step of a kind
  /// also looks at the stages' graphs (graph_check.hpp).
  ///
  /// Errors: `Error` for x and y of different batch sizes, Delta without ids, x that requires a gradient before frozen
  ///   stages, a loss or stage whose graph would leave something untrained.
  at::Tensor step(const at::Tensor& x, const at::Tensor& y, const Loss& loss, const at::Tensor& ids = {}) {
    detail::expect_batch(x);
    detail::expect_targets(y, x);
    const at::AutoGradMode grad(true);
    const ScheduleTable& table = tables_.training(schedule_, tables_.micros(schedule_, x.size(0)));
    const at::Tensor source = brought(x, 0);
    detail::Batch batch{
        split(x.size(0), table.micros), source.detach(), brought(y, schedule_.stages - 1), &loss, {}};
    batch.frozen = schedule_.frozen();
    batch.wants_grad = source.requires_grad() && here(0);
    if (batch.wants_grad && batch.frozen > 0)
      throw Error("pcomp: x requires a gradient, but the first " + std::to_string(batch.frozen) +
                  " stages are frozen and give it none: detach x, or freeze no stage");
    for (const BoundaryOps* w : wires_)
      if (w->first && batch.ids.empty())
        batch.ids = detail::agreed_identities(ids, x.size(0), schedule_.rank_of(0), *links_);
    const void* shapes = learn(batch);
    std::vector<at::Tensor> losses;
    graphs_->begin(batch.parts.size(), batch.frozen, shapes, all_stages());
    batch.graphs = graphs_.get();
    try {
      losses = run(table, batch);
    } catch (...) {
      over(false);
      throw;
    }
    over(true);
    ++steps_;
    if (batch.wants_grad) detail::pass_back(source, batch, find_rank(0)->executor.input_grads());
    predict(batch, &BoundaryReport::forward, &detail::WireEnds::bytes, 0);
    predict(batch, &BoundaryReport::gradient, &detail::WireEnds::grad_bytes, 1, batch.frozen);
    at::Tensor loss_sum = losses[0];  // in order, as a loop would
    for (std::size_t m = 1; m < losses.size(); ++m) loss_sum = loss_sum + losses[m];
    return loss_sum;
  }

  /// The last stage's output for a batch, with compression and without gradients, in the stages' current mode.
  at::Tensor infer(const at::Tensor& x) {
    detail::expect_batch(x);
    const at::AutoGradMode grad(false);
    const ScheduleTable& table = tables_.inference(schedule_, tables_.micros(schedule_, x.size(0)));
    detail::Batch batch{split(x.size(0), table.micros), brought(x, 0).detach(), {}, nullptr, {}};
    learn(batch);
    std::vector<at::Tensor> outputs;
    try {
      outputs = run(table, batch);
    } catch (...) {
      tell(false);
      throw;
    }
    tell(false);
    predict(batch, &BoundaryReport::inference, &detail::WireEnds::bytes, 0);
    return at::cat(outputs);
  }

  /// Sets other wires from the next step on, e.g. raw ones for a warm-up; all ranks call it between the same steps.
  ///
  /// Errors: `Error` for another number of wires, or if the processes differ.
  void rewire(std::vector<const BoundaryOps*> wires) {
    if (wires.size() != wires_.size())
      throw Error("pcomp: " + std::to_string(wires_.size() + 1) + " stages take " +
                  std::to_string(wires_.size()) + " wires, not " + std::to_string(wires.size()));
    agree("description of the wires", schedule_, wires);
    wires_ = std::move(wires);
    agreed_.clear();
    for (auto& rank : ranks_) rank->executor.ends().rewire(wires_);
  }

  /// Freezes the first `stages` stages from the next step on (0: none); all ranks call it between the same steps.
  /// Frozen stages only run forward, without a graph, and no gradient is sent to them; their parameters keep the
  /// gradients they have, and batch normalisation its mode.
  ///
  /// Errors: `Error` if no stage is left to train, or if the processes differ.
  void freeze(int stages) {
    ScheduleTable less = whole_.freeze(stages);
    agree("number of frozen stages", less, wires_);
    schedule_ = std::move(less);
    tables_.forget();
  }

  /// Whether to time later steps operation by operation; off at first, and cheap.
  void record(bool on = true) { recording_ = on; }
  /// The last recorded step, in seconds since it began.
  const Trace& trace() const { return trace_; }
  /// When that step began here, by this machine's steady clock.
  detail::Stopwatch::Clock::time_point trace_origin() const { return trace_origin_; }

  /// The texts of all processes in rank order; every process calls it. With threads: the one text.
  std::vector<std::string> exchange(const std::string& about, const std::string& text) {
    return links_->exchange(about, text);
  }
  /// Ends the pipeline on every rank with this reason.
  void abort(const std::string& reason) {
    for (auto& rank : ranks_) rank->link.abort(reason);
  }

  /// What the ranks of this process sent, and where their time went.
  [[nodiscard]] Report report() const { return detail::report_of(schedule_, wires_, edges_, steps_, ranks_); }

 private:
  detail::Rank* find_rank(int stage) const { return ranks_.find(schedule_.rank_of(stage)); }
  /// Null for stages in other processes.
  std::vector<const StageModule*> all_stages() const {
    std::vector<const StageModule*> all;
    for (int s = 0; s < schedule_.stages; ++s) all.push_back(find(s));
    return all;
  }
  const StageModule* find(int stage) const {
    const detail::Rank* rank = find_rank(stage);
    return rank ? &rank->executor.stage(stage) : nullptr;
  }

  /// The ranks compare their configurations before anything else crosses a link.
  void meet(const World& world) {
    if (!world.processes()) return;
    Fingerprint::expect_alike(links_->exchange("description of the pipeline",
                                               detail::fingerprint(schedule_, wires_, world.size()).text()));
    if (world.size() != schedule_.ranks)
      throw Error("pcomp: the schedule has " + std::to_string(schedule_.ranks) + " ranks, but " +
                  world.launch()->by + " started " + std::to_string(world.size()) +
                  " processes: start as many as ranks");
  }

  /// All micro-batches went through, or one of them failed.
  void over(bool whole) {
    graphs_->end(whole);
    ranks_.over(whole);
    tell(whole);
  }
  void tell(bool whole) {
    std::vector<std::shared_ptr<torch::nn::Module>> all;
    for (int s = 0; s < schedule_.stages; ++s) all.push_back(module(s));
    detail::tell_batch_over(all, whole);
  }

  void agree(const std::string& about, const ScheduleTable& table,
             const std::vector<const BoundaryOps*>& wires) const {
    if (!links_->elsewhere().empty())
      Fingerprint::expect_alike(
          links_->exchange(about, detail::fingerprint(table, wires, table.ranks).text()));
  }

  /// Called while handling an exception: ends the other processes too, which wait for this one.
  [[noreturn]] void unbuilt(const std::string& why) const {
    if (links_->elsewhere().empty()) throw;
    const detail::Rank& own = **ranks_.begin();
    own.link.abort("pcomp: rank " + std::to_string(own.executor.rank()) + ": " + detail::bare(why));
    throw Error(own.link.aborted());
  }

  /// Moves a tensor from another GPU to its stage's on the caller's stream: the rank's is not ordered with that GPU.
  at::Tensor brought(const at::Tensor& t, int stage) const {
    const StageModule* held = find(stage);
    return t.defined() && !t.is_cpu() && held && held->device != t.device() ? t.to(held->device) : t;
  }

  std::vector<at::Tensor> run(const ScheduleTable& table, const detail::Batch& batch) {
    links_->begin();
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
        rank.executor.run(table.row(r), batch, rank.link, links_->elsewhere());
      });
    } catch (...) {
      if (links_->elsewhere().empty()) ranks_.drain();  // a lost process's message never completes
      ranks_.take_back();
      throw;
    }
    detail::Rank* last = ranks_.find(table.rank_of(table.stages - 1));
    return (last ? last : ranks_.begin()->get())->executor.results();
  }

  /// Learns every stage's output shape; the ranks agree on each new batch shape before its first payload.
  /// Returns what stands for this kind of batch.
  const void* learn(detail::Batch& batch) {
    const auto& shapes =
        shapes_.of(batch.x, all_stages(), schedule_.rank_map(), *links_, batch.parts[0].count);
    batch.activations = shapes;
    detail::expect_shapes(batch, wires_);
    if (links_->elsewhere().empty()) return &shapes;
    const auto key = std::make_tuple(
        detail::text_of(detail::extents_of(batch.x), batch.x.scalar_type()) + detail::autocast(),
        batch.parts.size(), batch.loss != nullptr);
    if (agreed_.count(key)) return &shapes;
    Fingerprint::expect_alike(
        links_->exchange("description of a batch", detail::fingerprint(batch, wires_).text()));
    agreed_.insert(key);
    return &shapes;
  }

  void predict(const detail::Batch& batch, Traffic BoundaryReport::*direction,
               std::size_t (detail::WireEnds::*size)(int, int) const, int sender, int first = 0) {
    for (int e = first; e < static_cast<int>(wires_.size()); ++e)
      if (const detail::WireEnds* ends = ends_at(e + sender))
        for (int m = 0; m < static_cast<int>(batch.parts.size()); ++m)
          (edges_[static_cast<std::size_t>(e)].*direction) +=
              {0, 0, static_cast<std::int64_t>((ends->*size)(e, m)), 4 * batch.shape(e, m).size()};
  }

  ScheduleTable whole_, schedule_;  ///< as given, and without what frozen stages skip
  detail::Tables tables_;
  std::vector<const BoundaryOps*> wires_;
  std::vector<BoundaryReport> edges_;
  detail::Shapes shapes_;
  std::set<std::tuple<std::string, std::size_t, bool>> agreed_;
  std::unique_ptr<detail::StepGraphs> graphs_ = std::make_unique<detail::StepGraphs>();
  std::int64_t steps_ = 0;
  bool recording_ = false;
  Trace trace_;
  detail::Stopwatch::Clock::time_point trace_origin_;
  detail::Ranks ranks_;
  std::unique_ptr<Links> links_;  // destroyed first: nothing may arrive in a freed buffer
};

}  // namespace pcomp
