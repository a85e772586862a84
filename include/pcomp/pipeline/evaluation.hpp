#pragma once
#include <ATen/ops/argmax.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/sum.h>

#include <functional>
#include <string>
#include <vector>

#include "../base/error.hpp"

namespace pcomp {

/// A number to add up over micro-batches, from (output of the last stage, target): a count or a sum, not a mean.
using Metric = std::function<at::Tensor(const at::Tensor&, const at::Tensor&)>;

/// How many samples of [n, classes, ...] have their largest logit at the class index in [n, ...].
///
/// Example: docs/several-machines.md
struct CountCorrect {
  at::Tensor operator()(const at::Tensor& logits, const at::Tensor& classes) const {
    return logits.argmax(1).eq(classes).sum();
  }
};
inline constexpr CountCorrect count_correct{};

/// What `evaluate` returns, the same on every rank.
struct Evaluation {
  at::Tensor loss;                  ///< the batch's mean loss, as of `step`
  std::vector<at::Tensor> metrics;  ///< one number each, added up over the micro-batches in order
};

/// Which ranks of other processes get the outputs of `infer`; the last stage's rank always has them.
///
/// Bytes: the outputs as they are, to each rank that gets them.
/// Example: docs/several-machines.md
struct Outputs {
  bool all = false;
  std::vector<int> ranks;  ///< if not all
  static const Outputs every_rank, last_stage;
  static Outputs on(std::vector<int> ranks) { return {false, std::move(ranks)}; }
  std::string text() const {
    if (all) return "every rank";
    std::string text = "the last stage's rank";
    for (int r : ranks) text += " and " + std::to_string(r);
    return text;
  }
};
inline const Outputs Outputs::every_rank{true, {}};
inline const Outputs Outputs::last_stage{false, {}};

}  // namespace pcomp
