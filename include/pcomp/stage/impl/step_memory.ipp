#pragma once
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <torch/csrc/profiler/orchestration/observer.h>

#include <algorithm>
#include <atomic>
#include <unordered_set>

#include "../step_memory.hpp"

namespace pcomp::detail {

/// A profiler of LibTorch's kind, as it may be asked for one: it records nothing but memory.
struct MemoryMeter::Counter : torch::profiler::impl::ProfilerStateBase {
  Counter()
      : ProfilerStateBase(torch::profiler::impl::ProfilerConfig(
            torch::profiler::impl::ProfilerState::Disabled, false, /*profile_memory=*/true)) {}
  torch::profiler::impl::ActiveProfilerType profilerType() override {
    return torch::profiler::impl::ActiveProfilerType::NONE;
  }
  void reportMemoryUsage(void*, std::int64_t size, std::size_t, std::size_t, c10::Device) override {
    const std::int64_t reached = now += size;
    for (std::int64_t most = peak; reached > most && !peak.compare_exchange_weak(most, reached);) {
    }
  }
  std::atomic<std::int64_t> now{0}, peak{0};
};
struct MemoryMeter::Guard {
  c10::DebugInfoGuard watches;
};

PCOMP_IMPL MemoryMeter::MemoryMeter() : counter_(std::make_shared<Counter>()) {
  if (!c10::ThreadLocalDebugInfo::get(c10::DebugInfoKind::PROFILER_STATE))
    guard_.reset(new Guard{{c10::DebugInfoKind::PROFILER_STATE, counter_}});
}
PCOMP_IMPL MemoryMeter::~MemoryMeter() = default;
PCOMP_IMPL std::int64_t MemoryMeter::now() const { return counter_->now; }
PCOMP_IMPL std::int64_t MemoryMeter::take_peak() {
  const std::int64_t now = counter_->now;
  return std::max(now, counter_->peak.exchange(now));
}

/// Bytes of tensors, each storage counted once.
class DistinctBytes {
 public:
  std::int64_t operator()(const at::Tensor& t) {
    if (!t.defined() || !t.has_storage() || !seen_.insert(t.storage().unsafeGetStorageImpl()).second)
      return 0;
    return static_cast<std::int64_t>(t.storage().nbytes());
  }

 private:
  std::unordered_set<const void*> seen_;
};
inline std::int64_t bytes_of_gradients(const torch::nn::Module* module, DistinctBytes& each) {
  std::int64_t sum = 0;
  if (module)
    for (const at::Tensor& p : module->parameters()) sum += each(p.grad());
  return sum;
}

PCOMP_IMPL void StepMemory::begin(const std::vector<Owner>& owners, int probe, bool alone,
                                  std::function<std::int64_t()> lasting) {
  meter_ = std::make_unique<MemoryMeter>();
  if (!meter_->counts()) return meter_.reset();
  owners_ = owners, probe_ = probe, alone_ = alone;
  lasting_ = std::move(lasting);
  turn_ = {};
  most_ = before_ = grads_ = 0;
  DistinctBytes weights, gradients;
  for (const Owner& o : owners) {
    const auto s = static_cast<std::size_t>(o.stage);
    if (stages_.size() <= s) stages_.resize(s + 1);
    if (!o.module) continue;
    DistinctBytes own;
    std::int64_t fixed = 0;
    for (const auto& tensors : {o.module->parameters(), o.module->buffers()})
      for (const at::Tensor& t : tensors) fixed += own(t), before_ += weights(t);
    if (o.trains)
      for (const at::Tensor& p : o.module->parameters())
        if (p.requires_grad()) fixed += static_cast<std::int64_t>(p.nbytes());
    stages_[s].fixed = fixed;
    grads_ += bytes_of_gradients(o.module, gradients);
  }
  before_ += grads_ + lasting_();
  sums_.assign(stages_.size(), {});
}

PCOMP_IMPL void StepMemory::change(int stage, int micro, Op pass) {
  close();
  turn_ = {stage, micro == probe_, pass, meter_->now(), lasting_()};
}

PCOMP_IMPL void StepMemory::close() {
  const std::int64_t now = meter_->now(), peak = meter_->take_peak();
  most_ = std::max(most_, peak);
  if (!turn_.measured) return;
  const std::int64_t lasts = lasting_() - turn_.lasting;
  Sums& s = sums_[static_cast<std::size_t>(turn_.stage)];
  Sum& sum = turn_.pass == Op::Forward ? s.forward : turn_.pass == Op::Backward ? s.backward : s.weights;
  sum.most = std::max(sum.most, sum.now + peak - turn_.begin - lasts);
  sum.now += now - turn_.begin - lasts;
}

PCOMP_IMPL void StepMemory::end(const std::function<Kept(int stage)>& kept) {
  if (!meter_) return;
  close();
  meter_.reset();
  for (const Owner& o : owners_) {
    Sums& s = sums_[static_cast<std::size_t>(o.stage)];
    const Kept lasts = kept(o.stage);
    DistinctBytes gradients;
    // The first backward pass makes the gradients of the weights, which `fixed` counts already.
    if (alone_ && grads_ == 0) s.backward.most -= bytes_of_gradients(o.module, gradients);
    const std::int64_t live = s.forward.now + lasts.each_microbatch;
    schedule::StageBytes& b = stages_[static_cast<std::size_t>(o.stage)];
    b.fixed += lasts.fixed;
    b.live = std::max(b.live, live);
    b.forward = std::max(b.forward, s.forward.most + lasts.each_microbatch);
    b.backward = std::max(b.backward, s.backward.most);
    b.weights = std::max(b.weights, s.weights.most);
    b.between = s.backward.now;
  }
  peak_ = std::max(peak_, before_ + most_);
}

}  // namespace pcomp::detail
