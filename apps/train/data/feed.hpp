#pragma once
#include <optional>

#include "batches.hpp"
#include "device_batches.hpp"

namespace cifar {

/// One pass over the images as tensors: prepared by a host thread or, if the set is on a device, there.
///
/// Law: a batch is valid until the next one is asked for. Without pictures, x has their shape but no values.
class Feed {
 public:
  /// `there`: the same images on a device, or null.
  Feed(const Images& images, const DeviceImages* there, const Normalisation& normalisation,
       const Order& order);
  /// The next batch; false after the last.
  bool next(TensorBatch& batch);

 private:
  std::optional<Batches> host_;
  Batch prepared_;
  std::optional<DeviceBatches> device_;
};

}  // namespace cifar
