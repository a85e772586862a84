#pragma once
#include <deque>
#include <optional>
#include <sstream>
#include <utility>

#include "../transport/communicator.hpp"
#include "probe.hpp"
#include "same_random.hpp"

namespace pcomp::detail {

/// The output shape and dtype of every stage for each sample shape, learnt once, and again when autocast changes: from
/// one sample or, where a stage cannot take one, from as many as a micro-batch has.
///
/// Law: a stage in another process reports its shape or failure; the next one is probed with zeros of that shape. The
///   batch and the random generators stay as they were, whatever the stages do.
class Shapes {
 public:
  /// `stages`: null for those in other processes.
  const std::vector<Activation>& of(const at::Tensor& x, const std::vector<const StageModule*>& stages,
                                    const std::vector<int>& rank_of, Links& links, std::int64_t samples) {
    std::pair key(autocast(), Activation::of_sample(x));
    // Across processes x need only have the same shape: there the first memory format of a shape holds.
    if (!links.elsewhere().empty()) key.second.format = at::MemoryFormat::Contiguous;
    for (const auto& [known, shapes] : known_)
      if (known == key) return shapes;
    std::string why, also;
    auto shapes = learn(x.narrow(0, 0, 1), stages, rank_of, links, why);
    if (!shapes && samples > 1) shapes = learn(x.narrow(0, 0, samples), stages, rank_of, links, also);
    if (!shapes) throw Error(why + (also.empty() || also == why ? "" : "; nor a micro-batch: " + bare(also)));
    return known_.emplace_back(key, std::move(*shapes)).second;
  }

 private:
  /// What these samples give behind every stage, or nothing and why one of the stages cannot take them.
  static std::optional<std::vector<Activation>> learn(const at::Tensor& x,
                                                      const std::vector<const StageModule*>& stages,
                                                      const std::vector<int>& rank_of, Links& links,
                                                      std::string& why) {
    const at::AutoGradMode no_grad(false);
    std::vector<Activation> shapes;
    const SameRandom random(stages);
    at::Tensor sample = x.clone();  // a stage may work in place
    for (std::size_t s = 0; s < stages.size(); ++s) {
      std::string said;
      if (stages[s]) try {
          if (s > 0 && !sample.defined()) sample = zeros(shapes.back(), x.size(0));
          sample = probe(*stages[s], static_cast<int>(s), s + 1 == stages.size(), sample);
          Activation behind = Activation::of_sample(sample);
          behind.learns = learns(*stages[s]);
          said = text(behind);
        } catch (const Error& e) {
          said = std::string("!") + e.what();
        }
      else
        sample = at::Tensor();
      if (!links.elsewhere().empty())
        said = links.exchange("shape behind stage " + std::to_string(s), said)
                   .at(static_cast<std::size_t>(rank_of[s]));
      if (said.starts_with("!")) {
        why = said.substr(1);
        return std::nullopt;
      }
      shapes.push_back(parse(said));
    }
    return shapes;
  }

  static bool learns(const StageModule& stage) {
    if (stage.module)
      for (const at::Tensor& p : stage.module->parameters())
        if (p.requires_grad()) return true;
    return false;
  }
  static at::Tensor zeros(const Activation& a, std::int64_t samples) {
    return tensor_of(a.of(samples), a.dtype, a.format).zero_();
  }
  static std::string text(const Activation& a) {
    std::string all = std::to_string(static_cast<int>(a.dtype)) + " " +
                      std::to_string(static_cast<int>(a.format)) + (a.learns ? " 1" : " 0");
    for (std::int64_t n : a.sample) all += " " + std::to_string(n);
    return all;
  }
  static Activation parse(const std::string& text) {
    std::istringstream in(text);
    int dtype = 0, format = 0;
    bool learns = false;
    in >> dtype >> format >> learns;
    std::vector<std::int64_t> sizes;
    for (std::int64_t n; in >> n;) sizes.push_back(n);
    return {Extents(sizes.begin(), sizes.end()), static_cast<at::ScalarType>(dtype),
            static_cast<at::MemoryFormat>(format), learns};
  }

  std::deque<std::pair<std::pair<std::string, Activation>, std::vector<Activation>>> known_;
};

}  // namespace pcomp::detail
