#pragma once
#include <ATen/core/Tensor.h>

#include "images.hpp"
#include "order.hpp"

namespace cifar {

/// A batch as the engine takes it: pictures [samples, 3, 32, 32], labels, places in the data set.
struct TensorBatch {
  at::Tensor x, y, ids;
  std::int64_t size() const { return y.size(0); }
};

/// A whole set in a device's memory, each picture in its black border: 4800 bytes for each image.
struct DeviceImages {
  DeviceImages(const Images& images, const Normalisation& normalisation, at::Device device);

  at::Tensor pictures;  ///< bytes [images, 40, 40, 3]
  at::Tensor labels;
  at::Tensor values;  ///< [3 * 256]: what a byte of each channel stands for
};

/// One pass over the images, cut out, mirrored and normalised where they lie.
///
/// Law: the batches of `Batches` with the same order, bit for bit, channels-last. To the device goes one table of four
///   numbers an image, from pinned memory to a GPU, and nothing waits for it. `ids` are in the host's memory.
class DeviceBatches {
 public:
  DeviceBatches(const DeviceImages& images, const Order& order);
  /// The next batch; false after the last.
  bool next(TensorBatch& batch);

 private:
  const DeviceImages& images_;
  Order order_;
  std::vector<int> shown_;
  at::Tensor along_, channel_;  ///< 0 to 31; where the channels' values begin
  int batches_, next_ = 0;
};

}  // namespace cifar
