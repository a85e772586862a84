// What the loops of code-inl.hpp ask of a coder, a block of 128 values at a time.
namespace pcomp::detail::HWY_NAMESPACE {

/// What holds a code until codes are packed.
template <codec::CodeCodec C>
using CodeWord = std::conditional_t<(C::bits <= 8), std::uint8_t,
                                    std::conditional_t<(C::bits <= 16), std::uint16_t, std::uint32_t>>;

/// Any coder, by its scalar functions alone, as the compiler vectorises them.
template <codec::CodeCodec C>
struct ScalarCoder {
  using T = CoderTraits<C>;
  using Prepared = typename T::Prepared;
  using Code = CodeWord<C>;

  /// Whether the codes are the floats' own bits, so that copying encodes and decodes.
  static constexpr bool copies = false;

  /// Writes the scales of `groups` ranges, and what follows from each. `lo` and `hi` have room for `slack` more, and what
  /// they hold may be lost.
  static HWY_INLINE void fit(float* lo, float* hi, std::int64_t groups, std::byte* scales,
                             Prepared* prepared) {
    for (std::int64_t g = 0; g < groups; ++g) {
      const typename T::Scale scale = T::fit({lo[g], hi[g]});
      std::memcpy(scales + g * T::scale_bytes, &scale, sizeof scale);
      prepared[g] = T::prepare(scale);
    }
  }
  /// Encodes a block, one code a word; `seed` is that of its noise.
  static HWY_INLINE void encode(const float* v, const Prepared& p, std::uint32_t seed, Code* code) {
    for (std::uint32_t j = 0; j < pack_block; ++j) {
      float noise = 0;
      if constexpr (T::stochastic) noise = noise_at(seed, j);
      code[j] = static_cast<Code>(T::encode(v[j], p, noise));
    }
    (void)seed;
  }
  static HWY_INLINE void decode(const Code* code, const Prepared& p, float* out) {
    for (std::int64_t j = 0; j < pack_block; ++j) out[j] = T::decode(code[j], p);
  }
};

/// All that the loops know of coder C. A codec with loops of its own specialises it, for what they do better, in a file
/// of coders/, which all-inl.hpp names; `fit` is only called for scales of groups.
///
/// Law: scales, codes and values are those of ScalarCoder<C>, bit for bit.
template <codec::CodeCodec C>
struct SimdCoder : ScalarCoder<C> {};

}  // namespace pcomp::detail::HWY_NAMESPACE
