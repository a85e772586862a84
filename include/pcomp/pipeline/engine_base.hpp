#pragma once
#include <map>

#include "agreement.hpp"
#include "clip.hpp"

namespace pcomp::detail {

/// What an engine consists of: the ranks of this process, the links to the others, and the calls that need no more.
class EngineBase {
 public:
  /// Whether the rank of this stage is in this process.
  bool here(int stage) const { return find(stage) != nullptr; }

  /// A stage's module, or null if it is a plain function or in another process.
  std::shared_ptr<torch::nn::Module> module(int stage) const {
    const StageModule* held = find(stage);
    return held ? held->module : nullptr;
  }
  const ScheduleTable& schedule() const { return schedule_; }
  /// Scales the gradients of all stages of all processes so that their norm is at most `max`; returns the norm before.
  ///
  /// Law: as torch::nn::utils::clip_grad_norm_ over the parameters of a plain loop, in stage order, with the same bits
  ///   whatever the placement, and with threads as with processes. A parameter of several stages counts once. A norm
  ///   that is not finite makes gradients so; with `error_if_nonfinite` it is an Error, and they stay as they are.
  /// Bytes: 8 + 16 for each parameter with a gradient, to each other process.
  /// Errors: `Error` for a `max` or `norm_type` that is negative or NaN.
  double clip_grad_norm(double max, double norm_type = 2, bool error_if_nonfinite = false) {
    const Calls::Scope call(links_->calls(), "clips the gradients",
                            [&] { return c10::str("norm ", norm_type, " to at most ", max); });
    checked([&] {
      if (!(max >= 0) || !(norm_type >= 0))
        throw Error(
            "pcomp: gradients are clipped to a norm of at least 0 and of an order of at least 0, not " +
            std::to_string(max) + " and " + std::to_string(norm_type));
    });
    const double norm = clip_gradients(ranks_, schedule_.rank_map(), gather_, *links_, schedule_.stages, max,
                                       norm_type, error_if_nonfinite);
    count_gathered();
    return norm;
  }

  /// The sum of what each process gives, in rank order; with threads, what the one process gives.
  ///
  /// Law: the same bits on every rank; and those of threads if each number comes from one process, the others giving 0
  ///   for it, as with an entry for each stage.
  /// Bytes: the numbers, to each other process.
  /// Errors: `Error` on every rank if dtypes or shapes differ.
  at::Tensor sum(const at::Tensor& values) {
    const Calls::Scope call(links_->calls(), "sums", [&] { return summand_text(values); });
    checked([&] { expect_summand(values); });
    const at::Tensor total = sum_of_all(gather_, *links_, schedule_.stages, values);
    count_gathered();
    return total;
  }
  std::vector<double> sum(const std::vector<double>& values) {
    const at::Tensor total = sum(tensor_of_numbers(values));
    return {total.const_data_ptr<double>(), total.const_data_ptr<double>() + total.numel()};
  }
  double sum(double value) { return sum(std::vector<double>{value})[0]; }

  /// The texts of all processes in rank order; every process calls it. With threads: the one text.
  std::vector<std::string> exchange(const std::string& about, const std::string& text) {
    return links_->exchange(about, text);
  }
  /// Ends the pipeline on every rank with this reason.
  void abort(const std::string& reason) {
    for (auto& rank : ranks_) rank->link.abort(reason);
  }

  /// Something to keep as long as this pipeline, such as the lock of a folder that it saves into.
  std::shared_ptr<void>& kept(const std::string& name) { return kept_[name]; }
  /// The record of calls that all processes make in the same order, for functions that are such a call; or null.
  Calls* calls() const { return links_->calls(); }

 protected:
  explicit EngineBase(ScheduleTable schedule) : schedule_(std::move(schedule)) {}
  EngineBase(EngineBase&&) = default;
  EngineBase& operator=(EngineBase&&) = default;
  ~EngineBase() = default;

  const StageModule* find(int stage) const {
    const Rank* rank = ranks_.find(schedule_.rank_of(stage));
    return rank ? &rank->executor.stage(stage) : nullptr;
  }

  /// Runs what this rank alone may refuse; then the call ends on every rank.
  template <class F>
  std::invoke_result_t<F&> checked(F&& body) const {
    return Agreement::checked(*links_, body);
  }
  template <class More>
  Calls::Scope called(const char* verb, const at::Tensor& x, More more) const {
    return Calls::Scope(links_->calls(), verb, [&] {
      return (x.defined() ? text_of(extents_of(x), x.scalar_type()) : "nothing") + autocast() + more();
    });
  }
  Calls::Scope called(const char* verb, const at::Tensor& x) const {
    return called(verb, x, [] { return std::string(); });
  }
  ScheduleTable schedule_;
  Ranks ranks_;
  Gather gather_;
  std::unique_ptr<Links> links_;  // destroyed first: nothing may arrive in a freed buffer

 private:
  std::map<std::string, std::shared_ptr<void>> kept_;

  void count_gathered() {
    (*ranks_.begin())->executor.stopwatch().count(&RankReport::agreement, gather_.sent());
  }
};

}  // namespace pcomp::detail
