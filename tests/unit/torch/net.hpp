#pragma once
#include <torch/torch.h>

#include <pcomp/autograd/boundary.hpp>
#include <pcomp/runtime/pipeline.hpp>

/// A small network in five stages with what real ones have: an in-place operation at the start of a stage, batch
/// normalisation, a stride, a plain function, a linear layer.
namespace net {

using at::Tensor;

struct StemImpl : torch::nn::Module {
  StemImpl() {
    torch::manual_seed(1);
    conv = register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 6, 3).padding(1)));
    norm = register_module("norm", torch::nn::BatchNorm2d(6));
  }
  Tensor forward(const Tensor& x) { return norm(conv(x)); }
  torch::nn::Conv2d conv{nullptr};
  torch::nn::BatchNorm2d norm{nullptr};
};
TORCH_MODULE(Stem);

struct Body : torch::nn::Module {
  Body() {
    torch::manual_seed(2);
    conv = register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(6, 8, 3).padding(1).stride(2)));
    norm = register_module("norm", torch::nn::BatchNorm2d(8));
  }
  Tensor forward(Tensor x) {
    x.relu_();
    return norm(conv(x));
  }
  torch::nn::Conv2d conv{nullptr};
  torch::nn::BatchNorm2d norm{nullptr};
};

struct HeadImpl : torch::nn::Module {
  HeadImpl() {
    torch::manual_seed(4);
    linear = register_module("linear", torch::nn::Linear(8, 10));
  }
  Tensor forward(const Tensor& x) { return linear(x); }
  torch::nn::Linear linear{nullptr};
};
TORCH_MODULE(Head);

inline std::vector<pcomp::runtime::StageSpec> stages() {
  return {pcomp::runtime::stage_spec([] { return Stem(); }),
          pcomp::runtime::stage_spec([] { return Body(); }),
          pcomp::runtime::stage_spec([] { return [](const Tensor& x) { return torch::relu(x); }; }),
          pcomp::runtime::stage_spec([] { return [](const Tensor& x) {
                                            return x.mean({2, 3});
                                          }; }),
          pcomp::runtime::stage_spec([] { return Head(); })};
}

/// The plain sequential loop that a pipeline must equal, with the same boundaries and the same micro-batches. Targets of
/// -100 do not count.
struct Sequential {
  explicit Sequential(const std::vector<const pcomp::kernel::WireKernels*>& wires) {
    for (std::size_t e = 0; e < wires.size(); ++e) boundaries.emplace_back(*wires[e], static_cast<int>(e));
    for (const auto& spec : stages()) parts.push_back(spec.build());
  }
  Tensor forward(Tensor h, int micro = 0, const Tensor& sample_ids = {}) {
    for (std::size_t s = 0; s < parts.size(); ++s) {
      h = parts[s].forward(h);
      if (s < boundaries.size()) h = boundaries[s](h, micro, sample_ids);
    }
    return h;
  }
  Tensor step(const Tensor& x, const Tensor& y, int microbatches, const pcomp::training::Loss& loss,
              const Tensor& sample_ids = {}) {
    Tensor sum = torch::zeros({});
    for (int m = 0; m < microbatches; ++m) {
      const auto part = pcomp::training::split(x.size(0), microbatches)[static_cast<std::size_t>(m)];
      const Tensor out =
          forward(x.narrow(0, part.first, part.count), m,
                  sample_ids.defined() ? sample_ids.narrow(0, part.first, part.count) : sample_ids);
      const Tensor target = y.narrow(0, part.first, part.count);
      const double counts = target.ne(-100).sum().item<double>(), all = y.ne(-100).sum().item<double>();
      const Tensor l = counts > 0 ? loss(out, target) * (counts / all) : out.narrow(0, 0, 0).sum();
      l.backward();
      sum = sum + l.detach();
    }
    return sum;
  }
  /// Parameters, gradients and buffers.
  std::vector<Tensor> state() const {
    std::vector<Tensor> all;
    for (const auto& p : parts)
      if (p.module) collect(*p.module, all);
    return all;
  }
  static void collect(torch::nn::Module& m, std::vector<Tensor>& all) {
    for (const Tensor& p : m.parameters()) all.push_back(p), all.push_back(p.grad());
    for (const Tensor& b : m.buffers()) all.push_back(b);
  }
  std::vector<pcomp::Boundary> boundaries;
  std::vector<pcomp::runtime::StageModule> parts;
};

inline std::vector<Tensor> state(const pcomp::Engine& engine) {
  std::vector<Tensor> all;
  for (int s = 0; s < engine.schedule().stages; ++s)
    if (const auto m = engine.module(s)) Sequential::collect(*m, all);
  return all;
}

/// How many tensors differ in any bit.
inline int differing(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  if (a.size() != b.size()) return -1;
  int n = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    n += a[i].defined() != b[i].defined() || (a[i].defined() && !torch::equal(a[i], b[i]));
  return n;
}

inline pcomp::World one_thread_each() {
  pcomp::World world = pcomp::World::threads();
  world.threads_per_rank = 1;
  return world;
}

}  // namespace net
