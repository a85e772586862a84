// The coders of codec/half.hpp; convert-inl.hpp has their loops, as it converts tensors of 16 bits too.
namespace pcomp::detail::HWY_NAMESPACE {

template <>
struct SimdCoder<ops::Half> : ScalarCoder<ops::Half> {
  static HWY_INLINE void encode(const float* v, Nothing, std::uint32_t, Code* code) {
    narrow_f16(v, pack_block, code);
  }
  static HWY_INLINE void decode(const Code* code, Nothing, float* out) { widen_f16(code, pack_block, out); }
};

template <>
struct SimdCoder<ops::BFloat16> : ScalarCoder<ops::BFloat16> {
  static HWY_INLINE void encode(const float* v, Nothing, std::uint32_t, Code* code) {
    narrow_bf16(v, pack_block, code);
  }
};

template <>
struct SimdCoder<ops::Float32> : ScalarCoder<ops::Float32> {
  static constexpr bool copies = true;
};

}  // namespace pcomp::detail::HWY_NAMESPACE
