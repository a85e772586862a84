#pragma once
#include <functional>
#include <memory>
#include <pcomp/kernel/gpu_wire_kernels.hpp>

/// Device memory: on a GPU or, where the kernels are emulated, on the CPU.
namespace device {

bool emulated();
pcomp::kernel::Gpu gpu();
void* allocate(std::size_t n);
void release(void* p);
void copy(void* to, const void* from, std::size_t n);  ///< in either direction; waits
void wait();
/// Captures what f puts on the stream as a CUDA graph, and fails if a call in it waits; the result replays it once.
/// Without a GPU, the result is f itself.
std::function<void()> captured(const std::function<void()>& f);
/// The error that CUDA has to report since the last call; empty if there is none.
std::string trouble();
/// The kernels of every wire of for_each_wire.
const std::vector<const pcomp::kernel::GpuWireKernels*>& kernels();

/// An array in device memory of exactly the given length, with a canary behind it.
class Bytes {
 public:
  explicit Bytes(std::size_t n) : size_(n), begin_(static_cast<std::byte*>(allocate(n + canary))) {
    const std::vector<std::byte> fill(n + canary, std::byte{0xaa});
    device::copy(begin_, fill.data(), fill.size());
  }
  template <class T>
  explicit Bytes(const std::vector<T>& v) : Bytes(v.size() * sizeof(T)) {
    device::copy(begin_, v.data(), size_);
  }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
  ~Bytes() { release(begin_); }

  std::span<std::byte> all() const { return {begin_, size_}; }
  void* data() const { return begin_; }
  template <class T = std::byte>
  std::vector<T> read() const {
    std::vector<T> v(size_ / sizeof(T));
    device::copy(v.data(), begin_, size_);
    return v;
  }
  bool whole() const {
    std::byte behind[canary];
    device::copy(behind, begin_ + size_, canary);
    for (std::byte b : behind)
      if (b != std::byte{0xaa}) return false;
    return true;
  }

 private:
  static constexpr std::size_t canary = 64;
  std::size_t size_;
  std::byte* begin_;
};

}  // namespace device
