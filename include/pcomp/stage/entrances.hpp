#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../base/error.hpp"
#include "call.hpp"

namespace pcomp::detail {

/// Where a received tensor enters a stage's graph; the backward pass stores its gradient in a slot.
///
/// Why not a leaf: a stage may begin with an in-place operation, which autograd refuses on a leaf.
class ReceivedActivation : public torch::autograd::Function<ReceivedActivation> {
 public:
  /// `anchor` is any tensor that requires grad; `slot` must outlive the backward pass.
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& anchor,
                            const at::Tensor* received, at::Tensor* slot) {
    (void)anchor;
    ctx->saved_data["slot"] = reinterpret_cast<std::int64_t>(slot);
    return *received;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    *reinterpret_cast<at::Tensor*>(ctx->saved_data["slot"].toInt()) = grads[0];
    return {at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

/// The tensor as the beginning of a graph, whose gradient comes to `slot`.
inline at::Tensor entrance(const at::Tensor& x, at::Tensor* slot) {
  static thread_local const at::Tensor anchor = at::zeros({}).requires_grad_();
  return ReceivedActivation::apply(anchor, &x, slot);
}

/// The ends of a stage's graph for one micro-batch: what enters it, and the gradients that come there; what leaves it, and
/// the gradients that are given to it.
struct StageGraph {
  using Node = torch::autograd::Node;
  runtime::Tensors inputs, outputs;
  std::vector<std::unique_ptr<at::Tensor>> input_grads;  ///< slots, whose addresses the graph has
  runtime::Tensors output_grads;
  std::vector<std::shared_ptr<Node>> entrances;  ///< by input; null for one without a gradient

  /// An input that wants its gradient, or (`learns` false) one that does not.
  void enter(const at::Tensor& x, bool learns) {
    input_grads.push_back(std::make_unique<at::Tensor>());
    inputs.push_back(learns ? entrance(x, input_grads.back().get()) : x);
    entrances.push_back(learns ? inputs.back().grad_fn() : nullptr);
  }
  at::Tensor take_input_grad(std::size_t k) {
    return k < input_grads.size() ? std::exchange(*input_grads[k], at::Tensor()) : at::Tensor();
  }
  void clear_inputs() { inputs.clear(), entrances.clear(), input_grads.clear(); }
  /// After a backward pass: all but the gradients of the inputs.
  void release() { inputs.clear(), outputs.clear(), output_grads.clear(), entrances.clear(); }
};

/// Tensors that stages of one rank leave for later ones, when shapes are learnt.
class ProbeSkips final : public SkipStore {
 public:
  void stash(const std::string& name, const at::Tensor& x) override {
    if (!held_.emplace(name, x).second) throw Error("'" + name + "' is stashed already");
  }
  at::Tensor pop(const std::string& name) override {
    const auto found = held_.find(name);
    if (found == held_.end()) throw_unknown(name);
    if (!found->second.defined()) throw Error("'" + name + "' was popped already");
    return std::exchange(found->second, at::Tensor());
  }
  [[noreturn]] static void throw_unknown(const std::string& name) {
    throw Error(
        "the stage pops '" + name +
        "', which no earlier stage of this rank has stashed: place the two on one rank, or hand the tensor "
        "through the stages between as one more output");
  }

 private:
  std::map<std::string, at::Tensor> held_;
};

/// The same in steps, with the gradients that come back.
///
/// Law: as if the popping stage had been given the tensor itself. Both stages may recompute: a stash of a second forward
///   pass stands for the first.
class Skips final : public SkipStore {
 public:
  void begin(std::size_t microbatches) { held_.clear(), held_.resize(microbatches); }
  /// Whose function runs next. `graph`: it builds one; `trains`: it has a backward pass; `again`: it ran before.
  void enter(int stage, int micro, at::Device device, bool graph, bool trains, bool again) {
    stage_ = stage, micro_ = static_cast<std::size_t>(micro), device_ = device;
    graph_ = graph, trains_ = trains, again_ = again;
  }
  void stash(const std::string& name, const at::Tensor& x) override {
    if (!x.defined()) throw Error("the stage stashes an undefined tensor as '" + name + "'");
    const auto [entry, added] = held_.at(micro_).try_emplace(name);
    Skip& s = entry->second;
    if (!added && !again_)
      throw Error("'" + name + "' is stashed already, by stage " + std::to_string(s.from));
    s.from = stage_, s.value = x, s.learns = trains_ && (x.is_floating_point() || x.is_complex());
  }
  at::Tensor pop(const std::string& name) override {
    auto& all = held_.at(micro_);
    const auto found = all.find(name);
    if (found == all.end() || found->second.from >= stage_) ProbeSkips::throw_unknown(name);
    Skip& s = found->second;
    if (s.to >= 0 && !(again_ && s.to == stage_))
      throw Error("'" + name + "' was popped already, by stage " + std::to_string(s.to));
    s.to = stage_;
    const at::Tensor value = s.value.detach().to(device_);
    if (!trains_) s.value = at::Tensor();  // nobody computes this stage again
    if (!graph_ || !s.learns) return value;
    s.grad = std::make_unique<at::Tensor>();
    const at::Tensor entered = entrance(value, s.grad.get());
    s.node = entered.grad_fn();
    return entered;
  }

  /// Adds what the stage has stashed to the ends of its graph, with the gradients that came back.
  void add_outputs(int stage, int micro, runtime::Tensors& outputs, runtime::Tensors* grads) {
    for (auto& [name, s] : held_.at(static_cast<std::size_t>(micro)))
      if (s.from == stage && s.learns && s.value.defined()) {
        outputs.push_back(s.value);
        if (grads)
          grads->push_back(s.grad && s.grad->defined() ? s.grad->to(s.value.device()) : at::Tensor());
      }
  }
  /// Adds the nodes where what it has popped enters its graph, and where their gradients are to come.
  void add_entrances(int stage, int micro, std::vector<std::shared_ptr<torch::autograd::Node>>& nodes,
                     std::vector<at::Tensor*>* slots) {
    for (auto& [name, s] : held_.at(static_cast<std::size_t>(micro)))
      if (s.to == stage && s.node) {
        nodes.push_back(s.node);
        if (slots) slots->push_back(s.grad.get());
      }
  }
  /// A stage's backward pass is over, or there is none.
  void release(int stage, int micro) {
    std::erase_if(held_.at(static_cast<std::size_t>(micro)),
                  [&](const auto& e) { return e.second.from == stage && e.second.to >= 0; });
    for (auto& [name, s] : held_.at(static_cast<std::size_t>(micro)))
      if (s.to == stage) s.node = nullptr;
  }
  /// Where all stages of the rank are done. Errors: `Error` for what nobody popped.
  void expect_popped() const {
    for (std::size_t m = 0; m < held_.size(); ++m)
      for (const auto& [name, s] : held_[m])
        if (s.to < 0)
          throw Error("stage " + std::to_string(s.from) + " stashed '" + name + "' for micro-batch " +
                      std::to_string(m) + ", which no later stage of this rank has popped");
  }
  void clear() { held_.clear(); }

 private:
  struct Skip {
    int from = -1, to = -1;
    bool learns = false;
    at::Tensor value;
    std::unique_ptr<at::Tensor> grad;
    std::shared_ptr<torch::autograd::Node> node;
  };
  std::vector<std::map<std::string, Skip>> held_;  ///< by micro-batch
  int stage_ = 0;
  std::size_t micro_ = 0;
  at::Device device_ = at::kCPU;
  bool graph_ = false, trains_ = false, again_ = false;
};

}  // namespace pcomp::detail
