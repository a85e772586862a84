#pragma once
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "../base/float_mode.hpp"
#include "../kernel/parallel.hpp"
#include "../kernel/tensor_view.hpp"

namespace pcomp::detail {

inline Extents extents_of(const at::Tensor& x) { return Extents(x.sizes().begin(), x.sizes().end()); }

inline Extents strides_of(const at::Tensor& x) { return Extents(x.strides().begin(), x.strides().end()); }

inline kernel::DType dtype_of(at::ScalarType t) {
  switch (t) {
    case at::kFloat:
      return kernel::DType::f32;
    case at::kBFloat16:
      return kernel::DType::bf16;
    case at::kHalf:
      return kernel::DType::f16;
    default:
      throw Error(std::string("pcomp: a boundary takes float, bfloat16 or half, not ") + c10::toString(t) +
                  "; Wire<Verbatim> carries any dtype, without a gradient");
  }
}

/// Refuses what is not dense memory on the CPU or a GPU.
inline void expect_memory(const at::Tensor& x) {
  if (!x.defined()) throw Error("pcomp: a boundary takes a tensor, but this one is undefined");
  if (x.is_nested())
    throw Error("pcomp: a boundary takes a dense CPU or CUDA tensor, not a nested one: pad it to one shape");
  if (x.layout() != at::kStrided || !(x.is_cpu() || x.is_cuda()))
    throw Error("pcomp: a boundary takes a dense CPU or CUDA tensor, not " + x.toString() + " on " +
                x.device().str());
  if (!x.has_storage())
    throw Error(
        "pcomp: a boundary takes a tensor with memory of its own, not one that vmap or a subclass wraps");
  if (x.dim() < 1 || x.dim() > Extents::max_rank || x.numel() == 0)
    throw Error("pcomp: a boundary takes 1 to 8 dimensions and at least one element, not " +
                to_string(extents_of(x)));
}
/// Refuses what the kernels cannot read, before anything is allocated.
inline void expect_dense(const at::Tensor& x) {
  expect_memory(x);
  dtype_of(x.scalar_type());
}

/// The tensor as memory that holds its values: a lazy negative or conjugate bit is carried out, zeros without memory
/// get some, and a sparse gradient becomes dense.
inline at::Tensor in_memory(const at::Tensor& x) {
  if (x.layout() != at::kStrided) return in_memory(x.to_dense());
  if (x._is_zerotensor()) return x.clone();
  return x.resolve_conj().resolve_neg();
}

/// The tensor as the kernels read it. Those on the CPU take any strides; on a GPU, a tensor that is neither row-major
/// nor channels-last is copied.
inline at::Tensor readable(const at::Tensor& x) {
  const at::Tensor t = in_memory(x);
  return t.is_cuda() ? t.contiguous(t.suggest_memory_format()) : t;
}

/// A CUDA tensor's current stream and the caching allocator, reached through c10, so that no CUDA library is linked.
inline kernel::Gpu gpu_of(const at::Tensor& x) {
  if (!x.is_cuda()) return {};
  const c10::Stream stream = c10::impl::VirtualGuardImpl(at::kCUDA).getStream(x.device());
  return {stream.native_handle(), [](std::size_t n) { return c10::GetAllocator(at::kCUDA)->raw_allocate(n); },
          [](void* p) { c10::GetAllocator(at::kCUDA)->raw_deallocate(p); }};
}

/// A readable tensor as a kernel's argument; it must outlive the call.
inline kernel::TensorView in(const at::Tensor& x) {
  const kernel::DType t = dtype_of(x.scalar_type());
  if (x.is_contiguous()) return {x.const_data_ptr(), t, x.numel(), gpu_of(x)};
  return {x.const_data_ptr(), t, extents_of(x), strides_of(x), gpu_of(x)};
}
inline kernel::MutableTensorView out(at::Tensor& x) {
  const kernel::DType t = dtype_of(x.scalar_type());
  if (x.is_contiguous()) return {x.mutable_data_ptr(), t, x.numel(), gpu_of(x)};
  return {x.mutable_data_ptr(), t, extents_of(x), strides_of(x), gpu_of(x)};
}

/// A tensor to decode into, in a given memory format: channels-last for a stage that computes in it.
inline at::Tensor tensor_of(const Extents& shape, at::ScalarType type,
                            at::MemoryFormat format = at::MemoryFormat::Contiguous,
                            at::Device device = at::kCPU) {
  return at::empty(c10::IntArrayRef(shape.begin(), shape.end()),
                   at::TensorOptions(type).device(device).memory_format(format));
}

/// Bytes on a device, for payloads.
inline at::Tensor byte_tensor(std::size_t n, at::Device device) {
  return at::empty({static_cast<std::int64_t>(n)}, at::TensorOptions(at::kByte).device(device));
}
inline std::span<std::byte> bytes_in(at::Tensor& t) {
  return {static_cast<std::byte*>(t.mutable_data_ptr()), static_cast<std::size_t>(t.numel())};
}

/// Torch's intra-op threads for a kernel; they treat denormals as the calling thread does.
struct TorchThreads {
  void operator()(std::int64_t n, std::int64_t grain, kernel::ParallelFor::Body body) const {
    const FloatMode mode = FloatMode::of_this_thread();
    at::parallel_for(0, n, grain, [&](std::int64_t begin, std::int64_t end) {
      const FloatModeGuard same(mode);
      body(begin, end);
    });
  }
};
inline constexpr TorchThreads torch_threads{};

}  // namespace pcomp::detail
