#pragma once
#include <ATen/core/grad_mode.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

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
  void begin(std::size_t micros, int first) {
    const std::lock_guard lock(mutex_);
    stepping_ = true;
    first_ = first;
    done_.assign(micros, {});
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

}  // namespace pcomp::detail
