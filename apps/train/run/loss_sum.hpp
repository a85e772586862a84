#pragma once
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <cmath>

namespace cifar {

/// An epoch's losses, summed on their device and looked at only every few steps, because a look waits for the device.
///
/// Law: a loss that is not finite makes the sum not finite, which the next look sees.
class LossSum {
 public:
  /// `every`: steps per look; 1 if a step is complete when it returns.
  explicit LossSum(int every) : every_(every) {}

  /// Adds a step's mean loss over `images` images; false if this step looks and the sum is not finite.
  bool add(const at::Tensor& loss, std::int64_t images) {
    const at::Tensor part = loss.detach().to(at::kDouble) * images;
    sum_ = sum_.defined() ? sum_ + part : part;
    images_ += images;
    return ++unseen_ < every_ || look();
  }
  /// False if a loss of the last `unseen` steps was not finite.
  bool look() {
    if (unseen_ == 0) return true;
    mean_ = sum_.item<double>() / static_cast<double>(images_);
    if (!std::isfinite(mean_)) return false;
    unseen_ = 0;
    return true;
  }
  /// Steps since the last look.
  int unseen() const { return unseen_; }
  /// The mean over the images up to the last look.
  double mean() const { return mean_; }
  std::int64_t images() const { return images_; }

 private:
  int every_, unseen_ = 0;
  at::Tensor sum_;
  std::int64_t images_ = 0;
  double mean_ = 0;
};

}  // namespace cifar
