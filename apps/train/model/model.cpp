#include "model.hpp"

#include <torch/nn/functional/pooling.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include <algorithm>
#include <pcomp/nn/deferred_batch_norm.hpp>

#include "../data/random.hpp"
#include "amp.hpp"

namespace cifar {
namespace {

using at::Tensor;
namespace nn = torch::nn;

nn::Conv2d conv(int in, int out, int kernel, int stride = 1, int groups = 1) {
  return nn::Conv2d(
      nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).groups(groups).bias(false));
}

/// Batch normalisation, usual or deferred; the parameters and their names are the same.
struct Norm {
  Norm() = default;
  Norm(nn::Module& owner, const std::string& name, int channels, bool deferred) {
    if (deferred)
      own_ = owner.register_module(name, pcomp::training::DeferredBatchNorm2d(channels));
    else
      usual_ = owner.register_module(name, nn::BatchNorm2d(channels));
  }
  Tensor operator()(const Tensor& x) { return own_ ? own_(x) : usual_(x); }

 private:
  nn::BatchNorm2d usual_{nullptr};
  pcomp::training::DeferredBatchNorm2d own_{nullptr};
};

// Layers are created one statement at a time: each draws its weights from the one generator, in this order.

struct Stem : nn::Module {
  Stem(const Unit& u, bool deferred) {
    conv1 = register_module("conv1", conv(u.in, u.out, 3));
    bn1 = Norm(*this, "bn1", u.out, deferred);
  }
  Tensor forward(const Tensor& x) { return bn1(conv1(x)).relu_(); }
  nn::Conv2d conv1{nullptr};
  Norm bn1;
};

/// Expand, filter each channel (depthwise), project; with a shortcut if the stride is 1.
struct Block : nn::Module {
  Block(const Unit& u, bool deferred) : stride(u.stride) {
    const int inner = u.expansion * u.in;
    conv1 = register_module("conv1", conv(u.in, inner, 1));
    bn1 = Norm(*this, "bn1", inner, deferred);
    conv2 = register_module("conv2", conv(inner, inner, 3, stride, inner));
    bn2 = Norm(*this, "bn2", inner, deferred);
    conv3 = register_module("conv3", conv(inner, u.out, 1));
    bn3 = Norm(*this, "bn3", u.out, deferred);
    if (stride == 1 && u.in != u.out) {
      shortcut_conv = register_module("shortcut_conv", conv(u.in, u.out, 1));
      shortcut_bn = Norm(*this, "shortcut_bn", u.out, deferred);
    }
  }
  Tensor forward(const Tensor& x) {
    Tensor y = bn1(conv1(x)).relu_();
    y = bn2(conv2(y)).relu_();
    y = bn3(conv3(y));
    if (stride != 1) return y;
    return y + (shortcut_conv ? shortcut_bn(shortcut_conv(x)) : x);
  }
  int stride;
  nn::Conv2d conv1{nullptr}, conv2{nullptr}, conv3{nullptr}, shortcut_conv{nullptr};
  Norm bn1, bn2, bn3, shortcut_bn;
};

struct LastConv : nn::Module {
  explicit LastConv(const Unit& u) { conv2 = register_module("conv2", conv(u.in, u.out, 1)); }
  Tensor forward(const Tensor& x) { return conv2(x); }
  nn::Conv2d conv2{nullptr};
};

struct LastNorm : nn::Module {
  LastNorm(const Unit& u, bool deferred) { bn2 = Norm(*this, "bn2", u.in, deferred); }
  Tensor forward(const Tensor& x) { return bn2(x).relu_(); }
  Norm bn2;
};

struct Classifier : nn::Module {
  explicit Classifier(const Unit& u) { linear = register_module("linear", nn::Linear(u.in, u.out)); }
  Tensor forward(const Tensor& x) { return linear(x.mean({2, 3})); }
  nn::Linear linear{nullptr};
};

/// The units of one stage in sequence, channels-last inside.
struct Segment : nn::Module {
  explicit Segment(const Computing& how) : how_(how) {}
  void add(const Unit& u, int row) {
    const std::string name = std::to_string(row);
    switch (u.kind) {
      case Unit::Stem:
        return chain(name, std::make_shared<Stem>(u, how_.deferred_batch_norm));
      case Unit::Block:
        return chain(name, std::make_shared<Block>(u, how_.deferred_batch_norm));
      case Unit::LastConv:
        return chain(name, std::make_shared<LastConv>(u));
      case Unit::LastNorm:
        return chain(name, std::make_shared<LastNorm>(u, how_.deferred_batch_norm));
      case Unit::Classifier:
        return chain(name, std::make_shared<Classifier>(u));
    }
  }
  Tensor forward(const Tensor& x) {
    const Amp amp(how_.amp, x.device());
    Tensor y = x.contiguous(at::MemoryFormat::ChannelsLast);
    for (const auto& unit : units) y = unit(y);
    return y;
  }

 private:
  template <class M>
  void chain(const std::string& name, std::shared_ptr<M> m) {
    register_module(name, m);
    for (Tensor& p : m->parameters())
      if (p.dim() == 4) p.set_data(p.detach().contiguous(at::MemoryFormat::ChannelsLast));
    units.push_back([m](const Tensor& x) { return m->forward(x); });
  }
  Computing how_;
  std::vector<std::function<Tensor(const Tensor&)>> units;
};

}  // namespace

std::vector<pcomp::runtime::StageSpec> stages(double width, const Cut& cut, std::uint64_t seed,
                                              const Computing& how) {
  const std::vector<Unit> units = mobilenetv2(width);
  std::vector<pcomp::runtime::StageSpec> all;
  for (int s = 0; s < cut.stages(); ++s) {
    const int first = cut.first[static_cast<std::size_t>(s)], end = cut.end(s);
    all.push_back(pcomp::runtime::stage_spec(
        [=] {
          auto segment = std::make_shared<Segment>(how);
          for (int row = first; row < end; ++row) {
            const int draws =
                std::min(row, 19);  // bn2 draws nothing, so the last two rows share the seed of row 19
            at::manual_seed(Random(seed, static_cast<std::uint64_t>(draws))());
            segment->add(units[static_cast<std::size_t>(row)], row);
          }
          segment->to(how.device);
          return segment;
        },
        "units " + std::to_string(first) + " to " + std::to_string(end - 1)));
  }
  return all;
}

}  // namespace cifar
