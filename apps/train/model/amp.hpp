#pragma once
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

namespace cifar {

/// While alive, makes this thread compute on `device` as torch.autocast does: convolutions and products in bfloat16.
///
/// Law: a weight is cast once for all micro-batches of a step, until `forget_casts`; without gradients none is kept, so
///   inference leaves nothing to forget.
/// Why in the stage and not around the step: a step has backward passes too, which LibTorch wants outside autocast.
class Amp {
 public:
  Amp(bool on, at::Device device);
  ~Amp();
  Amp(const Amp&) = delete;

 private:
  bool on_, enabled_ = false, cached_ = false;
  at::DeviceType device_;
  at::ScalarType dtype_{};
};

/// Call it when weights have changed, before they are used again.
void forget_casts();

}  // namespace cifar
