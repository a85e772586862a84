#pragma once
#include <variant>

#include "../../tensor_view.hpp"
#include "panel.hpp"

namespace pcomp::detail {

inline StridedOrder order_of(const Extents& shape, const Extents& strides) {
  return strides.rank() ? StridedOrder(shape, strides) : StridedOrder();
}

/// A source hands out ranges of floats: in place where it can, else through `buffer`. All sources have:
/// cursor(first)               a reader that loads ascending ranges at or after `first`
/// cursor.load(i, n, buffer)   elements [i, i + n), n <= chunk; if not in `buffer`, valid until the next load
/// cursor.in_place()           optional: where all elements are and stay, or null
/// cursor.stretch(i, n)        with it: n or fewer contiguous elements from i on, valid until the next load
struct DenseSource {
  const void* data;
  kernel::DType dtype;
  StridedOrder order;

  explicit DenseSource(const kernel::TensorView& x)
      : data(x.data), dtype(x.dtype), order(order_of(x.shape, x.strides)) {}

  class Cursor {
   public:
    explicit Cursor(const DenseSource& s) : data_(s.data), dtype_(s.dtype) {
      if (s.order.is_dense()) return;
      if (dtype_ == kernel::DType::f32)
        strided_.emplace<PanelReader<float>>(s.order, data_);
      else
        strided_.emplace<PanelReader<std::uint16_t>>(s.order, data_);
    }

    /// All elements in place, or null.
    const float* in_place() const {
      return dtype_ == kernel::DType::f32 && strided_.index() == 0 ? static_cast<const float*>(data_)
                                                                   : nullptr;
    }

    std::span<const float> stretch(std::int64_t i, std::int64_t n) {
      if (const float* all = in_place()) return {all + i, static_cast<std::size_t>(n)};
      auto* strided = std::get_if<PanelReader<float>>(&strided_);
      return strided ? strided->stretch(i, n) : std::span<const float>();
    }

    const float* load(std::int64_t i, std::int64_t n, float* buffer) {
      if (dtype_ == kernel::DType::f32) {
        if (auto* strided = std::get_if<PanelReader<float>>(&strided_)) return strided->load(i, n, buffer);
        return static_cast<const float*>(data_) + i;
      }
      if (auto* strided = std::get_if<PanelReader<std::uint16_t>>(&strided_)) {
        std::uint16_t room[chunk];
        to_float(strided->load(i, n, room), n, buffer);
      } else {
        to_float(static_cast<const std::uint16_t*>(data_) + i, n, buffer);
      }
      return buffer;
    }

   private:
    void to_float(const std::uint16_t* in, std::int64_t n, float* out) const {
      if (dtype_ == kernel::DType::bf16)
        PCOMP_DISPATCH(widen_bf16)(in, n, out);
      else
        PCOMP_DISPATCH(widen_f16)(in, n, out);
    }

    const void* data_;
    kernel::DType dtype_;
    std::variant<std::monostate, PanelReader<float>, PanelReader<std::uint16_t>> strided_;
  };
  Cursor cursor(std::int64_t) const { return Cursor(*this); }
};

/// A sink takes ranges of floats. All sinks have:
/// direct(i)                     where elements from i on may be written in place, or null
/// past_caches()                 whether the output is too large to stay in a cache until it is read
/// cursor()                      a writer of a part of it; its destructor may write the last elements it took
/// cursor.store(i, n, values)    elements [i, i + n), n <= chunk
/// cursor.stretch(i, n, each)    room for elements from i on, a multiple of `each` up to n, all to be written; or none
struct DenseSink {
  void* data;
  kernel::DType dtype;
  bool large;
  StridedOrder order;

  explicit DenseSink(const kernel::MutableTensorView& y)
      : data(y.data), dtype(y.dtype), large(y.count >= (1 << 21)), order(order_of(y.shape, y.strides)) {}

  /// 8 MB of floats: more than a core's second-level cache anywhere.
  bool past_caches() const { return large && dtype == kernel::DType::f32; }

  float* direct(std::int64_t i) const {
    return dtype == kernel::DType::f32 && order.is_dense() ? static_cast<float*>(data) + i : nullptr;
  }

  class Cursor {
   public:
    explicit Cursor(const DenseSink& s) : data_(s.data), dtype_(s.dtype) {
      if (s.order.is_dense()) return;
      if (dtype_ == kernel::DType::f32)
        strided_.emplace<PanelWriter<float>>(s.order, data_);
      else
        strided_.emplace<PanelWriter<std::uint16_t>>(s.order, data_);
    }

    std::span<float> stretch(std::int64_t i, std::int64_t n, std::int64_t each) {
      auto* strided = std::get_if<PanelWriter<float>>(&strided_);
      return strided ? strided->stretch(i, n, each) : std::span<float>();
    }

    void store(std::int64_t i, std::int64_t n, const float* values) {
      if (dtype_ == kernel::DType::f32) {
        if (auto* strided = std::get_if<PanelWriter<float>>(&strided_)) return strided->store(i, n, values);
        std::memcpy(static_cast<float*>(data_) + i, values, static_cast<std::size_t>(n) * sizeof(float));
      } else if (auto* strided = std::get_if<PanelWriter<std::uint16_t>>(&strided_)) {
        std::uint16_t narrow[chunk];
        to_16_bits(values, n, narrow);
        strided->store(i, n, narrow);
      } else {
        to_16_bits(values, n, static_cast<std::uint16_t*>(data_) + i);
      }
    }

   private:
    void to_16_bits(const float* values, std::int64_t n, std::uint16_t* out) const {
      if (dtype_ == kernel::DType::bf16)
        PCOMP_DISPATCH(narrow_bf16)(values, n, out);
      else
        PCOMP_DISPATCH(narrow_f16)(values, n, out);
    }

    void* data_;
    kernel::DType dtype_;
    std::variant<std::monostate, PanelWriter<float>, PanelWriter<std::uint16_t>> strided_;
  };
  Cursor cursor() const { return Cursor(*this); }
};

}  // namespace pcomp::detail
