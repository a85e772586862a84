#pragma once
#include <ATen/TensorOperators.h>
#include <ATen/core/Reduction.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/ne.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/sum.h>

#include <cmath>
#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "../autograd/tensor.hpp"
#include "../base/error.hpp"
#include "../stage/batch_tensors.hpp"

namespace pcomp::detail {

template <class P>
concept SumAndWeight = requires(P made) {
  { std::get<0>(made) } -> std::convertible_to<at::Tensor>;
  std::get<1>(made);
  requires std::tuple_size_v<P> == 2;
};
template <class T>
double number_of(const T& n) {
  if constexpr (std::is_arithmetic_v<T>)
    return static_cast<double>(n);
  else
    return at::Tensor(n).template item<double>();
}

/// A callable on (output, target), else on (output, all targets): what it takes and returns.
template <class F>
struct OnTargets {
  static constexpr bool of_one = std::invocable<F&, const at::Tensor&, const at::Tensor&>;
  static constexpr auto type() {
    if constexpr (of_one)
      return std::type_identity<std::invoke_result_t<F&, const at::Tensor&, const at::Tensor&>>();
    else if constexpr (std::invocable<F&, const at::Tensor&, const training::Targets&>)
      return std::type_identity<std::invoke_result_t<F&, const at::Tensor&, const training::Targets&>>();
    else
      return std::type_identity<void>();
  }
  using Result = typename decltype(type())::type;
};
/// The one target of a callable that takes one, or an undefined tensor where there is none.
inline const at::Tensor& only(const training::Targets& targets) {
  static const at::Tensor none;
  if (targets.size() > 1)
    throw Error("the batch has " + std::to_string(targets.size()) +
                " targets, but this loss or metric takes one: let it take a const std::vector<at::Tensor>&");
  return targets.empty() ? none : targets[0];
}
template <class F>
auto on_targets(F& f, const at::Tensor& output, const training::Targets& targets) {
  if constexpr (OnTargets<F>::of_one)
    return std::invoke(f, output, only(targets));
  else
    return std::invoke(f, output, targets);
}

}  // namespace pcomp::detail

namespace pcomp::training {

/// What `step` minimises: a callable from (output of the last stage, target) of one micro-batch to a mean, one number,
/// or to a sum and its weight. Where a batch has several targets it takes them as a `const std::vector<at::Tensor>&`.
///
/// Law: the batch's loss is sum(w * mean) / sum(w) over its micro-batches. w is what the callable's member
///   `weight(target)` returns, a number or a tensor of one, such as the targets that are not padding; without such a
///   member it is the number of samples. So a batch's loss and gradients are the same however it is divided. Weights
///   come from targets alone: gradients are scaled before the first is sent, as lossy wires and all schedules need.
///   Where w is 0 the callable is not called: that micro-batch's loss and gradient are 0.
/// Errors: `Error` in `step` for a weight that is negative or not finite, or that depends on the output.
/// Example: docs/train.md
class Loss {
 public:
  Loss() = default;
  /// A callable that returns a sum and its weight, as a pair. Weights are wanted before the first output is there, so
  /// each step calls it once more a micro-batch, on zeros; `LossSum` does not.
  template <class F>
    requires detail::SumAndWeight<typename detail::OnTargets<F>::Result>
  Loss(F loss) {
    pair_ = [held = std::make_shared<F>(std::move(loss))](const at::Tensor& output, const Targets& targets) {
      const auto made = detail::on_targets(*held, output, targets);
      return std::pair<at::Tensor, double>(std::get<0>(made), detail::number_of(std::get<1>(made)));
    };
  }
  template <class F>
    requires(!std::same_as<F, Loss> && std::convertible_to<typename detail::OnTargets<F>::Result, at::Tensor>)
  Loss(F loss) {  // implicit, as for std::function
    const auto held = std::make_shared<F>(std::move(loss));
    mean_ = [held](const at::Tensor& output, const Targets& targets) -> at::Tensor {
      return detail::on_targets(*held, output, targets);
    };
    if constexpr (requires(const at::Tensor& t) { held->weight(t); })
      weight_ = [held](const Targets& all) { return detail::number_of(held->weight(detail::only(all))); };
    else if constexpr (requires(const Targets& all) { held->weight(all); })
      weight_ = [held](const Targets& all) { return detail::number_of(held->weight(all)); };
  }
  at::Tensor operator()(const at::Tensor& output, const Targets& targets) const {
    if (!pair_) return mean_(output, targets);
    const auto [sum, weight] = pair_(output, targets);
    return sum / weight;
  }
  at::Tensor operator()(const at::Tensor& output, const at::Tensor& target) const {
    return (*this)(output, target.defined() ? Targets{target} : Targets());
  }
  /// The mean over targets that weigh `weight`; undefined where that is 0.
  ///
  /// Errors: `Error` if another weight is returned with this output than before.
  at::Tensor mean(const at::Tensor& output, const Targets& targets, double weight) const {
    if (!pair_) return weight == 0 ? at::Tensor() : mean_(output, targets);
    const auto [sum, now] = pair_(output, targets);
    if (!(std::abs(now - weight) <= 1e-6 * std::abs(weight)))  // devices add up real weights differently
      throw Error("the loss returns the weight " + std::to_string(now) + " for this output, but " +
                  std::to_string(weight) +
                  " for another: a weight comes from the targets alone, as those that are not padding");
    return weight == 0 ? at::Tensor() : sum / now;
  }
  /// Whether it weighs these targets; else the samples count.
  bool weighs(bool has_targets) const { return pair_ || (weight_ && has_targets); }
  /// `output()`: any output for these targets.
  template <class Output>
  double weight(const Targets& targets, const Output& output) const {
    if (!pair_) return weight_(targets);
    const at::AutoGradMode no_grad(false);
    return pair_(output(), targets).second;
  }
  explicit operator bool() const { return mean_ || pair_; }

