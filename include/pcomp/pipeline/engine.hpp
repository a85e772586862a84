#pragma once
#include <ATen/ThreadLocalState.h>
#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>

#include <thread>

#include "../schedule/forward_only.hpp"
#include "../schedule/make_schedule.hpp"
#include "../transport/threads.hpp"
#include "../transport/world.hpp"
#include "executor.hpp"
#include "probe.hpp"
#include "rank_thread.hpp"

namespace pcomp {

/// A pipeline whose stages, wires and schedule are known at run time: what `train` builds, without its types.
///
/// Law: loss, gradients and running statistics equal those of a sequential loop over the same micro-batches and
///   `boundary`, bit for bit with one thread a rank; they do not depend on the placement. Stages are built in
///   their order, so one seed gives the same network everywhere.
/// Bytes: `report()`.
/// Shapes: `stages.size() == schedule.stages`, and one wire fewer. The first dimension of every tensor is the
///   batch; what follows it is learnt from one sample for each new input shape.
/// Errors: `Error` for sizes that do not fit; during a step one `Error` that names rank, stage, micro-batch and
///   operation, after which the next step may be tried.
/// Source: GPipe (Huang et al., 2019); torchgpipe (Kim et al., 2020).
/// Example: examples/100-mobilenetv2-cifar10
class Engine {
 public:
  Engine(const World& world, std::vector<StageSpec> stages, std::vector<const BoundaryOps*> wires,
         ScheduleTable schedule)
      : schedule_(std::move(schedule)), wires_(std::move(wires)), edges_(wires_.size()) {
    if (static_cast<int>(stages.size()) != schedule_.stages || wires_.size() + 1 != stages.size())
      throw Error("pcomp: a schedule of " + std::to_string(schedule_.stages) +
                  " stages needs as many stages and one "
                  "wire fewer, not " +
                  std::to_string(stages.size()) + " stages and " + std::to_string(wires_.size()) + " wires");
    if (!schedule_.backward) throw Error("pcomp: training needs a schedule with backward passes");
    links_ = std::make_unique<Threads>(static_cast<int>(wires_.size()), world.timeout);
    for (int r = 0; r < schedule_.ranks; ++r)
      ranks_.push_back(std::make_unique<Rank>(r, schedule_.rank_map(), wires_, *links_));
    const int cores = static_cast<int>(std::thread::hardware_concurrency());
    const int threads =
        world.threads_per_rank > 0 ? world.threads_per_rank : std::max(1, cores / schedule_.ranks);
    on_every_rank([&](Rank&) { at::set_num_threads(threads); });
    // One stage after the other: the initial weights come from LibTorch's one generator.
    for (int s = 0; s < schedule_.stages; ++s)
      on_every_rank([&](Rank& rank) {
        if (schedule_.rank_of(s) == rank.executor.rank())
          rank.executor.build(s, stages[static_cast<std::size_t>(s)]);
      });
  }

  /// The modules' parameters in the order of the stages.
  std::vector<at::Tensor> parameters() const {
    std::vector<at::Tensor> all;
    for (int s = 0; s < schedule_.stages; ++s)
      if (const auto m = module(s))
        for (const at::Tensor& p : m->parameters()) all.push_back(p);
    return all;
  }
  /// The module of a stage, or null for a stage that is a plain function.
  std::shared_ptr<torch::nn::Module> module(int stage) const { return held(stage).module; }
  const ScheduleTable& schedule() const { return schedule_; }

  void train(bool on = true) {
    for (int s = 0; s < schedule_.stages; ++s)
      if (const auto m = module(s)) m->train(on);
  }
  void eval() { train(false); }

  /// One batch forward and backward: gradients accumulate in the parameters; returns the batch's mean loss.
  ///
  /// Errors: `Error` for fewer samples than micro-batches, or when x and y differ in samples.
  at::Tensor step(const at::Tensor& x, const at::Tensor& y, const Loss& loss) {
    expect_batch(x);
    if (y.defined() && (y.dim() < 1 || y.size(0) != x.size(0)))
      throw Error("pcomp: the batch has " + std::to_string(x.size(0)) + " samples, but the targets are " +
                  (y.dim() ? std::to_string(y.size(0)) : "one number"));
    detail::Batch batch{split(x.size(0), schedule_.micros), x, y, &loss, activations(x)};
    const at::AutoGradMode grad(true);
    const auto losses = run(schedule_, batch);
    ++steps_;
    predict(batch, &BoundaryReport::forward, &BoundaryOps::bytes);
    predict(batch, &BoundaryReport::gradient, &BoundaryOps::grad_bytes);
    at::Tensor loss_sum = losses[0];  // one after the other, as a loop would
    for (std::size_t m = 1; m < losses.size(); ++m) loss_sum = loss_sum + losses[m];
    return loss_sum;
  }

  /// The last stage's output for a batch, with compression on and without gradients, in the stages' present mode.
  at::Tensor infer(const at::Tensor& x) {
    expect_batch(x);
    const at::AutoGradMode grad(false);
    const int micros = static_cast<int>(std::min<std::int64_t>(schedule_.micros, x.size(0)));
    if (!inference_ || inference_->micros != micros)
      inference_ = std::make_unique<ScheduleTable>(
          make_schedule(ForwardOnly{}, schedule_.stages, micros, RankMap(schedule_.rank_map())));
    detail::Batch batch{split(x.size(0), micros), x, {}, nullptr, activations(x)};
    const auto outputs = run(*inference_, batch);
    predict(batch, &BoundaryReport::inference, &BoundaryOps::bytes);
    return at::cat(outputs);
  }

