#pragma once
#include <ATen/core/grad_mode.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <unordered_set>
#include <vector>

#include "../autograd/tensor.hpp"
#include "stage.hpp"

namespace pcomp::detail {

/// Gradients of parameters that several stages of this process use, as an embedding in the first and the last one.
///
/// Law: such a parameter gets what a sequential loop would give it: for each micro-batch in order, the sum over its
///   stages, last stage first. Without this, ranks that are threads would add in the order in which they come.
/// Bytes: a gradient for each stage and micro-batch whose sum is not complete; on a GPU, all of a step's.
///
/// How: during a step, a hook on the parameter keeps what autograd is about to accumulate. Which stage and micro-batch
/// it comes from stands in ThreadLocalDebugInfo, which autograd takes along to its threads.
class SharedGradients {
  using Impl = c10::TensorImpl*;

 public:
  /// A stage uses this parameter; known before the first backward pass of the step that needs it.
  void uses(int stage, const at::Tensor& parameter) {
    const std::lock_guard lock(mutex_);
    Leaf& leaf = leaves_[parameter.unsafeGetTensorImpl()];
    leaf.parameter = parameter;
    if (std::find(leaf.stages.begin(), leaf.stages.end(), stage) != leaf.stages.end()) return;
    leaf.stages.push_back(stage);
    std::sort(leaf.stages.rbegin(), leaf.stages.rend());
    if (stepping_) watch(leaf);
  }

  /// `first` is the first stage that has backward passes.
  void begin(std::size_t microbatches, int first) {
    const std::lock_guard lock(mutex_);
    stepping_ = true;
    first_ = first;
    done_.assign(microbatches, {});
    for (auto& entry : leaves_) watch(entry.second);
  }
  /// A step is over: adds what is left, or drops it after a failure.
  void end(bool whole) {
    const std::lock_guard lock(mutex_);
    for (auto& [impl, leaf] : leaves_) {
      if (whole && leaf.watched) fold(leaf);
      unwatch(leaf);
    }
    stepping_ = any_ = false;
  }

  /// Marks the backward pass that runs while the result lives; null if no parameter is shared.
  [[nodiscard]] std::unique_ptr<c10::DebugInfoGuard> enter(int stage, int micro) const {
    if (!any_) return nullptr;
    return std::make_unique<c10::DebugInfoGuard>(kind, std::make_shared<Place>(stage, micro));
  }
  /// All of a stage's gradients for this micro-batch have come.
  void done(int stage, int micro) {
    if (!any_) return;
    const std::lock_guard lock(mutex_);
    done_[static_cast<std::size_t>(micro)].push_back(stage);
    for (auto& [impl, leaf] : leaves_)
      if (leaf.watched && leaf.parameter.is_cpu())
        fold(leaf);  // on a GPU, streams are ordered only at the end
  }

 private:
  static constexpr c10::DebugInfoKind kind = c10::DebugInfoKind::TEST_INFO_2;
  struct Place : c10::DebugInfoBase {
    Place(int s, int m) : stage(s), micro(m) {}
    int stage, micro;
  };
  struct Leaf {
    at::Tensor parameter;
    std::vector<int> stages;                      ///< last first
    std::vector<std::map<int, at::Tensor>> came;  ///< per micro-batch: the gradient from each stage
    std::size_t folded = 0;                       ///< so many micro-batches have been added
    bool watched = false;
  };
  struct Keep : torch::autograd::FunctionPreHook {
    Keep(SharedGradients* to, Impl of) : shared(to), impl(of) {}
    torch::autograd::variable_list operator()(const torch::autograd::variable_list& grads) override {
      const auto* place = static_cast<const Place*>(c10::ThreadLocalDebugInfo::get(kind));
      if (!place || grads.empty() || !grads[0].defined()) return grads;
      shared->keep(impl, *place, grads[0]);
      return {at::Tensor()};  // nothing to accumulate
    }
    SharedGradients* shared;
    Impl impl;
  };

