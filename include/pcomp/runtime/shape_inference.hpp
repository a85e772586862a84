#pragma once
#include <ATen/core/grad_mode.h>

#include <deque>
#include <optional>
#include <utility>

#include "../autograd/tensor.hpp"
#include "../kernel/boundary_wires.hpp"
#include "../stage/batch_tensors.hpp"
#include "../stage/entrances.hpp"
#include "../stage/stage.hpp"
#include "../transport/communicator.hpp"

namespace pcomp::detail {

/// A tensor that leaves a stage, for one sample: its shape, whose first dimension is the batch, its dtype and memory
/// format.
struct Activation {
  Extents sample;
  at::ScalarType dtype = at::kFloat;
  at::MemoryFormat format = at::MemoryFormat::Contiguous;
  bool learns = false;  ///< the stage had parameters to train when this was learnt
  static Activation of_sample(const at::Tensor& x) {
    return {extents_of(x).with(0, 1), x.scalar_type(), x.suggest_memory_format(), false};
  }
  Extents of(std::int64_t samples) const { return sample.with(0, samples); }
  friend bool operator==(const Activation&, const Activation&) = default;
};
/// All tensors that leave a stage; at least one.
using StageOutput = std::vector<Activation>;

/// The payload of one tensor of a message, in bytes.
inline std::size_t payload_bytes(const kernel::WireKernels& w, const Extents& s, at::ScalarType dtype) {
  return w.verbatim ? static_cast<std::size_t>(s.size()) * c10::elementSize(dtype) : w.bytes(s);
}

/// Refuses a tensor that its wire cannot carry.
inline void expect_sendable(const at::Tensor& x, const kernel::WireKernels& w) {
  if (w.verbatim) {
    expect_memory(x);
    return;
  }
  expect_dense(x);
}

inline std::string count_of(std::int64_t samples) {
  return samples == 1 ? "one sample" : std::to_string(samples) + " samples";
}

/// Sends some samples through a stage to learn what it makes of them; leaves the stage's state alone. `wires`: null
/// behind the last stage.
inline runtime::Tensors probe(const runtime::StageModule& stage, int number,
                              const kernel::BoundaryWires* wires, runtime::Tensors x, Microbatch microbatch) {
  const std::int64_t samples = x.at(0).size(0);
  const at::AutoGradMode no_grad(false);
  const EvalMode eval(stage.module.get());
  const std::string name = "pcomp: stage " + std::to_string(number);
  const auto refuse = [&](const std::string& why) {
    throw Error(name + " cannot take " + count_of(samples) + ": " + bare(why));
  };
  for (at::Tensor& t : x) t = t.to(stage.device);
  try {
    x = stage.call(x, microbatch);
  } catch (const c10::Error& e) {
    refuse(e.what_without_backtrace());
  } catch (const std::exception& e) {
    refuse(e.what());
  }
  if (const std::size_t n = wires ? wires->size() : 1; x.size() != n)
    throw Error(name + " returns " + std::to_string(x.size()) + " tensors, but " +
                (wires ? "its boundary has " + std::to_string(n) + " wires: give each tensor a wire"
                       : std::string("the last stage returns one")));
  for (const at::Tensor& t : x)
    if (!t.defined() || t.dim() < 1 || t.size(0) != samples)
      throw Error(name + " made " +
                  (t.defined() ? to_string(extents_of(t)) : std::string("an undefined tensor")) + " of " +
                  count_of(samples) + ": the first dimension must stay the batch");
  for (std::size_t k = 0; wires && k < x.size(); ++k) try {
      expect_sendable(x[k], (*wires)[k]);
    } catch (const Error& e) {
      throw Error("pcomp: boundary " + std::to_string(number) + ", behind stage " + std::to_string(number) +
                  (x.size() > 1 ? ", tensor " + std::to_string(k) : "") + ": " + bare(e.what()));
    }
  return x;
}

/// What leaves every stage for each sample shape, learnt once, and again when autocast changes: from one sample or, where
/// a stage cannot take one, from as many as a micro-batch has.
///
/// Law: a stage in another process reports its shape or failure; the next one is probed with zeros of that shape. The
///   batch and the random generators stay as they were, whatever the stages do.
class ShapeInference {
 public:
  using Known = std::vector<StageOutput>;
  /// `stages`: null for those in other processes.
  const Known& of(const at::Tensor& x, const training::BatchTensors& side,
                  const std::vector<const runtime::StageModule*>& stages, const kernel::Wires& wires,
                  const std::vector<int>& rank_of, transport::Communicator& links, std::int64_t samples) {
    std::pair key(autocast(), Activation::of_sample(x));
    // Across processes x need only have the same shape: there the first memory format of a shape holds.
    if (!links.elsewhere().empty()) key.second.format = at::MemoryFormat::Contiguous;
    for (const auto& [known, shapes] : known_)
      if (known == key) return shapes;
    const Question ask{stages, wires, rank_of, side, links};
    std::string why, also;
    auto shapes = infer_shapes(ask, x.narrow(0, 0, 1), why);
    if (!shapes && samples > 1) shapes = infer_shapes(ask, x.narrow(0, 0, samples), also);
    if (!shapes) throw Error(why + (also.empty() || also == why ? "" : "; nor a micro-batch: " + bare(also)));
    return known_.emplace_back(key, std::move(*shapes)).second;
  }
  /// Other wires may take other tensors.
  void forget() { known_.clear(); }

