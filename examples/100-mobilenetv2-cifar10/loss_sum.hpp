#pragma once
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <cmath>

namespace cifar {

/// An epoch's losses, summed where they are and looked at every so many steps: to look is to wait for the device.
///
/// Law: what is not finite makes the sum so, and is seen in the next look.
class LossSum {
 public:
  /// `every`: 1 where a step is over when it returns.
  explicit LossSum(int every) : every_(every) {}

  /// A step's mean loss of so many images; false if this is looked at and not finite.
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
  /// Of the images up to the last look.
  double mean() const { return mean_; }
  std::int64_t images() const { return images_; }

 private:
  int every_, unseen_ = 0;
  at::Tensor sum_;
  std::int64_t images_ = 0;
  double mean_ = 0;
};

}  // namespace cifar
