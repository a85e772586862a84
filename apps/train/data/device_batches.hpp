#pragma once
#include <ATen/core/Tensor.h>

#include "images.hpp"
#include "order.hpp"

namespace cifar {

/// A batch as the engine takes it: pictures [samples, 3, 32, 32], labels, indices in the data set.
struct TensorBatch {
  at::Tensor x, y, sample_ids;
  std::int64_t size() const { return y.size(0); }
};

/// A whole set in device memory, each picture with its black border: 4800 bytes per image.
struct DeviceImages {
  DeviceImages(const Images& images, const Normalisation& normalisation, at::Device device);

  at::Tensor pictures;  ///< bytes [images, 40, 40, 3]
  at::Tensor labels;
  at::Tensor values;  ///< [3 * 256]: the value of each byte in each channel
};

/// One pass over the images, cropped, mirrored and normalised on their device.
///
/// Law: the batches of `Batches` with the same order, bit for bit, channels-last. Only a table of four numbers per
///   image is sent to the device, to a GPU from pinned memory, and nothing waits for it. `sample_ids` are in host memory.
class DeviceBatches {
 public:
  DeviceBatches(const DeviceImages& images, const Order& order);
  /// The next batch; false after the last.
  bool next(TensorBatch& batch);

 private:
  const DeviceImages& images_;
  Order order_;
  std::vector<int> shown_;
  at::Tensor along_, channel_;  ///< 0 to 31; offsets of the channels' values
  int batches_, next_ = 0;
};

}  // namespace cifar
