#include "feed.hpp"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

namespace cifar {

Feed::Feed(const Images& images, const DeviceImages* there, const Normalisation& normalisation,
           const Order& order) {
  if (there)
    device_.emplace(*there, order);
  else
    host_.emplace(images, normalisation, order);
}

bool Feed::next(TensorBatch& batch) {
  if (device_) return device_->next(batch);
  if (!host_->next(prepared_)) return false;
  const std::int64_t n = prepared_.size();
  batch.x = prepared_.x.empty() ? at::zeros({1}).expand({n, 3, side, side})
                                : at::from_blob(prepared_.x.data(), {n, 3, side, side}, at::kFloat);
  batch.y = at::from_blob(prepared_.y.data(), {n}, at::kLong);
  batch.sample_ids = at::from_blob(prepared_.sample_ids.data(), {n}, at::kLong);
  return true;
}

}  // namespace cifar
