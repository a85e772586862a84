#pragma once
#include <algorithm>
#include <cstring>

#include "pack.hpp"
#include "range.hpp"

namespace pcomp::detail {

/// Elements that a kernel holds in the first-level cache at a time; a multiple of every group and pack block.
inline constexpr std::int64_t chunk = 2048;

template <CodeCodec C>
using CodeWord = std::conditional_t<(C::bits <= 8), std::uint8_t,
                                    std::conditional_t<(C::bits <= 16), std::uint16_t, std::uint32_t>>;

/// A well-mixed 32-bit hash (Wellons' lowbias32).
PCOMP_INLINE constexpr std::uint32_t mix(std::uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

/// The seed of a block's noise: its scale, which changes with the data, and its place.
template <class Scale>
PCOMP_INLINE std::uint32_t noise_seed(const Scale& s, std::int64_t block) {
  std::uint32_t h = static_cast<std::uint32_t>(block) * 0x9e3779b9u + static_cast<std::uint32_t>(block >> 32);
  const auto* p = reinterpret_cast<const unsigned char*>(&s);
  for (std::size_t i = 0; i < sizeof s; ++i) h = (h ^ p[i]) * 0x01000193u;
  return mix(h);
}

/// Codes `count` values, ranks [first, first + count) of what is sent; `first` is a multiple of `chunk`.
template <CodeCodec C>
struct EncodeCodes {
  using T = CoderTraits<C>;

  PCOMP_INLINE static void run(const float* v, std::int64_t count, std::int64_t first, std::byte* codes,
                               std::byte* scales, const typename T::Scale* whole) {
    typename T::Scale scale{};
    if (whole) scale = *whole;
    typename T::Prepared p = T::prepare(scale);
    codes += first / pack_block * (pack_block / 8) * T::bits;
    for (std::int64_t b = 0; b < count; b += pack_block) {
      if constexpr (T::has_scale && T::group() > 0) {
        if (b % T::group() == 0) {
          scale = T::fit(settled(FiniteRange::run(v + b, std::min(count - b, T::group()))));
          std::memcpy(scales + (first + b) / T::group() * T::scale_bytes, &scale, sizeof scale);
          p = T::prepare(scale);
        }
      }
      std::uint32_t seed = 0;
      if constexpr (T::stochastic) seed = noise_seed(scale, (first + b) / pack_block);
      const std::int64_t r = std::min(count - b, pack_block);
      if (r == pack_block) {
        block(v + b, p, seed, pack_block, codes);
      } else {
        float rest[pack_block] = {};
        std::memcpy(rest, v + b, static_cast<std::size_t>(r) * sizeof(float));
        block(rest, p, seed, r, codes);
      }
      codes += block_bytes(r, T::bits);
    }
  }

 private:
  PCOMP_INLINE static void block(const float* v, const typename T::Prepared& p, std::uint32_t seed,
                                 std::int64_t r, std::byte* out) {
    if constexpr (T::bits == 32) {
      std::uint32_t code[pack_block];
      for (std::uint32_t j = 0; j < pack_block; ++j) code[j] = T::encode(v[j], p, 0);
      std::memcpy(out, code, static_cast<std::size_t>(r) * 4);
    } else {
      CodeWord<C> code[pack_block];
      for (std::uint32_t j = 0; j < pack_block; ++j) {
        float noise = 0;
        if constexpr (T::stochastic)
          noise = static_cast<float>(static_cast<std::int32_t>(mix(seed + j * 0x9e3779b9u) >> 8)) * 0x1p-24f;
        code[j] = static_cast<CodeWord<C>>(T::encode(v[j], p, noise));
      }
      pack_codes(code, r, T::bits, out);
    }
  }
};

/// The values of ranks [first, first + count), where `first` is a multiple of the pack block.
template <CodeCodec C>
struct DecodeCodes {
  using T = CoderTraits<C>;

  PCOMP_INLINE static void run(const std::byte* codes, const std::byte* scales, std::int64_t first,
                               std::int64_t count, float* out) {
    codes += first / pack_block * (pack_block / 8) * T::bits;
    typename T::Scale scale{};
    typename T::Prepared p = T::prepare(scale);
    for (std::int64_t b = 0; b < count; b += pack_block) {
      if constexpr (T::has_scale) {
        const std::int64_t at = T::group() ? (first + b) / std::max<std::int64_t>(T::group(), 1) : 0;
        if (b == 0 || (T::group() && (first + b) % std::max<std::int64_t>(T::group(), 1) == 0)) {
          std::memcpy(&scale, scales + at * T::scale_bytes, sizeof scale);
          p = T::prepare(scale);
        }
      }
      const std::int64_t r = std::min(count - b, pack_block);
      CodeWord<C> code[pack_block];
      if (r == pack_block) {
        unpack_codes(codes, pack_block, T::bits, code);
        for (std::int64_t j = 0; j < pack_block; ++j) out[b + j] = T::decode(code[j], p);
      } else {
        unpack_codes(codes, r, T::bits, code);
        for (std::int64_t j = 0; j < r; ++j) out[b + j] = T::decode(code[j], p);
      }
      codes += block_bytes(r, T::bits);
    }
  }
};

/// Reads the values of one payload's coder by rank; cheap where the ranks ascend. A source and its own
/// cursor.
template <CodeCodec C>
class CodedSource {
 public:
  CodedSource(const std::byte* codes, const std::byte* scales, std::int64_t sent)
      : codes_(codes), scales_(scales), sent_(sent) {}

  CodedSource cursor(std::int64_t) const { return {codes_, scales_, sent_}; }

  /// The values of ranks [first, first + count), written to `out`.
  const float* load(std::int64_t first, std::int64_t count, float* const buffer) {
    float* out = buffer;
    while (count > 0) {
      if (first % pack_block == 0 && count >= std::min(pack_block, sent_ - first)) {
        const std::int64_t whole = first + count == sent_ ? count : count / pack_block * pack_block;
        simd<DecodeCodes<C>>(codes_, scales_, first, whole, out);
        first += whole, count -= whole, out += whole;
      } else {
        const std::int64_t at = first / pack_block * pack_block;
        if (at != held_) {
          simd<DecodeCodes<C>>(codes_, scales_, at, std::min(pack_block, sent_ - at), block_);
          held_ = at;
        }
        const std::int64_t part = std::min(count, at + pack_block - first);
        std::memcpy(out, block_ + (first - at), static_cast<std::size_t>(part) * sizeof(float));
        first += part, count -= part, out += part;
      }
    }
    return buffer;
  }

 private:
  const std::byte* codes_;
  const std::byte* scales_;
  std::int64_t sent_, held_ = -1;
  float block_[pack_block];
};

}  // namespace pcomp::detail
