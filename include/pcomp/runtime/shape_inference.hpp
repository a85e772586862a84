#pragma once
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>

#include <deque>
#include <optional>
#include <utility>

#include "../autograd/tensor.hpp"
#include "../transport/communicator.hpp"
#include "stage.hpp"

namespace pcomp::detail {

/// A stage's output for one sample: its shape, whose first dimension is the batch, its dtype and memory format.
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

/// The autocast state of this thread, which changes the dtypes of stage outputs.
inline std::string autocast() {
  std::string all;
  for (at::DeviceType device : {at::kCPU, at::kCUDA})
    if (at::autocast::is_autocast_enabled(device))
      all += c10::DeviceTypeName(device, true) + " to " +
             c10::toString(at::autocast::get_autocast_dtype(device)) + " ";
  return all;
}

/// Puts a module into evaluation mode, then every submodule back into its own mode.
class EvalMode {
 public:
  explicit EvalMode(torch::nn::Module* m) {
    if (!m) return;
    for (const auto& part : m->modules()) modes_.emplace_back(part, part->is_training());
    m->eval();
  }
  EvalMode(const EvalMode&) = delete;
  EvalMode& operator=(const EvalMode&) = delete;
  ~EvalMode() {
    for (const auto& [part, training] : modes_) part->train(training);
  }

 private:
  std::vector<std::pair<std::shared_ptr<torch::nn::Module>, bool>> modes_;
};

inline std::string count_of(std::int64_t samples) {
  return samples == 1 ? "one sample" : std::to_string(samples) + " samples";
}

/// Sends some samples through a stage to learn its output shape; leaves the stage's state alone.
inline at::Tensor probe(const runtime::StageModule& stage, int number, bool last, at::Tensor x) {
  const std::int64_t samples = x.size(0);
  const at::AutoGradMode no_grad(false);
  const EvalMode eval(stage.module.get());
  const auto refuse = [&](const std::string& why) {
    throw Error("pcomp: stage " + std::to_string(number) + " cannot take " + count_of(samples) + ": " + why);
  };
  try {
    x = stage.forward(x.to(stage.device));
  } catch (const c10::Error& e) {
    refuse(e.what_without_backtrace());
  } catch (const std::exception& e) {
    refuse(e.what());
  }
  if (!x.defined() || x.dim() < 1 || x.size(0) != samples)
    throw Error("pcomp: stage " + std::to_string(number) + " made " +
                (x.defined() ? to_string(extents_of(x)) : std::string("an undefined tensor")) + " of " +
                count_of(samples) + ": the first dimension must stay the batch");
  if (!last) try {
      expect_dense(x);
    } catch (const Error& e) {
      throw Error("pcomp: boundary " + std::to_string(number) + ", behind stage " + std::to_string(number) +
                  ": " + bare(e.what()));
    }
  return x;
}

/// The output shape and dtype of every stage for each sample shape, learnt once, and again when autocast changes: from
/// one sample or, where a stage cannot take one, from as many as a micro-batch has.
///
/// Law: a stage in another process reports its shape or failure; the next one is probed with zeros of that shape. The
///   batch and the random generators stay as they were, whatever the stages do.
class ShapeInference {
 public:
  /// `stages`: null for those in other processes.
  const std::vector<Activation>& of(const at::Tensor& x,
                                    const std::vector<const runtime::StageModule*>& stages,
                                    const std::vector<int>& rank_of, transport::Communicator& links,
                                    std::int64_t samples) {
    std::pair key(autocast(), Activation::of_sample(x));
    // Across processes x need only have the same shape: there the first memory format of a shape holds.
    if (!links.elsewhere().empty()) key.second.format = at::MemoryFormat::Contiguous;
    for (const auto& [known, shapes] : known_)
      if (known == key) return shapes;
    std::string why, also;
    auto shapes = infer_shapes(x.narrow(0, 0, 1), stages, rank_of, links, why);
    if (!shapes && samples > 1) shapes = infer_shapes(x.narrow(0, 0, samples), stages, rank_of, links, also);
    if (!shapes) throw Error(why + (also.empty() || also == why ? "" : "; nor a micro-batch: " + bare(also)));
    return known_.emplace_back(key, std::move(*shapes)).second;
  }

 private:
  /// What these samples give behind every stage, or nothing and why one of the stages cannot take them.
  static std::optional<std::vector<Activation>> infer_shapes(
      const at::Tensor& x, const std::vector<const runtime::StageModule*>& stages,
      const std::vector<int>& rank_of, transport::Communicator& links, std::string& why) {
    const at::AutoGradMode no_grad(false);
    std::vector<Activation> shapes;
    const RngStateGuard random(stages);
    at::Tensor sample = x.clone();  // a stage may work in place
    for (std::size_t s = 0; s < stages.size(); ++s) {
      const auto behind = [&] {
        if (!stages[s]) return sample = at::Tensor(), Activation();
        if (s > 0 && !sample.defined()) sample = zeros(shapes.back(), x.size(0));
        sample = probe(*stages[s], static_cast<int>(s), s + 1 == stages.size(), sample);
        Activation a = Activation::of_sample(sample);
        a.learns = learns(*stages[s]);
        return a;
      };
      const auto said =
          transport::gather<Activation>(links, "shape behind stage " + std::to_string(s), behind);
      const int owner = links.elsewhere().empty() ? 0 : rank_of[s];
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
  static at::Tensor zeros(const Activation& a, std::int64_t samples) {
    return tensor_of(a.of(samples), a.dtype, a.format).zero_();
  }
  std::deque<std::pair<std::pair<std::string, Activation>, std::vector<Activation>>> known_;
};

}  // namespace pcomp::detail
