#pragma once
#include <chrono>
#include <concepts>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "../base/compiled.hpp"
#include "../kernel/boundary_wires.hpp"
#include "../nn/loss.hpp"
#include "../schedule/make_schedule.hpp"
#include "../stage/stage.hpp"
#include "../transport/connect.hpp"
#include "report.hpp"

namespace pcomp::detail {

class BoundaryEnds;
struct EngineParts;

/// The table of a Plan for so many stages.
template <class Plan, int stages>
schedule::ScheduleTable table_of() {
  constexpr bool fits = Plan::stages == stages;
  static_assert(refuse::plan_stages<fits>());
  if constexpr (fits)
    return schedule::ScheduleTable(Plan{});
  else
    std::abort();
}

}  // namespace pcomp::detail

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
///   that names both. Only stage 0's rank needs x, only the last stage's y and the loss; a rank between calls `step()`,
///   with the side inputs that its stages ask for. A rank without x waits for its shape. Where several ranks are given
///   x its shape is the same; where stage 0's rank has a y of the last one's dtype and shape it must be the same, or,
///   if both are given `sample_ids`, these. `parameters`, `module`, `train`, `report` and `trace` cover only this
///   process's ranks.
/// Bytes: `report()`.
/// Shapes: `stages.size() == schedule.stages`, and one boundary fewer, with a wire for each tensor that crosses it. The
///   first dimension of every tensor is the batch; the rest is learnt from one sample per new input shape, and again
///   when autocast changes; the dtypes of stage outputs must then not change. Stage 0 may change x in place, as in a
///   loop.
/// Links: `join` says how the ranks reach each other, for callers with a custom link.
/// Refusals: a Plan for another number of stages than the Pipeline has.
/// Errors: `Error` for sizes that do not fit; during a step, one `Error` that names rank, stage, micro-batch and
///   operation, after which another step may be tried; between processes the pipeline is then over.
/// Source: GPipe (Huang et al., 2019); torchgpipe (Kim et al., 2020).
/// Example: examples/050-first-program
class Engine {
 public:
  template <class... Stages, class Plan>
  Engine(const World& world, const Pipeline<Stages...>& net, Plan,
         const transport::CommunicatorFactory& join = transport::connect)
      : Engine(world, net.stages(), net.wires(), detail::table_of<Plan, sizeof...(Stages)>(), join) {}
  Engine(const World& world, std::vector<runtime::StageSpec> stages, kernel::Wires wires,
         schedule::ScheduleTable schedule, const transport::CommunicatorFactory& join = transport::connect);
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;
  ~Engine();

  /// One batch forward and backward: accumulates gradients in the parameters, returns the batch's mean loss.
  ///
  /// `y`: the targets, one tensor or several, of which each micro-batch gets its part; `side`: what the stages that take a
  /// Microbatch find in it, likewise. A tensor that every micro-batch gets as it is: `training::whole(tensor)`.
  /// `sample_ids` are the samples' identities in the data set, which wires with Delta need; stage 0's rank reads them. A
  /// batch of fewer samples than micro-batches runs in fewer, in the order that the schedule gives them. Where x
  /// requires a gradient, as behind an encoder, it reaches x's graph once, on stage 0's rank. The first step of a kind
  /// also looks at the stages' graphs (graph_check.hpp).
  ///
  /// Errors: `Error` for x and y of different batch sizes, Delta without ids, x that requires a gradient before frozen
  ///   stages, a loss or stage whose graph would leave something untrained, or first and last stage's ranks with
  ///   different batches.
  at::Tensor step(const at::Tensor& x = {}, const training::BatchTensors& y = {},
                  const training::Loss& loss = {}, const training::BatchTensors& side = {},
                  const at::Tensor& sample_ids = {});
  template <std::same_as<at::Tensor> Ids>
  at::Tensor step(const at::Tensor& x, const training::BatchTensors& y, const training::Loss& loss,
                  const Ids& sample_ids) {
    return step(x, y, loss, {}, sample_ids);
  }

  /// The last stage's output for a batch, with compression and without gradients, in the stages' current mode.
  ///
  /// Between processes it is an undefined tensor on the ranks that are not to have it: `Outputs::last_stage`,
  /// `Outputs::on({ranks})`; by default every rank has it, and it travels as it is.
  at::Tensor infer(const at::Tensor& x = {},
                   const training::Outputs& outputs = training::Outputs::every_rank);
  at::Tensor infer(const at::Tensor& x, const training::BatchTensors& side,
                   const training::Outputs& outputs = training::Outputs::every_rank);

  /// The mean loss and metrics of a batch as `infer` would compute its outputs, which stay where they are.
  ///
  /// Law: equal on every rank, and to those with threads. A metric's numbers are added up over the micro-batches, so it
  ///   should count or sum: `count_correct`.
  /// Bytes: 8 for each number and micro-batch, to each other process.
  /// Errors: as `step`; a loss or metric that is not one number.
  training::Evaluation evaluate(const at::Tensor& x, const training::BatchTensors& y,
                                const training::Loss& loss, const std::vector<training::Metric>& metrics = {},
                                const training::BatchTensors& side = {}, const at::Tensor& sample_ids = {});
  template <std::same_as<at::Tensor> Ids>
  training::Evaluation evaluate(const at::Tensor& x, const training::BatchTensors& y,
                                const training::Loss& loss, const std::vector<training::Metric>& metrics,
                                const Ids& sample_ids) {
    return evaluate(x, y, loss, metrics, {}, sample_ids);
  }

