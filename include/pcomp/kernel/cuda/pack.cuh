#pragma once
#include "../../wire/packing.hpp"
#include "collectives.cuh"

/// A block of 128 codes in a warp's registers: lane i holds codes 4i to 4i + 3. See wire/packing.hpp.
namespace pcomp::detail::gpu {

struct alignas(8) Words2 {
  u32 v[2];
};
struct alignas(16) Words4 {
  u32 v[4];
};

/// One byte for each of four codes, taken from bit `shift`.
PCOMP_GPU u32 bytes_of(const u32* c, int shift) {
  u32 word = 0;
  PCOMP_UNROLL
  for (int j = 0; j < 4; ++j) word |= ((c[j] >> shift) & 0xffu) << (8 * j);
  return word;
}

/// Plane by plane: word q of a plane of w < 8 bits holds the codes of the lanes q, q + 4w, q + 8w, ...
PCOMP_GPU void store_full_block(const u32* c, int bits, unsigned char* out) {
  int shift = 0;
  if (bits & 32)
    *reinterpret_cast<Words4*>(out + 16 * lane()) = {c[0], c[1], c[2], c[3]}, out += 512, shift = 32;
  if (bits & 16) {
    *reinterpret_cast<Words2*>(out + 8 * lane()) = {(c[0] & 0xffffu) | c[1] << 16,
                                                    (c[2] & 0xffffu) | c[3] << 16};
    out += 256, shift = 16;
  }
  if (bits & 8) {
    *reinterpret_cast<u32*>(out + 4 * lane()) = bytes_of(c, shift);
    out += 128, shift += 8;
  }
  if (bits & 7) {
    const u32 byte = bytes_of(c, shift);
    shift = 0;
    for (int w = 4; w; w /= 2) {
      if (!(bits & w)) continue;
      const u32 mask = 0x01010101u * ((1u << w) - 1);
      u32 word = ((byte >> shift) & mask) << (lane() / (4 * w) * w);
      for (int d = 16; d >= 4 * w; d /= 2) word |= shuffle_xor(word, d);
      if (lane() < 4 * w) *reinterpret_cast<u32*>(out + 4 * lane()) = word;
      out += 16 * w, shift += w;
    }
  }
}

PCOMP_GPU void load_full_block(const unsigned char* in, int bits, u32* c) {
  int shift = 0;
  PCOMP_UNROLL
  for (int j = 0; j < 4; ++j) c[j] = 0;
  if (bits & 32) {
    const Words4 word = *reinterpret_cast<const Words4*>(in + 16 * lane());
    PCOMP_UNROLL
    for (int j = 0; j < 4; ++j) c[j] = word.v[j];
    return;
  }
  if (bits & 16) {
    const Words2 word = *reinterpret_cast<const Words2*>(in + 8 * lane());
    PCOMP_UNROLL
    for (int j = 0; j < 4; ++j) c[j] = word.v[j / 2] >> (j % 2 * 16) & 0xffffu;
    in += 256, shift = 16;
  }
  if (bits & 8) {
    const u32 word = *reinterpret_cast<const u32*>(in + 4 * lane());
    PCOMP_UNROLL
    for (int j = 0; j < 4; ++j) c[j] |= ((word >> (8 * j)) & 0xffu) << shift;
    in += 128, shift += 8;
  }
  for (int w = 4; w; w /= 2) {
    if (!(bits & w)) continue;
    const u32 word = *reinterpret_cast<const u32*>(in + 4 * (lane() % (4 * w))) >> (lane() / (4 * w) * w);
    PCOMP_UNROLL
    for (int j = 0; j < 4; ++j) c[j] |= ((word >> (8 * j)) & ((1u << w) - 1)) << shift;
    in += 16 * w, shift += w;
  }
}

/// Writes a block of r codes, four per lane of a warp; every lane must call it.
PCOMP_GPU void store_block(const u32* c, u32 r, int bits, unsigned char* out) {
  if (r == pack_block) return store_full_block(c, bits, out);
  PCOMP_SHARED u32 codes[block_warps][pack_block];
  u32* mine = codes[warp()];
  PCOMP_UNROLL
  for (int j = 0; j < 4; ++j) mine[4 * lane() + j] = c[j];
  sync_warp();
  const int bytes = static_cast<int>(block_bytes(r, bits));
  for (int b = lane(); b < bytes; b += 32)
    out[b] = static_cast<unsigned char>(block_byte(mine, static_cast<int>(r), bits, b));
  sync_warp();
}
PCOMP_GPU void load_block(const unsigned char* in, u32 r, int bits, u32* c) {
  if (r == pack_block) return load_full_block(in, bits, c);
  PCOMP_UNROLL
  for (int j = 0; j < 4; ++j) {
    const int i = 4 * lane() + j;
    c[j] = i < static_cast<int>(r) ? block_code(in, static_cast<int>(r), bits, i) : 0;
  }
}

}  // namespace pcomp::detail::gpu
