#pragma once
#include <algorithm>
#include <unordered_set>

#include "../step_memory.hpp"

namespace pcomp::detail {

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

PCOMP_IMPL void StepMemory::begin(const std::vector<Owner>& owners, const Batch& batch,
                                  std::function<std::int64_t()> lasting) {
  meter_ = std::make_unique<MemoryMeter>();
  if (!meter_->counts()) return meter_.reset();
  owners_ = owners, batch_ = batch;
  lasting_ = std::move(lasting);
  turn_ = {};
  most_ = before_ = grads_ = 0;
  now_.clear();
  DistinctBytes weights, gradients;
  for (const Owner& o : owners) {
    const auto s = static_cast<std::size_t>(o.stage);
    if (now_.size() <= s) now_.resize(s + 1);
    if (!o.module) continue;
    DistinctBytes own;
    std::int64_t fixed = 0;
    for (const auto& tensors : {o.module->parameters(), o.module->buffers()})
      for (const at::Tensor& t : tensors) fixed += own(t), before_ += weights(t);
    if (o.trains)
      for (const at::Tensor& p : o.module->parameters())
        if (p.requires_grad()) fixed += static_cast<std::int64_t>(p.nbytes());
    now_[s].fixed = fixed;
    grads_ += bytes_of_gradients(o.module, gradients);
  }
  before_ += grads_ + lasting_();
  sums_.assign(now_.size(), {});
}

PCOMP_IMPL void StepMemory::change(int stage, int micro, Op pass) {
  close();
  turn_ = {stage, micro == batch_.probe, pass, meter_->now(), lasting_()};
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
  samples_ = std::max(samples_, batch_.samples);
  if (before_ + most_ < peak_) return;  // a kind of batch that needs less
  peak_ = before_ + most_;
  for (const Owner& o : owners_) {
    Sums& s = sums_[static_cast<std::size_t>(o.stage)];
    const Kept lasts = kept(o.stage);
    DistinctBytes gradients;
    // The first backward pass makes the gradients of the weights, which `fixed` counts already.
    if (batch_.alone && grads_ == 0) s.backward.most -= bytes_of_gradients(o.module, gradients);
    schedule::StageBytes& b = now_[static_cast<std::size_t>(o.stage)];
    b.fixed += lasts.fixed;
    b.live = s.forward.now + lasts.each_microbatch;
    b.forward = s.forward.most + lasts.each_microbatch;
    b.backward = s.backward.most;
    b.between = s.backward.now;
    b.weights = s.weights.most;
  }
  stages_ = now_;
}

}  // namespace pcomp::detail
