#pragma once
#include <cstddef>
#include <cstring>

#include "../../wire/packing.hpp"
#include "isa.hpp"

namespace pcomp::detail {

/// One plane of width W of r codes, taken from bit `shift` of each.
template <int W, class Code>
PCOMP_INLINE void pack_plane(const Code* code, std::int64_t r, int shift, std::uint8_t* out) {
  if constexpr (W >= 8) {
    for (std::int64_t j = 0; j < r; ++j) {
      const std::uint32_t v = static_cast<std::uint32_t>(code[j]) >> shift;
      if constexpr (W == 8)
        out[j] = static_cast<std::uint8_t>(v);
      else
        std::memcpy(out + j * (W / 8), &v, W / 8);
    }
  } else {
    constexpr int per_byte = 8 / W;
    constexpr std::uint32_t mask = (1u << W) - 1;
    const std::int64_t s = plane_bytes(r, W);
    if (r == pack_block) {
      constexpr std::int64_t full = plane_bytes(pack_block, W);
      for (std::int64_t j = 0; j < full; ++j) {
        std::uint32_t b = 0;
        for (int i = 0; i < per_byte; ++i)
          b |= ((static_cast<std::uint32_t>(code[j + i * full]) >> shift) & mask) << (i * W);
        out[j] = static_cast<std::uint8_t>(b);
      }
    } else {
      for (std::int64_t j = 0; j < s; ++j) {
        std::uint32_t b = 0;
        for (std::int64_t i = 0; i < per_byte && j + i * s < r; ++i)
          b |= ((static_cast<std::uint32_t>(code[j + i * s]) >> shift) & mask) << (i * W);
        out[j] = static_cast<std::uint8_t>(b);
      }
    }
  }
}

/// The inverse; ORs into `code`, which starts at zero.
template <int W, class Code>
PCOMP_INLINE void unpack_plane(const std::uint8_t* in, std::int64_t r, int shift, Code* code) {
  if constexpr (W >= 8) {
    for (std::int64_t j = 0; j < r; ++j) {
      std::uint32_t v = 0;
      if constexpr (W == 8)
        v = in[j];
      else
        std::memcpy(&v, in + j * (W / 8), W / 8);
      code[j] = static_cast<Code>(code[j] | (v << shift));
    }
  } else {
    constexpr int per_byte = 8 / W;
    constexpr std::uint32_t mask = (1u << W) - 1;
    const std::int64_t s = plane_bytes(r, W);
    if (r == pack_block) {
      constexpr std::int64_t full = plane_bytes(pack_block, W);
      for (int i = 0; i < per_byte; ++i)
        for (std::int64_t j = 0; j < full; ++j)
          code[j + i * full] = static_cast<Code>(code[j + i * full] | (((in[j] >> (i * W)) & mask) << shift));
    } else {
      for (std::int64_t j = 0; j < s; ++j)
        for (std::int64_t i = 0; i < per_byte && j + i * s < r; ++i)
          code[j + i * s] = static_cast<Code>(code[j + i * s] | (((in[j] >> (i * W)) & mask) << shift));
    }
  }
}

/// Calls f<W>(shift, byte offset) for each plane of a block of r codes, the widest first.
template <class F>
PCOMP_INLINE void for_planes(int bits, std::int64_t r, F&& f) {
  int shift = 0;
  std::int64_t at = 0;
  const auto plane = [&]<int W>() __attribute__((always_inline)) {
    if (bits & W) {
      f.template operator()<W>(shift, at);
      shift += W;
      at += plane_bytes(r, W);
    }
  };
  plane.template operator()<32>();
  plane.template operator()<16>();
  plane.template operator()<8>();
  plane.template operator()<4>();
  plane.template operator()<2>();
  plane.template operator()<1>();
}

template <class Code>
PCOMP_INLINE void pack_codes(const Code* code, std::int64_t r, int bits, std::byte* out) {
  auto* o = reinterpret_cast<std::uint8_t*>(out);
  for_planes(
      bits, r, [&]<int W>(int shift, std::int64_t at) __attribute__((always_inline)) {
        if constexpr (W <= 8 * static_cast<int>(sizeof(Code))) pack_plane<W>(code, r, shift, o + at);
      });
}

template <class Code>
PCOMP_INLINE void unpack_codes(const std::byte* in, std::int64_t r, int bits, Code* code) {
  const auto* p = reinterpret_cast<const std::uint8_t*>(in);
  std::memset(code, 0, static_cast<std::size_t>(r) * sizeof(Code));
  for_planes(
      bits, r, [&]<int W>(int shift, std::int64_t at) __attribute__((always_inline)) {
        if constexpr (W <= 8 * static_cast<int>(sizeof(Code))) unpack_plane<W>(p + at, r, shift, code);
      });
}

}  // namespace pcomp::detail
