#pragma once
#include <ATen/ops/from_blob.h>

#include <cstring>
#include <span>

#include "../autograd/tensor.hpp"

namespace pcomp::detail {

/// Bytes, and the device they are on.
struct Placed {
  std::span<std::byte> bytes;
  at::Device device = at::kCPU;
};

inline at::Tensor tensor_over(const Placed& p) {
  return at::from_blob(p.bytes.data(), {static_cast<std::int64_t>(p.bytes.size())},
                       at::TensorOptions(at::kByte).device(p.device));
}

/// Storage for payloads on one device, the host at first.
///
/// Law: grows to the largest payload and stays there, so a step after the first allocates nothing here. On a GPU it
///   belongs to the stream that was current when it grew.
class ByteStore {
 public:
  Placed sized(std::size_t size, at::Device device) {
    if (!storage_.defined() || storage_.device() != device || bytes_in(storage_).size() < size)
      storage_ = byte_tensor(size, device);
    return {bytes_in(storage_).first(size), device};
  }
  /// A copy of `from` on `device`.
  void assign(const Placed& from, at::Device device) {
    held_ = sized(from.bytes.size(), device);
    if (from.bytes.empty()) return;
    if (from.device.is_cpu() && device.is_cpu())
      std::memcpy(held_.bytes.data(), from.bytes.data(), from.bytes.size());
    else
      tensor_over(held_).copy_(tensor_over(from));
  }
  std::span<const std::byte> bytes() const { return held_.bytes; }

 private:
  at::Tensor storage_;
  Placed held_;
};

}  // namespace pcomp::detail
