#pragma once
#include "../../base/ratio.hpp"
#include "../../codec/topk.hpp"
#include "collectives.cuh"
#include "source.cuh"

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

namespace pcomp::detail::gpu {

/// All selections by magnitude share their kernels.
template <codec::SelectCodec S>
using Scoring = std::conditional_t<is_magnitude<S>, ops::TopK<Ratio<1, 1>, PerTensor>, S>;

/// A selection's segments, each of which keeps its highest keys; ranks of survivors follow from that.
struct Segments {
  u32 n, segment;       ///< elements in total, and of every segment but a shorter last one
  u32 keep, keep_last;  ///< survivors of a segment, and of the last if it is shorter

  PCOMP_HD u32 count() const { return n / segment + (n % segment > 0); }
  PCOMP_HD u32 size_of(u32 s) const { return n - s * segment < segment ? n - s * segment : segment; }
  PCOMP_HD u32 keep_of(u32 s) const { return n - s * segment < segment ? keep_last : keep; }
};

/// The survivors' positions and values, by rank.
struct Survivors {
  u32* position;
  float* value;
};

/// Selects and compacts segments that fit into a block's shared memory, one block each.
template <codec::SelectCodec S>
struct SelectShort {
  static constexpr u32 most = 8192;

  Source in;
  Segments segments;
  Survivors out;

  PCOMP_GPU void operator()() const {
    PCOMP_SHARED u32 keys[most];
    const u32 s = block(), first = s * segments.segment, n = segments.size_of(s), k = segments.keep_of(s);
    if (k == 0) return;
    for (u32 i = static_cast<u32>(thread()); i < n; i += block_threads)
      keys[i] = score_of<S>(in(first + i), first + i);
    sync_block();
    const Ranked cut = block_rank(n, k, [&](u32 i) { return keys[i]; });
    u32 above = 0, equal = 0;  // before this round
    for (u32 begin = 0; begin < n; begin += block_threads) {
      const u32 i = begin + static_cast<u32>(thread());
      const u32 key = i < n ? keys[i] : 0;
      const bool over = i < n && key > cut.key, tie = i < n && key == cut.key;
      u32 total;
      const u32 before = block_scan(static_cast<u32>(over) | static_cast<u32>(tie) << 16, total);
      const u32 ties = equal + (before >> 16);
      if (over || (tie && ties < cut.rest)) {
        const u32 rank = s * segments.keep + above + (before & 0xffffu) + (ties < cut.rest ? ties : cut.rest);
        out.position[rank] = first + i;
        out.value[rank] = in(first + i);
      }
      above += total & 0xffffu, equal += total >> 16;
    }
  }
};

}  // namespace pcomp::detail::gpu
