#pragma once
#include <optional>
#include <set>
#include <unordered_set>

#include "../autograd/tensor.hpp"
#include "shared_gradients.hpp"
#include "stage_module.hpp"

namespace pcomp::detail {

/// What the gradient of a tensor would reach: the node `input` or not, and the leaves before it.
struct Reach {
  bool input = false;
  std::vector<at::Tensor> leaves;
};

/// Visits each node behind `output` once, and none behind `input`.
inline Reach reach_of(const at::Tensor& output, const torch::autograd::Node* input) {
  Reach found;
  if (!output.defined() || !output.requires_grad()) return found;
  const torch::autograd::Edge root = torch::autograd::impl::gradient_edge(output);
  std::unordered_set<torch::autograd::Node*> seen{root.function.get()};
  std::vector<torch::autograd::Node*> open{root.function.get()};
  while (!open.empty()) {
    torch::autograd::Node* const node = open.back();
    open.pop_back();
    if (node == input) {
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
  GraphCheck(const std::vector<const StageModule*>& stages, std::size_t micros, SharedGradients& shared)
      : seen_(stages.size()), micros_(micros), shared_(shared) {
    for (std::size_t s = 0; s < stages.size(); ++s) {
      if (!stages[s] || !stages[s]->module) continue;
      for (const at::Tensor& p : stages[s]->module->parameters()) {
        owned_.insert(p.unsafeGetTensorImpl());
        if (p.requires_grad()) seen_[s].own.insert(p.unsafeGetTensorImpl());
      }
    }
  }

  /// After a forward pass, on the stage's rank. `input`: where the stage's graph begins, or null. `learns`: whether
  /// anything before this stage is trained.
  void operator()(int stage, const at::Tensor& output, const torch::autograd::Node* input, bool learns) {
    Seen& s = seen_[static_cast<std::size_t>(stage)];
    const Reach reach = reach_of(output, input);
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
    if (++s.micros < micros_) return;
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
    std::size_t micros = 0;
    bool parameters = false, input = false;
  };
  std::vector<Seen> seen_;  ///< each used by its stage's rank alone
  std::unordered_set<c10::TensorImpl*> owned_;
  std::size_t micros_;
  SharedGradients& shared_;
};

/// What a pipeline knows of its stages' graphs, over all steps.
class StepGraphs {
 public:
  SharedGradients shared;
  std::optional<GraphCheck> check;  ///< in the first step of a kind

  void know(const std::vector<const StageModule*>& stages) {
    for (std::size_t s = 0; s < stages.size(); ++s)
      if (stages[s] && stages[s]->module)
        for (const at::Tensor& p : stages[s]->module->parameters()) shared.uses(static_cast<int>(s), p);
  }
  /// `shapes`: where those of this kind of batch stand.
  void begin(std::size_t micros, int frozen, const void* shapes,
             const std::vector<const StageModule*>& stages) {
    kind_ = {shapes, frozen};
    if (!checked_.count(kind_)) check.emplace(stages, micros, shared);
    shared.begin(micros, frozen);
  }
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
