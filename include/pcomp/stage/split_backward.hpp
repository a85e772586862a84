#pragma once
#include <ATen/ops/ones_like.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <memory>
#include <unordered_map>
#include <vector>

namespace pcomp::detail {

/// One micro-batch's backward pass through one stage in two halves, over the one graph that its forward pass saved.
///
/// The first half runs the nodes on the paths from the output to the input, for the gradient of the input alone, and
/// keeps the gradients that arrive at those which also lead to parameters. It then cuts the paths to the input, so that
/// the second half starts at those nodes and reruns only them, each for its parameters.
///
/// Law: input and parameters get the gradients of one backward pass, bit for bit: one engine run sums and
///   accumulates them in the same order. Tensor hooks run once. A node that cannot skip part of its work (a custom
///   Function) does all of it twice.
/// Source: the split of torch.distributed.pipelining; Qi et al., "Zero Bubble Pipeline Parallelism", 2023.
class SplitBackward {
  using Node = torch::autograd::Node;
  using Edge = torch::autograd::Edge;

 public:
  /// The gradients that arrive at the nodes `entrances`, undefined where none does. Without entrances all is left to
  /// `weights`.
  std::vector<at::Tensor> inputs(const std::vector<at::Tensor>& outputs,
                                 const std::vector<at::Tensor>& output_grads,
                                 const std::vector<std::shared_ptr<Node>>& entrances) {
    std::vector<at::Tensor> arrived(entrances.size());
    torch::autograd::edge_list open, targets;
    torch::autograd::variable_list open_grads;
    ways_.clear();
    for (const auto& node : entrances) ways_[node.get()] = true;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const Edge root = torch::autograd::impl::gradient_edge(outputs[i]);
      const at::Tensor grad = output_grads[i].defined() ? output_grads[i] : at::ones_like(outputs[i]);
      const bool way = !entrances.empty() && find_ways(root.function.get());
      (way ? open : roots_).push_back(root);
      (way ? open_grads : grads_).push_back(grad);
    }
    if (open.empty()) return ways_.clear(), arrived;
    std::vector<Kept> kept;
    for (const auto& [node, way] : ways_)
      if (way && !is_entrance(node, entrances) && leads_elsewhere(*node))
        kept.push_back({node->getptr(), {}});
    for (Kept& k : kept) k.node->add_pre_hook(std::make_unique<Keep>(&k.grads));
    for (const auto& node : entrances) targets.emplace_back(node, 0);
    arrived = run(open, open_grads, true, targets);
    for (const auto& [node, way] : ways_)
      if (way && !is_entrance(node, entrances) && !leads_elsewhere(*node)) node->release_variables();
    for (Kept& k : kept) take(k);  // after this a node on a path may be gone
    ways_.clear();
    return arrived;
  }

  void weights() {
    if (!roots_.empty()) run(roots_, grads_, false, {});
    roots_.clear();
    grads_.clear();
  }

 private:
  struct Kept {
    std::shared_ptr<Node> node;
    torch::autograd::variable_list grads;
  };
  struct Keep : torch::autograd::FunctionPreHook {
    explicit Keep(torch::autograd::variable_list* to) : grads(to) {}
    torch::autograd::variable_list operator()(const torch::autograd::variable_list& g) override {
      return *grads = g;
    }
    torch::autograd::variable_list* grads;
  };

  static torch::autograd::variable_list run(const torch::autograd::edge_list& roots,
                                            const torch::autograd::variable_list& grads, bool keep_graph,
                                            const torch::autograd::edge_list& outputs) {
    return torch::autograd::Engine::get_default_engine().execute(roots, grads, keep_graph, false,
                                                                 outputs.empty(), outputs);
  }

  static bool is_entrance(const Node* node, const std::vector<std::shared_ptr<Node>>& entrances) {
    return std::any_of(entrances.begin(), entrances.end(), [&](const auto& e) { return e.get() == node; });
  }
  /// Finds which nodes behind `root` lead to the entrances, which stand in `ways_`; returns whether the root does.
  bool find_ways(Node* root) {
    std::vector<std::pair<Node*, std::size_t>> path{{root, 0}};
    while (!path.empty()) {
      auto& [node, next] = path.back();
      if (next == 0 && ways_.count(node)) {
        path.pop_back();
      } else if (next < node->num_outputs()) {
        Node* const child = node->next_edge(next++).function.get();
        if (child && !ways_.count(child)) path.emplace_back(child, 0);
      } else {
        bool way = false;
        for (const Edge& e : node->next_edges()) way = way || (e.function && ways_.at(e.function.get()));
        ways_[node] = way;
        path.pop_back();
      }
    }
    return ways_.at(root);
  }
  bool leads_elsewhere(const Node& node) const {
    for (const Edge& e : node.next_edges())
      if (e.function && !ways_.at(e.function.get())) return true;
    return false;
  }

  /// Makes what arrived roots of the second half; hooks have run, and paths to the input are no longer needed.
  void take(Kept& k) {
    Node& node = *k.node;
    node.pre_hooks().pop_back();
    node.tensor_pre_hooks().clear();
    node.retains_grad_hooks().clear();
    for (std::size_t i = 0; i < k.grads.size(); ++i)
      if (k.grads[i].defined()) {
        roots_.emplace_back(k.node, static_cast<std::uint32_t>(i));
        grads_.push_back(k.grads[i]);
      }
    for (Edge& e : node.next_edges())
      if (e.function && ways_.at(e.function.get())) e = Edge();
  }

  std::unordered_map<Node*, bool> ways_;
  torch::autograd::edge_list roots_;
  torch::autograd::variable_list grads_;
};

}  // namespace pcomp::detail
