#pragma once
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "../nn/loss.hpp"
#include "../stage/graph_check.hpp"
#include "shape_inference.hpp"

namespace pcomp::detail {

/// What every rank works on in one step.
struct Batch {
  std::vector<training::SampleRange> parts;
  at::Tensor x;
  training::BatchTensors y, side;
  const training::Loss* loss = nullptr;    ///< null: inference
  std::vector<StageOutput> activations;    ///< of every stage
  std::vector<std::int64_t> sample_ids{};  ///< of the samples; empty: not given
  int frozen = 0;                          ///< how many first stages only run forward
  bool wants_grad = false;                 ///< x came with a graph, whose gradient stage 0 gives
  StepGraphs* graphs = nullptr;            ///< in training
  at::Tensor given_ids{};                  ///< what this rank was given, to compare
  const training::Loss* judge = nullptr;   ///< of an evaluation, which has no `loss`
  const std::vector<training::Metric>* metrics = nullptr;  ///< likewise
  const training::Outputs* outputs = nullptr;              ///< who gets those of an inference

  /// How many numbers the last stage makes of each micro-batch; 0: its output counts.
  std::size_t numbers() const { return loss ? 1 : judge ? 1 + metrics->size() : 0; }
  bool outputs_for(int rank) const {
    return !outputs || outputs->all ||
           std::find(outputs->ranks.begin(), outputs->ranks.end(), rank) != outputs->ranks.end();
  }

  /// Whether this stage has a backward pass, and so the boundary after it carries gradients.
  bool trains(int stage) const { return loss && stage >= frozen; }
  /// Whether anything before this stage is trained, so that its input's gradient matters.
  bool learns_before(int stage) const {
    for (int s = frozen; s < stage; ++s)
      if (activations[static_cast<std::size_t>(s)].front().learns) return true;
    return wants_grad;
  }