  /// Whether the steps from here on are measured operation by operation; off at first, and cheap.
  void record(bool on = true) { recording_ = on; }
  /// The last step that was recorded, in seconds since its begin.
  const Trace& trace() const { return trace_; }

  Report report() const {
    Report r;
    r.steps = steps_;
    for (std::size_t e = 0; e < wires_.size(); ++e) {
      const int edge = static_cast<int>(e);
      BoundaryReport b = edges_[e];
      b.edge = edge;
      b.from_rank = schedule_.rank_of(edge), b.to_rank = schedule_.rank_of(edge + 1);
      b.wire = std::string(wires_[e]->name.view());
      for (const auto& rank : ranks_) {
        b.forward += rank->executor.forward(edge);
        b.gradient += rank->executor.gradient(edge);
        b.inference += rank->executor.inference(edge);
      }
      r.boundaries.push_back(b);
    }
    for (const auto& rank : ranks_) r.ranks.push_back(rank->executor.times());
    return r;
  }

 private:
  struct Rank {
    Rank(int r, const std::vector<int>& rank_of, const std::vector<const BoundaryOps*>& wires, Threads& links)
        : executor(r, rank_of, wires), link(links, r) {}
    detail::Executor executor;
    Threads::End link;
    std::exception_ptr error;
    detail::RankThread thread;
  };

  const StageModule& held(int stage) const {
    return ranks_.at(static_cast<std::size_t>(schedule_.rank_of(stage)))->executor.stage(stage);
  }

  static void expect_batch(const at::Tensor& x) {
    if (!x.defined() || x.dim() < 1 || x.size(0) < 1)
      throw Error("pcomp: a batch needs a first dimension of at least 1 sample, not " +
                  (x.defined() ? to_string(detail::extents_of(x)) : std::string("an undefined tensor")));
  }

  /// Runs `task` on every rank's own thread, in the caller's grad mode and autocast state, and waits for all.
  template <class F>
  void on_every_rank(F&& task) {
    const at::ThreadLocalState state;
    for (auto& rank : ranks_)
      rank->thread.start([&, r = rank.get()] {
        const at::ThreadLocalStateGuard guard(state);
        r->error = nullptr;
        try {
          task(*r);
        } catch (...) {
          r->error = std::current_exception();
        }
      });
    for (auto& rank : ranks_) rank->thread.wait();
    for (auto& rank : ranks_)
      if (rank->error) std::rethrow_exception(std::exchange(rank->error, nullptr));
  }

  std::vector<at::Tensor> run(const ScheduleTable& table, const detail::Batch& batch) {
    std::vector<at::Tensor> results(batch.parts.size());
    links_->reset();
    const bool record = recording_ && batch.loss;
    if (record)
      trace_ = {detail::describe(table.policy.c_str(), table.size()) + ", measured", table.stages, false, {}};
    if (record) trace_.ranks.resize(ranks_.size());
    const auto origin = detail::Stopwatch::Clock::now();
    on_every_rank([&](Rank& rank) {
      const int r = rank.executor.rank();
      rank.executor.stopwatch().record(record ? &trace_.ranks[static_cast<std::size_t>(r)] : nullptr, origin);
      rank.executor.run(table.row(r), batch, rank.link, results);
    });
    return results;
  }

  /// The shape behind every stage, learnt once for each shape of a sample.
  const std::vector<detail::Activation>& activations(const at::Tensor& x) {
    const detail::Activation key{detail::extents_of(x).with(0, 1), x.scalar_type()};
    for (const auto& [known, shapes] : shapes_)
      if (known == key) return shapes;
    std::vector<const StageModule*> all;
    for (int s = 0; s < schedule_.stages; ++s) all.push_back(&held(s));
    return shapes_.emplace_back(key, detail::probe(all, x.narrow(0, 0, 1))).second;
  }

  void predict(const detail::Batch& batch, Traffic BoundaryReport::*direction,
               std::size_t (*BoundaryOps::*size)(const Extents&)) {
    for (std::size_t e = 0; e < wires_.size(); ++e)
      for (const MicroBatch& part : batch.parts) {
        const Extents s = batch.activations[e].of(part.count);
        (edges_[e].*direction) += {0, 0, static_cast<std::int64_t>((wires_[e]->*size)(s)), 4 * s.size()};
      }
  }

  ScheduleTable schedule_;
  std::unique_ptr<ScheduleTable> inference_;
  std::vector<const BoundaryOps*> wires_;
  std::vector<BoundaryReport> edges_;
  std::deque<std::pair<detail::Activation, std::vector<detail::Activation>>> shapes_;
  std::int64_t steps_ = 0;
  bool recording_ = false;
  Trace trace_;
  std::unique_ptr<Threads> links_;
  std::vector<std::unique_ptr<Rank>> ranks_;
};

}  // namespace pcomp
