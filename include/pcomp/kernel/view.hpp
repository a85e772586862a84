#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "../core/error.hpp"
#include "../core/shape.hpp"

namespace pcomp {

/// The element types that a kernel reads and writes; the arithmetic is float for all.
enum class DType { f32, bf16, f16 };

constexpr std::int64_t bytes_of(DType t) { return t == DType::f32 ? 4 : 2; }

/// Where a tensor on a GPU lives: the stream that it is ready on, and where scratch on that stream comes from.
struct Gpu {
  void* stream = nullptr;  ///< a cudaStream_t
  void* (*allocate)(std::size_t) = nullptr;
  void (*release)(void*) = nullptr;
  bool channels_last = false;  ///< dimension 1 is innermost in memory

  explicit operator bool() const { return allocate != nullptr; }
};

/// A dense row-major tensor to read, on the CPU if not said otherwise.
/// Shapes: `count` elements of `dtype`.
struct In {
  const void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t count = 0;
  Gpu gpu;

  In(std::span<const float> x) : data(x.data()), count(static_cast<std::int64_t>(x.size())) {}
  In(std::span<float> x) : In(std::span<const float>(x)) {}
  In(const void* d, DType t, std::int64_t n, Gpu g = {}) : data(d), dtype(t), count(n), gpu(g) {}
};

/// A dense row-major tensor to write, likewise.
/// Shapes: `count` elements of `dtype`.
struct Out {
  void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t count = 0;
  Gpu gpu;

  Out(std::span<float> y) : data(y.data()), count(static_cast<std::int64_t>(y.size())) {}
  Out(void* d, DType t, std::int64_t n, Gpu g = {}) : data(d), dtype(t), count(n), gpu(g) {}
};

namespace detail {

inline void expect_elements(const char* what, std::int64_t came, const Extents& shape) {
  if (came != shape.size())
    throw Error(std::string("pcomp: ") + what + " has " + std::to_string(came) + " elements, but the shape " +
                to_string(shape) + " has " + std::to_string(shape.size()));
}

inline void expect_bytes(const char* what, std::size_t came, std::int64_t want, std::string_view wire,
                         const Extents& shape) {
  if (static_cast<std::int64_t>(came) != want)
    throw Error(std::string("pcomp: ") + what + " has " + std::to_string(came) + " bytes, but " +
                std::string(wire) + " on " + to_string(shape) + " takes " + std::to_string(want));
}

}  // namespace detail
}  // namespace pcomp