  /// What leaves a stage, by tensor, and its shape for a micro-batch.
  const Activation& activation(int stage, std::size_t tensor = 0) const {
    return activations[static_cast<std::size_t>(stage)][tensor];
  }
  Extents shape(int stage, int micro, std::size_t tensor = 0) const {
    return activation(stage, tensor).of(parts[static_cast<std::size_t>(micro)].count);
  }
  /// What the last stage gives.
  const Activation& output() const { return activations.back().front(); }
  /// As a stage sees one of the micro-batches.
  Microbatch microbatch(int micro, const runtime::StageModule& stage, SkipStore* skips) const {
    const training::SampleRange& part = parts[static_cast<std::size_t>(micro)];
    Microbatch m(skips);
    m.index = micro, m.count = static_cast<int>(parts.size());
    m.first = part.first, m.samples = part.count;
    m.side = training::SideInputs(parts_of(side, part, stage.device));
    return m;
  }
};

/// The wires take these shapes, or an error names the boundary before anything is sent.
inline void expect_shapes(const Batch& batch, const kernel::Wires& wires) {
  for (std::size_t e = 0; e < wires.size(); ++e)
    for (std::size_t k = 0; k < wires[e].size(); ++k) try {
        const Extents s = batch.shape(static_cast<int>(e), 0, k);
        wires[e][k].bytes(s), wires[e][k].grad_bytes(s);
      } catch (const Error& why) {
        throw Error("pcomp: boundary " + std::to_string(e) + ", behind stage " + std::to_string(e) +
                    (wires[e].size() > 1 ? ", tensor " + std::to_string(k) : "") + ": " + bare(why.what()));
      }
}

inline void expect_dense_batch(const char* what, const at::Tensor& t) {
  if (t.defined() && (t.is_nested() || t.layout() != at::kStrided))
    throw Error(std::string("pcomp: ") + what + " must be dense, to be cut into micro-batches, not " +
                t.toString() + ": pass to_dense() of it");
}
/// Gives x's graph the gradient of the batch, whose parts are undefined where there is none.
inline void pass_back(const at::Tensor& x, const Batch& batch, std::vector<at::Tensor> grads) {
  for (std::size_t m = 0; m < grads.size(); ++m)
    if (!grads[m].defined())
      grads[m] = at::zeros_like(batch.x.narrow(0, batch.parts[m].first, batch.parts[m].count));
  x.backward(at::cat(grads).to(x.options()));
}

inline void expect_batch(const at::Tensor& x) {
  expect_dense_batch("a batch", x);
  if (!x.defined() || x.dim() < 1 || x.size(0) < 1)
    throw Error("pcomp: a batch needs a first dimension of at least 1 sample, not " +
                (x.defined() ? to_string(extents_of(x)) : std::string("an undefined tensor")));
}
inline void expect_targets(const training::BatchTensors& y, std::int64_t samples) {
  for (const auto& [t, whole] : y) {
    expect_dense_batch("the targets", t);
    if (t.defined() && t.grad_fn())
      throw Error(
          "pcomp: the targets come with a graph, which each micro-batch would go through again: detach them");
    if (t.defined() && !whole && (t.dim() < 1 || t.size(0) != samples))
      throw Error("pcomp: the batch has " + std::to_string(samples) + " samples, but the targets are " +
                  (t.dim() ? std::to_string(t.size(0)) : "one number") +
                  "; training::whole(tensor) is given to every micro-batch as it is");
  }
}
inline void expect_side(const training::BatchTensors& side, std::int64_t samples) {
  std::size_t i = 0;
  for (const auto& [t, whole] : side) {
    const std::string name = "side input " + std::to_string(i++);
    expect_dense_batch(name.c_str(), t);
    if (t.defined() && t.requires_grad())
      throw Error("pcomp: " + name +
                  " requires a gradient, and side inputs get none: detach it, or let a stage own it");
    if (t.defined() && !whole && (t.dim() < 1 || t.size(0) != samples))
      throw Error(
          "pcomp: the batch has " + std::to_string(samples) + " samples, but " + name + " has the shape " +
          to_string(extents_of(t)) +
          ": its first dimension is the batch, or it is training::whole(tensor), which every micro-batch "
          "gets as it is");
  }
}

/// What a stage returned is what one sample of this shape gave.
inline void expect_as_learnt(const Batch& batch, int stage, int micro, const runtime::Tensors& outputs) {
  const StageOutput& learnt = batch.activations[static_cast<std::size_t>(stage)];
  if (outputs.size() != learnt.size())
    throw Error("the stage returns " + std::to_string(outputs.size()) + " tensors, but one sample gave " +
                std::to_string(learnt.size()));
  for (std::size_t k = 0; k < outputs.size(); ++k) {
    const std::string name = outputs.size() > 1 ? "output " + std::to_string(k) : "the output";
    if (!outputs[k].defined()) throw Error(name + " is an undefined tensor");
    const Extents came = extents_of(outputs[k]), expected = batch.shape(stage, micro, k);
    if (came != expected)
      throw Error(name + " has shape " + to_string(came) + ", but one sample gave a shape that makes it " +
                  to_string(expected));
    if (outputs[k].scalar_type() != learnt[k].dtype)
      throw Error(name + " is " + c10::toString(outputs[k].scalar_type()) +
                  ", but one sample of this shape gave " + c10::toString(learnt[k].dtype));
  }
}

/// What to do where a forward pass failed because its micro-batch has one sample, though the batch has more.
inline std::string single_sample(const Batch& batch, int micro, const std::string& why) {
  const std::size_t m = static_cast<std::size_t>(micro), microbatches = batch.parts.size();
  if (!batch.loss || m >= microbatches || microbatches == 1 || batch.parts[m].count != 1) return "";
  const std::string samples = std::to_string(batch.x.size(0));
  return (why.find("more than 1 value per channel") == std::string::npos
              ? "; this micro-batch has 1 of the batch's " + samples + " samples: if that is the reason, "
              : "; the batch of " + samples + " samples is fine, but not its " +
                    std::to_string(microbatches) + " micro-batches, of which this one has 1 sample: ") +
         "call smallest_microbatch(2), which divides such a batch into fewer micro-batches, give at least " +
         std::to_string(2 * microbatches) + " samples, or leave the last batch out";
}

}  // namespace pcomp::detail
