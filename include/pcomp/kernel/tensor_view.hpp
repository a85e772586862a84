#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "../base/error.hpp"
#include "../base/shape.hpp"

namespace pcomp::kernel {

/// The element types that a kernel reads and writes; the arithmetic is float for all.
enum class DType { f32, bf16, f16 };

constexpr std::int64_t bytes_of(DType t) { return t == DType::f32 ? 4 : 2; }

/// What a kernel needs to know of a GPU tensor: the stream that it is ready on, and an allocator for scratch on it.
struct Gpu {
  void* stream = nullptr;  ///< a cudaStream_t
  void* (*allocate)(std::size_t) = nullptr;
  void (*release)(void*) = nullptr;

  explicit operator bool() const { return allocate != nullptr; }
};

}  // namespace pcomp::kernel

namespace pcomp::detail {

inline void expect_strides(const Extents& shape, const Extents& strides) {
  if (shape.rank() != strides.rank())
    throw Error("pcomp: the shape " + to_string(shape) + " takes a stride for each extent, not " +
                std::to_string(strides.rank()));
}

}  // namespace pcomp::detail

namespace pcomp::kernel {

/// A tensor to read, on the CPU unless `gpu` is set: row-major without gaps, or with a stride for each extent.
/// What is sent is always in the row-major order of the shape.
///
/// Law: the bytes are those of a contiguous copy, which is not made.
/// Shapes: `count` elements of `dtype`; strides in elements, in any order, also 0; on a GPU those of row-major or
///   channels-last memory. A channels-last tensor of shape {N, C, H, W} has {C * H * W, 1, W * C, C}.
/// Errors: `Error` for more or fewer strides than extents.
/// Example: examples/020-bytes
struct TensorView {
  const void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t count = 0;
  Extents shape{}, strides{};  ///< of rank 0: row-major without gaps
  Gpu gpu;
  std::uint64_t noise = 0;  ///< which noise a Stochastic coder adds (rng_counter); known to the sender alone

  TensorView(std::span<const float> x) : data(x.data()), count(static_cast<std::int64_t>(x.size())) {}
  TensorView(std::span<float> x) : TensorView(std::span<const float>(x)) {}
  TensorView(const std::vector<float>& x) : TensorView(std::span<const float>(x)) {}
  TensorView(const void* d, DType t, std::int64_t n, Gpu g = {}) : data(d), dtype(t), count(n), gpu(g) {}
  TensorView(const void* d, DType t, const Extents& e, const Extents& s, Gpu g = {})
      : data(d), dtype(t), count(e.size()), shape(e), strides(s), gpu(g) {
    detail::expect_strides(e, s);
  }
};

/// A tensor to write, likewise.
///
/// Shapes: as TensorView; its elements must not overlap.
/// Errors: as TensorView, and `Error` for a stride of 0.
/// Example: examples/020-bytes
struct MutableTensorView {
  void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t count = 0;
  Extents shape{}, strides{};
  Gpu gpu;

  MutableTensorView(std::span<float> y) : data(y.data()), count(static_cast<std::int64_t>(y.size())) {}
  MutableTensorView(std::vector<float>& y) : MutableTensorView(std::span<float>(y)) {}
  MutableTensorView(void* d, DType t, std::int64_t n, Gpu g = {}) : data(d), dtype(t), count(n), gpu(g) {}
  MutableTensorView(void* d, DType t, const Extents& e, const Extents& s, Gpu g = {})
      : data(d), dtype(t), count(e.size()), shape(e), strides(s), gpu(g) {
    detail::expect_strides(e, s);
    for (int i = 0; i < e.rank(); ++i)
      if (e[i] > 1 && s[i] == 0) throw Error("pcomp: an output's elements must not overlap: a stride is 0");
  }
};

}  // namespace pcomp::kernel

namespace pcomp::detail {

/// For a TensorView or a MutableTensorView.
template <class View>
void expect_shape(const char* what, const View& x, const Extents& shape) {
  if (x.count != shape.size())
    throw Error(std::string("pcomp: ") + what + " has " + std::to_string(x.count) +
                " elements, but the shape " + to_string(shape) + " has " + std::to_string(shape.size()));
  if (x.strides.rank() && x.shape != shape)
    throw Error(std::string("pcomp: ") + what + " has the shape " + to_string(x.shape) + ", not " +
                to_string(shape));
}

inline void expect_bytes(const char* what, std::size_t came, std::int64_t want, std::string_view wire,
                         const Extents& shape) {
  if (static_cast<std::int64_t>(came) != want)
    throw Error(std::string("pcomp: ") + what + " has " + std::to_string(came) + " bytes, but " +
                std::string(wire) + " on " + to_string(shape) + " takes " + std::to_string(want));
}

}  // namespace pcomp::detail
