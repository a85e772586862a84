#pragma once
#include "../tensor_view.hpp"
#include "queue.cuh"

namespace pcomp::detail::gpu {

/// Device memory for the duration of one call, from the tensor's own allocator, which knows the stream.
class Scratch {
 public:
  Scratch(const kernel::Gpu& gpu, std::size_t size) : gpu_(gpu), size_(size) {
    if (size && !gpu) throw Error("pcomp: this GPU tensor says no allocator to take scratch from");
    if (size) at_ = static_cast<std::byte*>(gpu.allocate(size));
    if (size && !at_)
      throw Error("pcomp: no device memory for " + std::to_string(size) + " bytes of scratch");
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    if (at_) gpu_.release(at_);
  }
  std::span<std::byte> bytes() const { return {at_, size_}; }

 private:
  kernel::Gpu gpu_;
  std::size_t size_;
  std::byte* at_ = nullptr;
};

#if defined(__CUDACC__)

inline bool on_device(const void* p) {
  cudaPointerAttributes a{};
  expect(cudaPointerGetAttributes(&a, p));
  return a.type == cudaMemoryTypeDevice || a.type == cudaMemoryTypeManaged;
}
inline void copy_async(void* to, const void* from, std::size_t n, void* stream) {
  if (n) expect(cudaMemcpyAsync(to, from, n, cudaMemcpyDefault, static_cast<cudaStream_t>(stream)));
}
inline void wait_for(void* stream) { expect(cudaStreamSynchronize(static_cast<cudaStream_t>(stream))); }

#else

inline bool on_device(const void*) { return true; }
inline void copy_async(void* to, const void* from, std::size_t n, void*) { std::memcpy(to, from, n); }
inline void wait_for(void*) {}

#endif

/// Bytes to read on the device: in place, or a copy of the host's, which may change once this is constructed.
class DeviceInput {
 public:
  DeviceInput(const kernel::Gpu& gpu, std::span<const std::byte> bytes)
      : copied_(!bytes.empty() && !on_device(bytes.data())),
        copy_(gpu, copied_ ? bytes.size() : 0),
        bytes_(bytes) {
    if (!copied_) return;
    copy_async(copy_.bytes().data(), bytes.data(), bytes.size(), gpu.stream);
    wait_for(
        gpu.stream);  // pageable memory is usually staged before the call returns, but that is not guaranteed
    bytes_ = copy_.bytes();
  }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  bool copied_;
  Scratch copy_;
  std::span<const std::byte> bytes_;
};

/// Bytes to write, likewise; `finish` copies them to the host and waits for the copy.
class DeviceOutput {
 public:
  DeviceOutput(const kernel::Gpu& gpu, std::span<std::byte> bytes)
      : gpu_(gpu),
        copied_(!bytes.empty() && !on_device(bytes.data())),
        copy_(gpu, copied_ ? bytes.size() : 0),
        bytes_(bytes) {}
  std::span<std::byte> bytes() const { return copied_ ? copy_.bytes() : bytes_; }
  void finish() const {
    if (!copied_) return;
    copy_async(bytes_.data(), copy_.bytes().data(), bytes_.size(), gpu_.stream);
    wait_for(gpu_.stream);
  }

 private:
  kernel::Gpu gpu_;
  bool copied_;
  Scratch copy_;
  std::span<std::byte> bytes_;
};

}  // namespace pcomp::detail::gpu