 private:
  std::function<std::pair<at::Tensor, double>(const at::Tensor&, const Targets&)> pair_;
  std::function<at::Tensor(const at::Tensor&, const Targets&)> mean_;
  std::function<double(const Targets&)> weight_;
};

/// A loss from two callables: `sum` of (output, target) over what counts, and `count` of (target), how much counts.
///
/// Example: LossSum{[](auto& o, auto& t) { return ((o - t).pow(2) * (t != 0)).sum(); },
///                  [](auto& t) { return (t != 0).sum(); }}
template <class Sum, class Count>
struct LossSum {
  Sum sum;
  Count count;
  at::Tensor operator()(const at::Tensor& output, const at::Tensor& target) const {
    return sum(output, target) / weight(target);
  }
  auto weight(const at::Tensor& target) const { return count(target); }
};
template <class Sum, class Count>
LossSum(Sum, Count) -> LossSum<Sum, Count>;

/// The mean cross-entropy of logits against class indices, or against probabilities of the logits' shape.
///
/// Law: targets equal to `ignore_index` count neither in the mean nor in a batch's weight.
/// Shapes: logits [N, C], [N, C, d...] or, with the classes last, [N, d..., C]; indices [N] or [N, d...].
/// Errors: `Error` where the shapes fit both orders, as [N, 9, 9] with [N, 9] does: set `class_dim` to 1 or -1.
/// Example: examples/050-first-program
struct CrossEntropy {
  std::int64_t ignore_index = -100;
  double label_smoothing = 0;
  int class_dim = 0;  ///< 0: as the shapes say

  at::Tensor operator()(const at::Tensor& logits, const at::Tensor& target) const {
    const bool last = classes_last(logits, target), indices = !at::isFloatingType(target.scalar_type());
    return at::cross_entropy_loss(last ? logits.flatten(0, -2) : logits,
                                  last ? target.flatten(0, indices ? -1 : -2) : target, {},
                                  at::Reduction::Mean, ignore_index, label_smoothing);
  }
  at::Tensor weight(const at::Tensor& target) const {
    if (at::isFloatingType(target.scalar_type())) return at::scalar_tensor(target.size(0), at::kLong);
    return target.ne(ignore_index).sum();
  }

 private:
  bool classes_last(const at::Tensor& logits, const at::Tensor& target) const {
    const std::int64_t dims = logits.dim();
    if (class_dim < 0 ? class_dim + dims == dims - 1 : class_dim > 1 && class_dim == dims - 1)
      return dims > 2;
    if (class_dim != 0 && class_dim != 1)
      throw Error("pcomp: cross_entropy takes the classes in dimension 1 or the last, not " +
                  std::to_string(class_dim));
    if (dims < 3 || class_dim == 1) return false;
    const at::IntArrayRef l = logits.sizes(), t = target.sizes();
    const bool same = at::isFloatingType(target.scalar_type());
    const bool first = same || (t.size() + 1 == l.size() && l[0] == t[0] && l.slice(2) == t.slice(1));
    const bool last = same || l.slice(0, l.size() - 1) == t;
    if (first && last)
      throw Error("pcomp: cross_entropy: logits " + to_string(detail::extents_of(logits)) + " and targets " +
                  to_string(detail::extents_of(target)) +
                  " fit with the classes in dimension 1 and in the last: say which, with "
                  "CrossEntropy{.class_dim = 1} or -1");
    return last;
  }
};

}  // namespace pcomp::training

namespace pcomp {

inline constexpr training::CrossEntropy cross_entropy{};

}  // namespace pcomp

namespace pcomp::detail {

/// What a micro-batch weighs in the batch's loss; the shares add up to 1, or are all 0.
struct LossShare {
  double weight, share;
};

/// `output(m)`: any output for the targets of micro-batch m.
template <class Output>
std::vector<LossShare> loss_shares(const training::Loss& loss, const training::BatchTensors& y,
                                   const std::vector<training::SampleRange>& parts, const Output& output) {
  std::vector<LossShare> shares;
  double sum = 0;
  const bool weighs = loss.weighs(!y.empty());
  for (const training::SampleRange& part : parts) {
    const auto like = [&] { return output(static_cast<int>(shares.size())); };
    training::Targets targets;
    for (const auto& entry : y) targets.push_back(entry.part(part));
    const double w = weighs ? loss.weight(targets, like) : part.weight;
    if (!(std::isfinite(w) && w >= 0))
      throw Error("the loss gives the targets of micro-batch " + std::to_string(shares.size()) +
                  " the weight " + std::to_string(w) + ": a weight is a finite number of at least 0");
    shares.push_back({w, w});
    sum += w;
  }
  if (weighs && sum > 0)
    for (LossShare& s : shares) s.share /= sum;
  return shares;
}

}  // namespace pcomp::detail

namespace pcomp::training {

/// A number to add up over micro-batches, from (output of the last stage, target): a count or a sum, not a mean.
class Metric {
 public:
  template <class F>
    requires(!std::same_as<F, Metric> &&
             std::convertible_to<typename detail::OnTargets<F>::Result, at::Tensor>)
  Metric(F f)  // implicit, as for std::function
      : f_([held = std::make_shared<F>(std::move(f))](const at::Tensor& output, const Targets& targets) {
          return at::Tensor(detail::on_targets(*held, output, targets));
        }) {}
  at::Tensor operator()(const at::Tensor& output, const Targets& targets) const {
    return f_(output, targets);
  }

 private:
  std::function<at::Tensor(const at::Tensor&, const Targets&)> f_;
};

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

}  // namespace pcomp::training
