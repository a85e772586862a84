#pragma once
#include "../../wire/packing.hpp"
#include "pack.cuh"

namespace pcomp::detail::gpu {

/// Writes the index block of ascending positions into zeroed bytes; a warp takes 128 ranks. See wire/index_format.hpp.
struct WriteIndex {
  const u32* position;
  u32 sent;
  bool fano;
  int low_bits;
  unsigned char *high, *low;

  static constexpr std::int64_t blocks(std::int64_t sent) { return ceil_div(sent, block_warps * pack_block); }

  PCOMP_GPU void operator()() const {
    const u32 first = (block() * block_warps + static_cast<u32>(warp())) * static_cast<u32>(pack_block);
    if (first >= sent) return;
    for (u32 rank = first + static_cast<u32>(lane()); rank < first + pack_block; rank += 32) {
      constexpr u32 none = 0xffffffffu;
      u32 word = none, bits = 0;
      if (rank < sent) {
        const u64 bit = fano ? static_cast<u64>(position[rank] >> low_bits) + rank : position[rank];
        word = static_cast<u32>(bit / 32), bits = 1u << (bit % 32);
      }
      // LongText ascend with the lanes: the first lane of each word collects its bits.
      for (int d = 1; d < 32; d *= 2) {
        const u32 other = shuffle_down(word, d), more = shuffle_down(bits, d);
        if (lane() + d < 32 && other == word) bits |= more;
      }
      const u32 before = shuffle_up(word, 1);
      if (word != none && (lane() == 0 || before != word))
        atomic_or(reinterpret_cast<u32*>(high) + word, bits);
    }
    if (!fano || low_bits == 0) return;
    u32 c[4];
    for (u32 j = 0; j < 4; ++j) {
      const u32 rank = first + static_cast<u32>(4 * lane()) + j;
      c[j] = rank < sent ? position[rank] & ((1u << low_bits) - 1) : 0;
    }
    store_block(
        c, sent - first < pack_block ? sent - first : static_cast<u32>(pack_block), low_bits,
        low + static_cast<std::size_t>(first / pack_block) * (16 * static_cast<std::size_t>(low_bits)));
  }
};

/// Reads the positions of an index block. Whatever the bytes are, it writes at most `sent` positions, none above n, and
/// their number.
struct ReadIndex {
  static constexpr u32 words = block_threads;  ///< per block, one per thread

  const unsigned char *high, *low;
  u32 high_bytes, sent, n;
  bool fano;
  int low_bits;
  u32* ticket;
  u64* states;
  u32* position;
  u32* found;

  static constexpr std::int64_t blocks(std::int64_t high_bytes) { return ceil_div(high_bytes, 4 * words); }

  PCOMP_GPU void operator()() const {
    PCOMP_SHARED std::uint16_t bit[32 * words];
    const u32 t = next_tile(ticket), begin = t * words * 4, at = begin + 4 * static_cast<u32>(thread());
    u32 word = 0;
    if (at + 4 <= high_bytes)
      word = *reinterpret_cast<const u32*>(high + at);
    else
      for (u32 b = 0; b < 4 && at + b < high_bytes; ++b) word |= static_cast<u32>(high[at + b]) << (8 * b);
    u32 total;
    u32 to = block_scan(static_cast<u32>(ones(word)), total);
    for (; word; word &= word - 1) bit[to++] = static_cast<std::uint16_t>(32 * thread() + lowest(word));
    const u32 rank = tile_prefix(states, t, t == 0, {total, 0}).a;
    for (u32 i = static_cast<u32>(thread()); i < total && rank + i < sent; i += block_threads) {
      u64 p = static_cast<u64>(begin) * 8 + bit[i];
      if (fano) {
        p = (p - (rank + i)) << low_bits;
        if (low_bits) p |= packed_code(low, sent, low_bits, rank + i);
      }
      position[rank + i] = p < n ? static_cast<u32>(p) : n;
    }
    if (at + 4 >= high_bytes && at < high_bytes) *found = rank + total < sent ? rank + total : sent;
  }
};

}  // namespace pcomp::detail::gpu
