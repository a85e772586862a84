#pragma once
#include <torch/csrc/autograd/autograd.h>

#include <mutex>
#include <shared_mutex>

#include "boundary_ends.hpp"

namespace pcomp::detail {

/// LibTorch has one generator of random numbers for all threads, and a stage that is computed again must draw what it
/// drew: where ranks are threads, such a stage computes while no other one does.
class DrawsAlone {
 public:
  DrawsAlone(bool needed, bool alone) : alone_(needed && alone), shared_(needed && !alone) {
    if (alone_) mutex().lock();
    if (shared_) mutex().lock_shared();
  }
  DrawsAlone(const DrawsAlone&) = delete;
  DrawsAlone& operator=(const DrawsAlone&) = delete;
  ~DrawsAlone() {
    if (alone_) mutex().unlock();
    if (shared_) mutex().unlock_shared();
  }

 private:
  static std::shared_mutex& mutex() {
    static std::shared_mutex one;
    return one;
  }
  bool alone_, shared_;
};

/// Runs the stages of one rank: their functions, their functions again where they keep no graph, and their backward
/// passes.
///
/// Law: a stage that recomputes gives what it gives otherwise, bit for bit: it is given the same tensors, random numbers
///   and Microbatch twice, and counts in its buffers once.
class StageRuns {
 public:
  /// `split`: the row has BackwardWeights. `locks`: other ranks of this process may draw random numbers at the same time,
  /// and some stage of the pipeline recomputes.
  void begin(const Batch& batch, bool split, bool locks) {
    batch_ = &batch;
    split_ = split, locks_ = locks;
    skips_.begin(batch.parts.size());
  }
  void end() { skips_.expect_popped(), skips_.clear(); }
  void clear() { skips_.clear(); }

  /// `finish()`, here and below: what the last stage makes of its output. It may draw random numbers too.
  template <class Finish>
  void forward(int stage, int micro, const runtime::StageModule& module, MicrobatchState& v, Finish finish) {
    const bool trains = batch_->trains(stage);
    v.recomputes = trains && module.recompute;
    const DrawsAlone lock(locks_, v.recomputes);
    if (v.recomputes) v.random = RandomState({module.device});
    run(stage, micro, module, v, trains && !v.recomputes, false);
    const at::AutoGradMode graph(trains && !v.recomputes);
    finish();
  }
  /// A forward pass with a graph, from inputs that were given again.
  template <class Finish>
  void forward_again(int stage, int micro, const runtime::StageModule& module, MicrobatchState& v,
                     Finish finish) {
    const DrawsAlone lock(locks_, true);
    const RngStateGuard after({module.device});
    v.random.restore();
    const SecondRun second(module.module.get());
    run(stage, micro, module, v, true, true);
    const at::AutoGradMode graph(true);
    finish();
    v.random = {};
  }
  void backward(int stage, int micro, bool last, MicrobatchState& v) {
    runtime::Tensors outputs = v.graph.outputs, grads = v.graph.output_grads, roots, given;
    grads.resize(outputs.size());
    const std::size_t own = outputs.size();
    skips_.add_outputs(stage, micro, outputs, &grads);
    for (std::size_t k = 0; k < outputs.size(); ++k) {
      if (!outputs[k].requires_grad()) continue;
      // Every wire but Verbatim has brought one; a stage that recomputes had no graph when it sent.
      if (k < own && !last && !grads[k].defined()) throw_verbatim_gradient(k);
      if (k >= own && !grads[k].defined()) continue;
      roots.push_back(outputs[k]);
      given.push_back(grads[k]);
    }
    if (split_) {
      std::vector<std::shared_ptr<torch::autograd::Node>> nodes;
      std::vector<at::Tensor*> slots;
      for (std::size_t k = 0; k < v.graph.entrances.size(); ++k)
        if (v.graph.entrances[k]) {
          nodes.push_back(v.graph.entrances[k]);
          slots.push_back(v.graph.input_grads[k].get());
        }
      skips_.add_entrances(stage, micro, nodes, &slots);
      const std::vector<at::Tensor> came = v.split.inputs(roots, given, nodes);
      for (std::size_t k = 0; k < came.size(); ++k) *slots[k] = came[k];
    } else if (!roots.empty()) {
      torch::autograd::backward(roots, given);
    }
    v.graph.release();
    skips_.release(stage, micro);
  }

 private:
  void run(int stage, int micro, const runtime::StageModule& module, MicrobatchState& v, bool graph,
           bool again) {
    const at::AutoGradMode mode(graph);
    // A cast without a graph must not be there when a stage that trains uses the same weights.
    const AutocastCache casts(at::autocast::is_autocast_cache_enabled() && (graph || !batch_->loss));
    skips_.enter(stage, micro, module.device, graph, batch_->trains(stage), again);
    v.graph.outputs = module.call(
        v.graph.inputs, module.takes_microbatch ? batch_->microbatch(micro, module, &skips_) : Microbatch());
    if (!graph || !batch_->graphs->check) return;
    runtime::Tensors ends = v.graph.outputs;
    auto nodes = v.graph.entrances;
    skips_.add_outputs(stage, micro, ends, nullptr);
    skips_.add_entrances(stage, micro, nodes, nullptr);
    (*batch_->graphs->check)(stage, ends, nodes, batch_->learns_before(stage));
  }

  const Batch* batch_ = nullptr;
  bool split_ = false, locks_ = false;
  Skips skips_;
};

}  // namespace pcomp::detail