  void keep(Impl impl, const Place& place, const at::Tensor& grad) {
    const at::AutoGradMode no_grad(false);
    const std::lock_guard lock(mutex_);
    at::Tensor& slot = leaves_.at(impl).came[static_cast<std::size_t>(place.micro)][place.stage];
    slot = slot.defined() ? slot + grad : grad;
  }
  void watch(Leaf& leaf) {
    if (leaf.watched || leaf.stages.size() < 2 || !leaf.parameter.requires_grad()) return;
    leaf.came.assign(done_.size(), {});
    leaf.folded = 0;
    leaf.watched = any_ = true;
    torch::autograd::impl::hooks(leaf.parameter)
        .push_back(std::make_unique<Keep>(this, leaf.parameter.unsafeGetTensorImpl()));
  }
  static void unwatch(Leaf& leaf) {
    if (!leaf.watched) return;
    auto& hooks = torch::autograd::impl::hooks(leaf.parameter);
    std::erase_if(hooks, [](const auto& hook) { return dynamic_cast<Keep*>(hook.get()) != nullptr; });
    leaf.came.clear();
    leaf.watched = false;
  }
  bool complete(const Leaf& leaf) const {
    const std::vector<int>& done = done_[leaf.folded];
    for (int stage : leaf.stages)
      if (stage >= first_ && std::find(done.begin(), done.end(), stage) == done.end()) return false;
    return true;
  }
  void fold(Leaf& leaf) {
    const at::AutoGradMode no_grad(false);
    for (; leaf.folded < leaf.came.size() && complete(leaf); ++leaf.folded) {
      at::Tensor sum;
      for (int stage : leaf.stages)
        if (auto& came = leaf.came[leaf.folded]; came.count(stage)) {
          const at::Tensor grad = std::move(came[stage]);
          sum = sum.defined() ? sum + grad : grad;
        }
      leaf.came[leaf.folded].clear();
      if (!sum.defined()) continue;
      at::Tensor& grad = leaf.parameter.mutable_grad();
      torch::autograd::AccumulateGrad::accumulateGrad(
          leaf.parameter, grad, sum, 1, [&](at::Tensor&& updated) { grad = std::move(updated); });
      if (const auto& hook = torch::autograd::impl::post_acc_grad_hooks(leaf.parameter))
        (*hook)(leaf.parameter);
    }
  }

  std::mutex mutex_;
  std::map<Impl, Leaf> leaves_;
  std::vector<std::vector<int>> done_;  ///< per micro-batch: the stages whose backward pass is over
  int first_ = 0;
  bool stepping_ = false;
  std::atomic<bool> any_{false};
};

/// What the gradients of tensors would reach: one of the nodes `inputs` or not, and the leaves before them.
struct Reach {
  bool input = false;
  std::vector<at::Tensor> leaves;
};

/// Visits each node behind `outputs` once, and none behind `inputs`, which may hold nulls.
inline Reach reach_of(const std::vector<at::Tensor>& outputs,
                      const std::vector<std::shared_ptr<torch::autograd::Node>>& inputs) {
  Reach found;
  std::unordered_set<torch::autograd::Node*> seen;
  std::vector<torch::autograd::Node*> open;
  for (const at::Tensor& t : outputs)
    if (t.defined() && t.requires_grad())
      if (auto* root = torch::autograd::impl::gradient_edge(t).function.get(); seen.insert(root).second)
        open.push_back(root);
  while (!open.empty()) {
    torch::autograd::Node* const node = open.back();
    open.pop_back();
    if (std::any_of(inputs.begin(), inputs.end(), [&](const auto& i) { return i.get() == node; })) {
      found.input = true;
      continue;
    }
    if (const auto* leaf = dynamic_cast<const torch::autograd::AccumulateGrad*>(node))
      found.leaves.push_back(leaf->variable);
    for (const torch::autograd::Edge& e : node->next_edges())
      if (e.function && seen.insert(e.function.get()).second) open.push_back(e.function.get());
  }
  return found;
}

/// Looks at the graphs of all stages of this process in one step, the first of a kind, for parameters that would not
/// be trained as the program means.
///
/// Law: a stage that has no parameter to train, or uses only some of them, passes; so does one that uses none in some
///   micro-batches of the step.
/// Errors: `Error` for a leaf that no stage owns, for a stage that uses none of its parameters, and for one whose
///   output does not depend on its input though something before it learns.
class GraphCheck {
 public:
  /// `stages`: null for those in other processes.
  GraphCheck(const std::vector<const runtime::StageModule*>& stages, std::size_t microbatches,
             SharedGradients& shared)
      : seen_(stages.size()), microbatches_(microbatches), shared_(shared) {
    for (std::size_t s = 0; s < stages.size(); ++s) {
      if (!stages[s] || !stages[s]->module) continue;
      for (const at::Tensor& p : stages[s]->module->parameters()) {
        owned_.insert(p.unsafeGetTensorImpl());
        if (p.requires_grad()) seen_[s].own.insert(p.unsafeGetTensorImpl());
      }
    }
  }

