#pragma once
#include "collectives.cuh"

namespace pcomp::detail::gpu {

/// The key of a rank, 1 being the highest, and that rank among the keys that equal it.
struct Ranked {
  u32 key, rest;
};

/// In a histogram of 256 * per_thread counts, the bin that holds `rank`, counted from the highest bin down, and the
/// rank within it. Every thread of the block must call it; `count(bin)` reads one count.
template <int per_thread, class Count>
PCOMP_GPU Ranked bin_of_rank(u32 rank, Count count) {
  PCOMP_SHARED Ranked found;
  const u32 top = (block_threads - 1 - static_cast<u32>(thread())) * per_thread + per_thread - 1;
  u32 mine = 0, total;
  for (u32 j = 0; j < per_thread; ++j) mine += count(top - j);
  u32 before = block_scan(mine, total);
  if (before < rank && rank <= before + mine)
    for (u32 j = 0; j < per_thread; ++j) {
      const u32 here = count(top - j);
      if (rank <= before + here) {
        found = {top - j, rank - before};
        break;
      }
      before += here;
    }
  sync_block();
  const Ranked r = found;
  sync_block();
  return r;
}

/// The key of rank `rank` among n keys, by radix selection, eight bits a round. Every thread of the block must call it.
template <class Key>
PCOMP_GPU Ranked block_rank(u32 n, u32 rank, Key key) {
  PCOMP_SHARED u32 bins[256];
  u32 prefix = 0, known = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    bins[thread()] = 0;
    sync_block();
    for (u32 i = static_cast<u32>(thread()); i < n; i += block_threads)
      if (const u32 x = key(i); (x & known) == prefix) atomic_add(&bins[(x >> shift) & 255u], 1);
    sync_block();
    const Ranked r = bin_of_rank<1>(rank, [&](u32 bin) { return bins[bin]; });
    prefix |= r.key << shift;
    known |= 255u << shift;
    rank = r.rest;
  }
  return {prefix, rank};
}

}  // namespace pcomp::detail::gpu
