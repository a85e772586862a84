#include "device_batches.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/index.h>
#include <ATen/ops/take.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace cifar {
namespace {

constexpr int framed = side + 2 * border;

template <class T>
at::Tensor copied(const T* from, at::IntArrayRef shape, at::ScalarType type, at::Device device) {
  return at::from_blob(const_cast<T*>(from), shape, type).to(device, type, false, true);
}

}  // namespace

DeviceImages::DeviceImages(const Images& images, const Normalisation& n, at::Device device)
    : pictures(at::zeros({images.size(), framed, framed, 3}, at::TensorOptions(at::kByte).device(device))),
      labels(copied(images.labels.data(), {images.size()}, at::kByte, device).to(at::kLong)) {
  pictures.narrow(1, border, side)
      .narrow(2, border, side)
      .copy_(copied(images.bytes.data(), {images.size(), 3, side, side}, at::kByte, device)
                 .permute({0, 2, 3, 1}));
  const NormalisedValues table = normalised_values(n);
  values = copied(table.front().data(), {3 * 256}, at::kFloat, device);
}

DeviceBatches::DeviceBatches(const DeviceImages& images, const Order& order)
    : images_(images),
      order_(order),
      shown_(shown(static_cast<int>(images.labels.size(0)), order)),
      along_(at::arange(side, images.labels.options())),
      channel_(at::arange(0, 3 * 256, 256, images.labels.options())),
      batches_(batch_count(static_cast<int>(images.labels.size(0)), order)) {}

bool DeviceBatches::next(TensorBatch& batch) {
  if (next_ == batches_) return false;
  const int first = next_++ * order_.batch;
  const int size = std::min(order_.batch, static_cast<int>(shown_.size()) - first);
  const at::Device device = images_.labels.device();
  const at::Tensor here = at::empty({4, size}, at::TensorOptions(at::kLong).pinned_memory(device.is_cuda()));
  auto* to = here.mutable_data_ptr<std::int64_t>();
  for (int i = 0; i < size; ++i, ++to) {
    const int image = shown_[static_cast<std::size_t>(first + i)];
    const Crop c = crop(order_, image);
    to[0] = image, to[size] = border + c.down, to[2 * size] = border + c.right, to[3 * size] = c.mirror;
  }
  const at::Tensor there = here.to(device, at::kLong, /*non_blocking=*/true);
  const at::Tensor image = there[0], mirror = there[3].unsqueeze(1);
  const at::Tensor rows = there[1].unsqueeze(1) + along_;
  const at::Tensor columns = there[2].unsqueeze(1) + along_ + mirror * (side - 1 - 2 * along_);
  const at::Tensor bytes =
      at::index(images_.pictures, {image.view({size, 1, 1}), rows.unsqueeze(2), columns.unsqueeze(1)});
  batch.x = at::take(images_.values, bytes.to(at::kLong) + channel_).permute({0, 3, 1, 2});
  batch.y = images_.labels.index_select(0, image);
  batch.sample_ids = here[0];
  return true;
}

}  // namespace cifar