  /// After a forward pass, on the stage's rank. `inputs`: where the stage's graph begins. `learns`: whether anything
  /// before this stage is trained.
  void operator()(int stage, const std::vector<at::Tensor>& outputs,
                  const std::vector<std::shared_ptr<torch::autograd::Node>>& inputs, bool learns) {
    Seen& s = seen_[static_cast<std::size_t>(stage)];
    const Reach reach = reach_of(outputs, inputs);
    s.input = s.input || reach.input;
    std::vector<Extents> strangers;
    for (const at::Tensor& leaf : reach.leaves) {
      if (owned_.count(leaf.unsafeGetTensorImpl())) {
        s.parameters = s.parameters || s.own.count(leaf.unsafeGetTensorImpl());
        shared_.uses(stage, leaf);
      } else if (leaf.use_count() > 2) {  // else only the graph and `reach` have it, so nobody could train it
        strangers.push_back(extents_of(leaf));
      }
    }
    if (!strangers.empty()) {
      const auto largest = std::max_element(strangers.begin(), strangers.end(),
                                            [](const auto& a, const auto& b) { return a.size() < b.size(); });
      throw Error(
          "a gradient reaches a leaf of shape " + to_string(*largest) +
          (strangers.size() > 1 ? " (and " + std::to_string(strangers.size() - 1) + " more)" : "") +
          " that no stage owns, so parameters() does not list it and it is neither saved nor switched by "
          "train(): let the stage's callable return the module itself, or a module that registers it "
          "(register_module, register_parameter)");
    }
    if (++s.microbatches < microbatches_) return;
    if (!s.own.empty() && !s.parameters)
      throw Error(
          "the output depends on none of the stage's " + std::to_string(s.own.size()) +
          " parameters that require a gradient, so they would not be trained: look for a NoGradGuard, a "
          "detach() or a Function that hides them, or set requires_grad_(false) on them");
    if (learns && !s.input)
      throw Error(
          "the output does not depend on the stage's input, so what comes before it would be trained with "
          "zeros: look for a NoGradGuard or a detach(), or freeze the stages before it");
  }

 private:
  struct Seen {
    std::unordered_set<c10::TensorImpl*> own;  ///< parameters that require a gradient
    std::size_t microbatches = 0;
    bool parameters = false, input = false;
  };
  std::vector<Seen> seen_;  ///< each used by its stage's rank alone
  std::unordered_set<c10::TensorImpl*> owned_;
  std::size_t microbatches_;
  SharedGradients& shared_;
};

/// What a pipeline knows of its stages' graphs, over all steps.
class StepGraphs {
 public:
  SharedGradients shared;
  std::optional<GraphCheck> check;  ///< in the first step of a kind

  void know(const std::vector<const runtime::StageModule*>& stages) {
    for (std::size_t s = 0; s < stages.size(); ++s)
      if (stages[s] && stages[s]->module)
        for (const at::Tensor& p : stages[s]->module->parameters()) shared.uses(static_cast<int>(s), p);
  }
  /// `shapes`: where those of this kind of batch stand.
  void begin(std::size_t microbatches, int frozen, const void* shapes,
             const std::vector<const runtime::StageModule*>& stages) {
    kind_ = {shapes, frozen};
    if (!checked_.count(kind_)) check.emplace(stages, microbatches, shared);
    shared.begin(microbatches, frozen);
  }
  /// The next step of each kind is looked at again.
  void forget() { checked_.clear(); }
  void end(bool whole) {
    shared.end(whole);
    check.reset();
    if (whole) checked_.insert(kind_);
  }

 private:
  std::pair<const void*, int> kind_;
  std::set<std::pair<const void*, int>> checked_;
};

}  // namespace pcomp::detail