 private:
  struct Question {
    const std::vector<const runtime::StageModule*>& stages;
    const kernel::Wires& wires;
    const std::vector<int>& rank_of;
    const training::BatchTensors& side;
    transport::Communicator& links;
  };

  /// What these samples give behind every stage, or nothing and why one of the stages cannot take them.
  static std::optional<Known> infer_shapes(const Question& ask, const at::Tensor& x, std::string& why) {
    const at::AutoGradMode no_grad(false);
    Known shapes;
    std::vector<at::Device> devices;
    for (const runtime::StageModule* s : ask.stages)
      if (s) devices.push_back(s->device);
    const RngStateGuard random(devices);
    std::vector<ProbeSkips> skips(ask.stages.size());  // by rank
    runtime::Tensors sample{x.clone()};                // a stage may work in place
    for (std::size_t s = 0; s < ask.stages.size(); ++s) {
      const runtime::StageModule* stage = ask.stages[s];
      const auto learn = [&] {
        StageOutput behind;
        if (!stage) return sample.clear(), behind;
        if (s > 0 && sample.empty())
          for (const Activation& a : shapes.back())
            sample.push_back(tensor_of(a.of(x.size(0)), a.dtype, a.format).zero_());
        Microbatch m(&skips[static_cast<std::size_t>(ask.rank_of[s])]);
        m.samples = x.size(0), m.probe = true;
        if (stage->takes_microbatch)
          m.side = training::SideInputs(parts_of(ask.side, {0, x.size(0), 0}, stage->device));
        sample =
            probe(*stage, static_cast<int>(s), s < ask.wires.size() ? &ask.wires[s] : nullptr, sample, m);
        for (const at::Tensor& t : sample) {
          behind.push_back(Activation::of_sample(t));
          behind.back().learns = learns(*stage);
        }
        return behind;
      };
      const auto said =
          transport::gather<StageOutput>(ask.links, "shape behind stage " + std::to_string(s), learn);
      const int owner = ask.links.elsewhere().empty() ? 0 : ask.rank_of[s];
      if (why = said.failure(owner).text; !why.empty()) return std::nullopt;
      shapes.push_back(said.of(owner));
    }
    return shapes;
  }

  static bool learns(const runtime::StageModule& stage) {
    if (stage.module)
      for (const at::Tensor& p : stage.module->parameters())
        if (p.requires_grad()) return true;
    return false;
  }
  std::deque<std::pair<std::pair<std::string, Activation>, Known>> known_;
};

}  // namespace pcomp::detail
