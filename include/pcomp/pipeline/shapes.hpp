#pragma once
#include <deque>
#include <sstream>
#include <utility>

#include "../transport/links.hpp"
#include "probe.hpp"
#include "same_random.hpp"

namespace pcomp::detail {

/// The output shape and dtype of every stage for each sample shape, learnt once, and again when autocast changes.
///
/// Law: a stage in another process reports its shape or failure; the next one is probed with zeros of that shape. The
///   batch and the random generators stay as they were, whatever the stages do.
class Shapes {
 public:
  /// `stages`: null for those in other processes.
  const std::vector<Activation>& of(const at::Tensor& x, const std::vector<const StageModule*>& stages,
                                    const std::vector<int>& rank_of, Links& links) {
    std::pair key(autocast(), Activation::of_sample(x));
    // Across processes x need only have the same shape: there the first memory format of a shape holds.
    if (!links.elsewhere().empty()) key.second.format = at::MemoryFormat::Contiguous;
    for (const auto& [known, shapes] : known_)
      if (known == key) return shapes;
    const at::AutoGradMode no_grad(false);
    std::vector<Activation> shapes;
    const SameRandom random(stages);
    at::Tensor sample = x.narrow(0, 0, 1).clone();  // a stage may work in place
    for (std::size_t s = 0; s < stages.size(); ++s) {
      std::string said;
      if (stages[s]) try {
          if (s > 0 && !sample.defined()) sample = zeros(shapes.back());
          sample = probe(*stages[s], static_cast<int>(s), s + 1 == stages.size(), sample);
          said = text(Activation::of_sample(sample));
        } catch (const Error& e) {
          if (links.elsewhere().empty()) throw;
          said = std::string("!") + e.what();
        }
      else
        sample = at::Tensor();
      if (!links.elsewhere().empty())
        said = links.exchange("shape behind stage " + std::to_string(s), said)
                   .at(static_cast<std::size_t>(rank_of[s]));
      if (said.starts_with("!")) throw Error(said.substr(1));
      shapes.push_back(parse(said));
    }
    return known_.emplace_back(key, std::move(shapes)).second;
  }

 private:
  static at::Tensor zeros(const Activation& a) { return tensor_of(a.sample, a.dtype, a.format).zero_(); }
  static std::string text(const Activation& a) {
    std::string all =
        std::to_string(static_cast<int>(a.dtype)) + " " + std::to_string(static_cast<int>(a.format));
    for (std::int64_t n : a.sample) all += " " + std::to_string(n);
    return all;
  }
  static Activation parse(const std::string& text) {
    std::istringstream in(text);
    int dtype = 0, format = 0;
    in >> dtype >> format;
    std::vector<std::int64_t> sizes;
    for (std::int64_t n; in >> n;) sizes.push_back(n);
    return {Extents(sizes.begin(), sizes.end()), static_cast<at::ScalarType>(dtype),
            static_cast<at::MemoryFormat>(format)};
  }

  std::deque<std::pair<std::pair<std::string, Activation>, std::vector<Activation>>> known_;
};

}  // namespace pcomp::detail
