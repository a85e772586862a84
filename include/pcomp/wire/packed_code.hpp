#pragma once
#include <cstddef>

#include "packing.hpp"

/// Packed codes one at a time, as in docs/wire-format.md, for the parts of a list that no fast path takes.
namespace pcomp::detail {

/// Byte j of a plane of width w < 8 over r codes, taken from bit `shift` of each.
template <class Code>
PCOMP_HD constexpr std::uint32_t plane_byte(const Code* code, int r, int w, int shift, int j) {
  const int s = static_cast<int>(plane_bytes(r, w));
  std::uint32_t byte = 0;
  for (int i = 0; i < 8 / w && j + i * s < r; ++i)
    byte |= ((static_cast<std::uint32_t>(code[j + i * s]) >> shift) & ((1u << w) - 1)) << (i * w);
  return byte;
}

/// Byte `at` of a packed block of r codes of `bits` bits.
template <class Code>
PCOMP_HD constexpr std::uint32_t block_byte(const Code* code, int r, int bits, int at) {
  int shift = 0;
  for (int w = 32; w; w /= 2) {
    if (!(bits & w)) continue;
    const int bytes = static_cast<int>(plane_bytes(r, w));
    if (at < bytes) {
      if (w < 8) return plane_byte(code, r, w, shift, at);
      return (static_cast<std::uint32_t>(code[at / (w / 8)]) >> (shift + at % (w / 8) * 8)) & 0xffu;
    }
    at -= bytes;
    shift += w;
  }
  return 0;
}

/// Code j of a packed block of r codes.
PCOMP_HD constexpr std::uint32_t block_code(const unsigned char* block, int r, int bits, int j) {
  std::uint32_t code = 0;
  int shift = 0;
  for (int w = 32; w; w /= 2) {
    if (!(bits & w)) continue;
    const int s = static_cast<int>(plane_bytes(r, w));
    if (w < 8) {
      code |= ((static_cast<std::uint32_t>(block[j % s]) >> (j / s * w)) & ((1u << w) - 1)) << shift;
    } else {
      for (int b = 0; b < w / 8; ++b)
        code |= static_cast<std::uint32_t>(block[j * (w / 8) + b]) << (shift + 8 * b);
    }
    block += s;
    shift += w;
  }
  return code;
}

/// Code i of n packed codes.
PCOMP_HD constexpr std::uint32_t packed_code(const unsigned char* codes, std::int64_t n, int bits,
                                             std::int64_t i) {
  const std::int64_t block = i / pack_block, rest = n - block * pack_block;
  return block_code(codes + block * (pack_block / 8) * bits,
                    static_cast<int>(rest < pack_block ? rest : pack_block), bits,
                    static_cast<int>(i % pack_block));
}

}  // namespace pcomp::detail
