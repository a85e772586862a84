#pragma once
#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>

#include <set>
#include <tuple>

#include "../core/cpus.hpp"
#include "../schedule/forward_only.hpp"
#include "../schedule/make_schedule.hpp"
#include "../transport/connect.hpp"
#include "batch_end.hpp"
#include "fingerprint.hpp"
#include "identities.hpp"
#include "own_gpu.hpp"
#include "rank_reports.hpp"
#include "shapes.hpp"

namespace pcomp {

/// A pipeline whose stages, wires and schedule are known at run time: what `train` builds, without its types.
///
/// Law: loss, gradients and running statistics equal those of a sequential loop over the same micro-batches and
///   `boundary`, bit for bit with one thread per rank, whatever the placement and whether ranks are threads or
///   processes. The exception is stages that draw random numbers (dropout): ranks that are threads race for LibTorch's
///   one generator, so results vary between runs; processes, or one rank, reproduce theirs with one seed. Each stage is
///   built with its own seed, made from LibTorch's current one and its number; the generator is then restored.
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
    if (static_cast<int>(stages.size()) != schedule_.stages || wires_.size() + 1 != stages.size())
      throw Error("pcomp: a schedule of " + std::to_string(schedule_.stages) +
                  " stages needs as many stages and one "
                  "wire fewer, not " +
                  std::to_string(stages.size()) + " stages and " + std::to_string(wires_.size()) + " wires");
    if (!schedule_.backward) throw Error("pcomp: training needs a schedule with backward passes");
    constexpr int buffers = static_cast<int>(detail::EdgeBuffers::depth);
    if (!schedule_.deadlock_free && !schedule_.runs_with(buffers))
      throw Error("pcomp: this schedule needs more than " + std::to_string(buffers) +
                  " messages in flight on an edge, and a rank has " + std::to_string(buffers) +
                  " buffers for it");
    links_ = join(world, schedule_.ranks, schedule_.rank_map());
    meet(world);
    for (int r : links_->here()) ranks_.add(r, schedule_.rank_map(), wires_, links_->link(r));
    const int neighbours =
        world.launch() && world.launch()->local_size ? world.launch()->local_size : schedule_.ranks;
    const int threads =
        world.threads_per_rank > 0 ? world.threads_per_rank : detail::default_threads(neighbours);
    ranks_.on_every([&](detail::Rank&) {
      at::set_num_threads(threads);
      detail::take_own_gpu(world);
    });
    try {
      ranks_.build(stages, schedule_.rank_map());
    } catch (const c10::Error& e) {
      unbuilt(e.what_without_backtrace());
    } catch (const std::exception& e) {
      unbuilt(e.what());
    }
  }

  /// Whether the rank of this stage is in this process.
  bool here(int stage) const { return find(stage) != nullptr; }

  /// The parameters of this process's modules, in stage order.
  std::vector<at::Tensor> parameters() const {
    std::vector<at::Tensor> all;
    for (int s = 0; s < schedule_.stages; ++s)
      if (const auto m = module(s))
        for (const at::Tensor& p : m->parameters()) all.push_back(p);
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

  /// One batch forward and backward: accumulates gradients in the parameters, returns the batch's mean loss.
  ///
  /// `ids` are the samples' identities in the data set, which wires with Delta need; stage 0's rank reads them.
  ///
  /// Errors: `Error` for fewer samples than micro-batches, x and y of different batch sizes, or Delta without ids.
  at::Tensor step(const at::Tensor& x, const at::Tensor& y, const Loss& loss, const at::Tensor& ids = {}) {
    detail::expect_batch(x);
    detail::expect_targets(y, x);
    detail::Batch batch{
        split(x.size(0), schedule_.micros), brought(x, 0), brought(y, schedule_.stages - 1), &loss, {}};
    batch.frozen = schedule_.frozen();
    for (const BoundaryOps* w : wires_)
      if (w->first && batch.ids.empty())
        batch.ids = detail::agreed_identities(ids, x.size(0), schedule_.rank_of(0), *links_);
    learn(batch);
    const at::AutoGradMode grad(true);
    std::vector<at::Tensor> losses;
    try {
      losses = run(schedule_, batch);
    } catch (...) {
      over(false);
      throw;
    }
    over(true);
    ++steps_;
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
    const int micros = static_cast<int>(std::min<std::int64_t>(schedule_.micros, x.size(0)));
    if (!inference_ || inference_->micros != micros)
      inference_ = std::make_unique<ScheduleTable>(
          make_schedule(ForwardOnly{}, schedule_.stages, micros, RankMap(schedule_.rank_map())));
    detail::Batch batch{split(x.size(0), micros), brought(x, 0), {}, nullptr, {}};
    learn(batch);
    std::vector<at::Tensor> outputs;
    try {
      outputs = run(*inference_, batch);
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
  Report report() const { return detail::report_of(schedule_, wires_, edges_, steps_, ranks_); }

 private:
  const StageModule* find(int stage) const {
    const detail::Rank* rank = ranks_.find(schedule_.rank_of(stage));
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
    ranks_.over(whole);
    tell(whole);
  }
  void tell(bool whole) {
    for (int s = 0; s < schedule_.stages; ++s) detail::tell_batch_over(module(s).get(), whole);
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
  void learn(detail::Batch& batch) {
    std::vector<const StageModule*> all;
    for (int s = 0; s < schedule_.stages; ++s) all.push_back(find(s));
    batch.activations = shapes_.of(batch.x, all, schedule_.rank_map(), *links_);
    detail::expect_shapes(batch, wires_);
    if (links_->elsewhere().empty()) return;
    const auto key = std::make_tuple(
        detail::text_of(detail::extents_of(batch.x), batch.x.scalar_type()) + detail::autocast(),
        batch.loss != nullptr);
    if (agreed_.count(key)) return;
    Fingerprint::expect_alike(
        links_->exchange("description of a batch", detail::fingerprint(batch, wires_).text()));
    agreed_.insert(key);
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
  std::unique_ptr<ScheduleTable> inference_;
  std::vector<const BoundaryOps*> wires_;
  std::vector<BoundaryReport> edges_;
  detail::Shapes shapes_;
  std::set<std::tuple<std::string, bool>> agreed_;
  std::int64_t steps_ = 0;
  bool recording_ = false;
  Trace trace_;
  detail::Stopwatch::Clock::time_point trace_origin_;
  detail::Ranks ranks_;
  std::unique_ptr<Links> links_;  // destroyed first: nothing may arrive in a freed buffer
};

}  // namespace pcomp