  /// The parameters of this process's modules, in stage order; one that several stages share, once. Not for a norm of
  /// all gradients, which needs the stages of every process: `clip_grad_norm`.
  [[nodiscard]] std::vector<at::Tensor> parameters() const;
  /// Sets the mode of this process's modules.
  void train(bool on = true);
  void eval() { train(false); }

  /// Scales the gradients of all stages of all processes so that their norm is at most `max`; returns the norm before.
  ///
  /// Law: as torch::nn::utils::clip_grad_norm_ over the parameters of a plain loop, in stage order, with the same bits
  ///   whatever the placement, and with threads as with processes. A parameter of several stages counts once. A norm
  ///   that is not finite makes gradients so; with `error_if_nonfinite` it is an Error, and they stay as they are.
  /// Bytes: 8 + 16 for each parameter with a gradient, to each other process.
  /// Errors: `Error` for a `max` or `norm_type` that is negative or NaN.
  double clip_grad_norm(double max, double norm_type = 2, bool error_if_nonfinite = false);

  /// The sum of what each process gives, in rank order; with threads, what the one process gives.
  ///
  /// Law: the same bits on every rank; and those of threads if each number comes from one process, the others giving 0
  ///   for it, as with an entry for each stage.
  /// Bytes: the numbers, to each other process.
  /// Errors: `Error` on every rank if dtypes or shapes differ.
  at::Tensor sum(const at::Tensor& values);
  std::vector<double> sum(const std::vector<double>& values);
  double sum(double value);

  /// Divides batches so that no micro-batch has fewer samples than this (1 at first), in fewer micro-batches than the
  /// schedule's if need be, e.g. 2 for batch normalisation; all ranks call it alike.
  void smallest_microbatch(int samples);

  /// Sets other wires from the next step on, e.g. raw ones for a warm-up; all ranks call it between the same steps.
  ///
  /// Errors: `Error` for another number of wires, for Verbatim in the place of a wire with gradients or the reverse, or if
  /// the processes differ.
  void rewire(kernel::Wires wires);

  /// Freezes the first `stages` stages from the next step on (0: none); all ranks call it between the same steps.
  /// Frozen stages only run forward, without a graph, and no gradient is sent to them; their parameters keep the
  /// gradients they have, and batch normalisation its mode.
  ///
  /// Errors: `Error` if no stage is left to train, or if the processes differ.
  void freeze(int stages);

  /// Makes two parameters of different stages one weight, as an embedding and the head that reads it back: from now on their
  /// gradients are added after each step, and both get the sum. All ranks call it alike, before the first step.
  ///
  /// Law: `second` starts equal to `first`, and optimisers that do the same with both keep it so. Gradients are those of a
  ///   loop over two such copies, to which the later stage's gradient is given first: sum = later + earlier. They pass
  ///   `through` a wire if one is given. `clip_grad_norm` counts the weight once. Two stages of one rank need no call:
  ///   build them with the same module.
  /// Bytes: 16 and the gradient's, or its payload's, each way in each step.
  /// Errors: `Error` for parameters that there are not, that differ in shape or dtype or are shared already, for a wire
  ///   with a memory, and after the first step.
  /// Source: tied weights of DeepSpeed and Megatron-LM (Shoeybi et al., 2019).
  /// Example: examples/080-transformer
  void share(const runtime::WeightName& first, const runtime::WeightName& second,
             const kernel::WireKernels* through = nullptr);

  /// Lets these stages, of those in this process, keep only what they were given between their forward and backward
  /// passes, and compute again: `runtime::recompute`. The others keep their graphs.
  ///
  /// Errors: `Error` for a stage that there is not.
  void recompute(const std::vector<int>& stages);

  /// Whether to time later steps operation by operation; off at first, and cheap.
  void record(bool on = true);
  /// The last recorded step, in seconds since it began.
  const schedule::Trace& trace() const;
  /// When that step began here.
  std::chrono::steady_clock::time_point trace_origin() const;
  /// What the ranks of this process sent, and where their time went.
  [[nodiscard]] runtime::Report report() const;

  /// Whether the rank of this stage is in this process.
  bool here(int stage) const;
  /// A stage's module, or null if it is a plain function or in another process.
  std::shared_ptr<torch::nn::Module> module(int stage) const;
  const schedule::ScheduleTable& schedule() const;
  const kernel::Wires& wires() const;
  /// The boundary's ends on a stage's rank, or null in another process; for checkpoints.
  detail::BoundaryEnds* ends_at(int stage);

  /// The texts of all processes in rank order; every process calls it. With threads: the one text.
  std::vector<std::string> exchange(const std::string& about, const std::string& text);
  /// Ends the pipeline on every rank with this reason.
  void abort(const std::string& reason);
  /// Something to keep as long as this pipeline, such as the lock of a folder that it saves into.
  std::shared_ptr<void>& kept(const std::string& name);
  /// The record of calls that all processes make in the same order, for functions that are such a call; or null.
  transport::Calls* calls() const;

 private:
  std::unique_ptr<detail::EngineParts> parts_;
};

}  // namespace pcomp

#if !defined(PCOMP_COMPILED)
#include "impl/engine.ipp"
#include "impl/totals.ipp"
#endif
