#pragma once
#include <ATen/core/grad_mode.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/full.h>
#include <ATen/ops/max.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <set>

#include "../schedule/make_schedule.hpp"
#include "../schedule/policies/forward_only.hpp"
#include "agreement.hpp"
#include "gather.hpp"
#include "payload_buffers.hpp"
#include "ranks.hpp"

namespace pcomp::detail {

/// The table of a Plan for so many stages.
template <class Plan, int stages>
schedule::ScheduleTable table_of() {
  constexpr bool fits = Plan::stages == stages;
  static_assert(refuse::plan_stages<fits>());
  if constexpr (fits)
    return schedule::ScheduleTable(Plan{});
  else
    std::abort();
}

/// Refuses a schedule that an engine with so many stages and wires cannot train by.
inline void expect_runnable(const schedule::ScheduleTable& schedule, std::size_t stages, std::size_t wires) {
  if (static_cast<int>(stages) != schedule.stages || wires + 1 != stages)
    throw Error("pcomp: a schedule of " + std::to_string(schedule.stages) +
                " stages needs as many stages and one "
                "wire fewer, not " +
                std::to_string(stages) + " stages and " + std::to_string(wires) + " wires");
  if (!schedule.backward) throw Error("pcomp: training needs a schedule with backward passes");
  constexpr int buffers = static_cast<int>(BoundaryBuffers::depth);
  if (!schedule.deadlock_free && !schedule.runs_with(buffers))
    throw Error("pcomp: this schedule needs more than " + std::to_string(buffers) +
                " messages in flight on an edge, and a rank has " + std::to_string(buffers) +
                " buffers for it");
}

/// The schedules that an engine runs: its own, those for batches with too few samples for all micro-batches, and those
/// without backward passes.
class Tables {
 public:
  int smallest = 1;  ///< samples of a micro-batch

  int microbatches(const schedule::ScheduleTable& schedule, std::int64_t samples) const {
    return static_cast<int>(std::clamp<std::int64_t>(samples / smallest, 1, schedule.microbatches));
  }
  const schedule::ScheduleTable& training(const schedule::ScheduleTable& schedule, int microbatches) {
    if (microbatches == schedule.microbatches) return schedule;
    const auto known = fewer_.find(microbatches);
    return known != fewer_.end() ? known->second
                                 : fewer_.emplace(microbatches, schedule.first(microbatches)).first->second;
  }
  const schedule::ScheduleTable& inference(const schedule::ScheduleTable& schedule, int microbatches) {
    if (!inference_ || inference_->microbatches != microbatches)
      inference_ = std::make_unique<schedule::ScheduleTable>(
          make_schedule(ForwardOnly{}, schedule.stages, microbatches, schedule::RankMap(schedule.rank_map())));
    return *inference_;
  }
  /// The engine's schedule is another one from now on.
  void forget() { fewer_.clear(); }

 private:
  std::map<int, schedule::ScheduleTable> fewer_;
  std::unique_ptr<schedule::ScheduleTable> inference_;
};

/// The norm of one parameter's gradient, as it travels: the arithmetic that follows is that of its dtype.
struct GradNorm {
  std::int32_t stage = 0, dtype = 0;
  double value = 0;
};

/// The gradients of this process's stages by stage; a parameter shared by several counts in the first.
inline std::vector<std::vector<at::Tensor>> gradients(const Ranks& ranks, const std::vector<int>& rank_of) {
  std::vector<std::vector<at::Tensor>> all(rank_of.size());
  std::set<const void*> seen;
  for (std::size_t s = 0; s < rank_of.size(); ++s)
    if (const Rank* rank = ranks.find(rank_of[s]))
      if (const auto& m = rank->executor.stage(static_cast<int>(s)).module)
        for (const at::Tensor& p : m->parameters())
          if (p.grad().defined() && seen.insert(p.unsafeGetTensorImpl()).second)
            all[s].push_back(p.grad().data());
  return all;
}

/// The norm of all norms and the factor that brings it to `most`, in the arithmetic of
/// torch::nn::utils::clip_grad_norm_.
inline std::pair<double, at::Tensor> clip_factor(const std::vector<GradNorm>& norms, double most,
                                                 double type) {
  std::vector<at::Tensor> each;
  for (const GradNorm& n : norms)
    each.push_back(at::scalar_tensor(n.value, static_cast<at::ScalarType>(n.dtype)));
  at::Tensor total;
  if (type == 0)
    total = at::full({}, static_cast<double>(each.size()));
  else if (each.size() == 1)
    total = each[0];
  else if (type == std::numeric_limits<double>::infinity())
    total = at::max(at::stack(each));
  else
    total = at::stack(each).norm(type);
  return {total.item<double>(), at::clamp(most / (total + 1e-6), std::nullopt, 1.0)};
}

/// See `Engine::clip_grad_norm`.
inline double clip_gradients(const Ranks& ranks, const std::vector<int>& rank_of, Gather& gather,
                             transport::Communicator& links, int number, double most, double type, bool error_if_nonfinite) {
  const at::AutoGradMode no_grad(false);
  const auto own = gradients(ranks, rank_of);
  std::vector<GradNorm> mine, norms;
  for (std::size_t s = 0; s < own.size(); ++s) {
    std::vector<at::Tensor> each;  // to the host at once: a GPU is waited for once a stage
    for (const at::Tensor& g : own[s])
      each.push_back(type == std::numeric_limits<double>::infinity() ? g.abs().max()
                     : type == 0                                     ? at::zeros({}, g.options())
                                                                     : g.norm(type));
    const at::Tensor values = each.empty() ? at::Tensor() : at::stack(each).to(at::kCPU, at::kDouble);
    for (std::size_t i = 0; i < each.size(); ++i)
      mine.push_back({static_cast<std::int32_t>(s), static_cast<std::int32_t>(each[i].scalar_type()),
                      values.const_data_ptr<double>()[i]});
  }
  for (const Gather::Bytes& b : gather(links, number, std::as_bytes(std::span(mine)))) {
    const std::size_t n = norms.size();
    norms.resize(n + b.size() / sizeof(GradNorm));
    if (!b.empty()) std::memcpy(norms.data() + n, b.data(), b.size());
  }
  std::stable_sort(norms.begin(), norms.end(),
                   [](const GradNorm& a, const GradNorm& b) { return a.stage < b.stage; });
  if (norms.empty()) return 0;
  const auto [norm, factor] = clip_factor(norms, most, type);
  if (error_if_nonfinite && !std::isfinite(norm)) {
    std::string where;
    for (const GradNorm& n : norms)
      if (!std::isfinite(n.value) && where.empty())
        where = " first in stage " + std::to_string(n.stage) + ",";
    throw Error(
        "pcomp: the norm of the gradients is " + std::to_string(norm) + "," + where +
        " so they cannot be clipped: lower the learning rate or choose milder wires, or leave out this step");
  }
  for (const auto& stage : own)
    for (const at::Tensor& g : stage) at::Tensor(g).mul_(factor);
  return norm;
}

/// What an engine consists of: the ranks of this process, the links to the others, and the calls that need no more.
class EngineBase {
 public:
  /// Whether the rank of this stage is in this process.
  bool here(int stage) const { return find(stage) != nullptr; }

