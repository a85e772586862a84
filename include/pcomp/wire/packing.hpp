#pragma once
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

}  // namespace pcomp::detail
