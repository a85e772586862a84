#pragma once
#include "lane.cuh"

namespace pcomp::detail::gpu {

/// Threads per block, in every kernel.
inline constexpr int block_threads = 256;
inline constexpr int block_warps = block_threads / 32;

template <class T>
PCOMP_GPU T warp_sum(T v) {
  for (int d = 16; d; d /= 2) v += shuffle_xor(v, d);
  return v;
}

/// The sum over the threads before this one, and over all of them. Every thread of the block must call it.
template <class T>
PCOMP_GPU T block_scan(T v, T& total) {
  PCOMP_SHARED T sums[block_warps];
  T up = v;
  for (int d = 1; d < 32; d *= 2) {
    const T below = shuffle_up(up, d);
    if (lane() >= d) up += below;
  }
  if (lane() == 31) sums[warp()] = up;
  sync_block();
  T before = 0;
  total = 0;
  for (int w = 0; w < block_warps; ++w) {
    if (w < warp()) before += sums[w];
    total += sums[w];
  }
  sync_block();
  return before + up - v;
}

/// Two counts below 2^31.
struct Counts {
  u32 a, b;
};
PCOMP_GPU u64 packed(Counts c) { return static_cast<u64>(c.a) << 31 | c.b; }
PCOMP_GPU Counts unpacked(u64 v) {
  return {static_cast<u32>(v >> 31) & 0x7fffffffu, static_cast<u32>(v) & 0x7fffffffu};
}

/// The counts of all tiles before this one, by decoupled look-back (Merrill and Garland, 2016): a tile publishes its
/// counts, adds its predecessors' until one knows its prefix, and publishes its own prefix. A state is one word, so no
/// other memory needs ordering. Tiles must have been handed out in ascending order by `next_tile`.
///
/// Shapes: `state` starts as zeros; a `first` tile begins a new sum. Every thread of the block must call it.
PCOMP_GPU Counts tile_prefix(u64* state, u32 tile, bool first, Counts own) {
  constexpr u64 partial = u64{1} << 62, whole = u64{2} << 62, value = partial - 1;
  PCOMP_SHARED u64 shared;
  if (warp() == 0) {
    u64 sum = 0;
    if (!first) {
      if (lane() == 0) publish(state + tile, partial | packed(own));
      for (u32 end = tile;; end -= 32) {  // lane i reads tile end - 1 - i
        u64 seen = whole;                 // there is nothing before the very first tile
        if (static_cast<u32>(lane()) < end) {
          const u64* at = state + (end - 1 - static_cast<u32>(lane()));
          do seen = fresh(at);
          while (seen >> 62 == 0);
        }
        const u32 known = ballot(seen >> 62 == 2);
        const int stop = known ? lowest(known) : 31;
        sum += warp_sum(lane() <= stop ? seen & value : u64{0});
        if (known) break;
      }
    }
    if (lane() == 0) {
      publish(state + tile, whole | (sum + packed(own)));
      shared = sum;
    }
  }
  sync_block();
  const Counts before = unpacked(shared);
  sync_block();
  return before;
}

/// Hands out tiles 0, 1, 2, ... in the order in which blocks begin.
PCOMP_GPU u32 next_tile(u32* ticket) {
  PCOMP_SHARED u32 tile;
  if (thread() == 0) tile = atomic_add(ticket, 1);
  sync_block();
  const u32 mine = tile;
  sync_block();
  return mine;
}

/// Whether this block is the last of `blocks` to arrive here; it then sees all that the others wrote before.
PCOMP_GPU bool last_to_come(u32* count, u32 blocks) {
  PCOMP_SHARED bool last;
  fence();
  sync_block();
  if (thread() == 0) last = atomic_add(count, 1) == blocks - 1;
  sync_block();
  const bool mine = last;
  if (mine) fence();
  sync_block();
  return mine;
}

}  // namespace pcomp::detail::gpu