  /// A stage's module, or null if it is a plain function or in another process.
  std::shared_ptr<torch::nn::Module> module(int stage) const {
    const runtime::StageModule* held = find(stage);
    return held ? held->module : nullptr;
  }
  const schedule::ScheduleTable& schedule() const { return schedule_; }
  /// Scales the gradients of all stages of all processes so that their norm is at most `max`; returns the norm before.
  ///
  /// Law: as torch::nn::utils::clip_grad_norm_ over the parameters of a plain loop, in stage order, with the same bits
  ///   whatever the placement, and with threads as with processes. A parameter of several stages counts once. A norm
  ///   that is not finite makes gradients so; with `error_if_nonfinite` it is an Error, and they stay as they are.
  /// Bytes: 8 + 16 for each parameter with a gradient, to each other process.
  /// Errors: `Error` for a `max` or `norm_type` that is negative or NaN.
  double clip_grad_norm(double max, double norm_type = 2, bool error_if_nonfinite = false) {
    const transport::Calls::Scope call(communicator_->calls(), "clips the gradients",
                            [&] { return c10::str("norm ", norm_type, " to at most ", max); });
    checked([&] {
      if (!(max >= 0) || !(norm_type >= 0))
        throw Error(
            "pcomp: gradients are clipped to a norm of at least 0 and of an order of at least 0, not " +
            std::to_string(max) + " and " + std::to_string(norm_type));
    });
    const double norm = clip_gradients(ranks_, schedule_.rank_map(), gather_, *communicator_, schedule_.stages, max,
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
    const transport::Calls::Scope call(communicator_->calls(), "sums", [&] { return summand_text(values); });
    checked([&] { expect_summand(values); });
    const at::Tensor total = sum_of_all(gather_, *communicator_, schedule_.stages, values);
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
    return communicator_->exchange(about, text);
  }
  /// Ends the pipeline on every rank with this reason.
  void abort(const std::string& reason) {
    for (auto& rank : ranks_) rank->link.abort(reason);
  }

  /// Something to keep as long as this pipeline, such as the lock of a folder that it saves into.
  std::shared_ptr<void>& kept(const std::string& name) { return kept_[name]; }
  /// The record of calls that all processes make in the same order, for functions that are such a call; or null.
  transport::Calls* calls() const { return communicator_->calls(); }

 protected:
  explicit EngineBase(schedule::ScheduleTable schedule) : schedule_(std::move(schedule)) {}
  EngineBase(EngineBase&&) = default;
  EngineBase& operator=(EngineBase&&) = default;
  ~EngineBase() = default;

  const runtime::StageModule* find(int stage) const {
    const Rank* rank = ranks_.find(schedule_.rank_of(stage));
    return rank ? &rank->executor.stage(stage) : nullptr;
  }

  /// Runs what this rank alone may refuse; then the call ends on every rank.
  template <class F>
  std::invoke_result_t<F&> checked(F&& body) const {
    return Agreement::checked(*communicator_, body);
  }
  template <class More>
  transport::Calls::Scope called(const char* verb, const at::Tensor& x, More more) const {
    return transport::Calls::Scope(communicator_->calls(), verb, [&] {
      return (x.defined() ? text_of(extents_of(x), x.scalar_type()) : "nothing") + autocast() + more();
    });
  }
  transport::Calls::Scope called(const char* verb, const at::Tensor& x) const {
    return called(verb, x, [] { return std::string(); });
  }
  schedule::ScheduleTable schedule_;
  Ranks ranks_;
  Gather gather_;
  std::unique_ptr<transport::Communicator> communicator_;  // destroyed first: nothing may arrive in a freed buffer

 private:
  std::map<std::string, std::shared_ptr<void>> kept_;

  void count_gathered() {
    (*ranks_.begin())->executor.stopwatch().count(&runtime::RankReport::agreement, gather_.sent());
  }
};

}  // namespace pcomp::detail
