#pragma once
#include <cstddef>
#include <cstdint>

#include "../base/device.hpp"

namespace pcomp::detail {

/// Codes are packed in blocks of 128; only the last block of a list may be shorter.
inline constexpr std::int64_t pack_block = 128;
inline constexpr std::int64_t align_to = 16;

PCOMP_HD constexpr std::int64_t aligned(std::int64_t bytes) {
  return (bytes + align_to - 1) / align_to * align_to;
}
PCOMP_HD constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// A block of r codes of `bits` bits is one plane for each set bit of `bits`, the widest first: a plane of
/// width w takes s = ceil(r*w/8) bytes for w <= 8, else r*w/8, and its byte j holds codes j, j+s, j+2s, ...
/// from the low bits.
PCOMP_HD constexpr std::int64_t plane_bytes(std::int64_t r, int w) { return ceil_div(r * w, 8); }

/// Bytes of one block of r <= 128 codes.
PCOMP_HD constexpr std::int64_t block_bytes(std::int64_t r, int bits) {
  std::int64_t b = 0;
  for (int w = 32; w; w /= 2)
    if (bits & w) b += plane_bytes(r, w);
  return b;
}

/// Bytes of n codes of `bits` bits: packed(n, bits) in the documentation.
PCOMP_HD constexpr std::int64_t packed_bytes(std::int64_t n, int bits) {
  return n / pack_block * (pack_block / 8) * bits + block_bytes(n % pack_block, bits);
}

/// The encoding of k ascending positions below n: nothing where all or none are kept, a bitmap, or
/// Elias-Fano.
///
/// Elias-Fano: position p with index i sets bit (p >> low_bits) + i of the high part; its low bits follow,
/// packed.
struct IndexFormat {
  enum Kind { none, bitmap, elias_fano } kind = none;
  int low_bits = 0;
  std::int64_t high_bytes = 0;  // of the bitmap, or of the high part
  std::int64_t low_at = 0;      // where the low part begins
  std::int64_t bytes = 0;
};

/// The smallest encoding; ties go to the bitmap, then to the fewest low bits.
constexpr IndexFormat index_format(std::int64_t n, std::int64_t k) {
  if (k == 0 || k == n) return {};
  IndexFormat best{IndexFormat::bitmap, 0, ceil_div(n, 8), 0, ceil_div(n, 8)};
  for (int low = 0; low < 32 && (low == 0 || (n - 1) >> (low - 1)); ++low) {
    const std::int64_t high = ceil_div(((n - 1) >> low) + k, 8);
    const std::int64_t at = low ? aligned(high) : high;
    const std::int64_t bytes = at + packed_bytes(k, low);
    if (bytes < best.bytes) best = {IndexFormat::elias_fano, low, high, at, bytes};
  }
  return best;
}

}  // namespace pcomp::detail

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
