#pragma once
#include "../../codec/topk.hpp"
#include "../../base/ratio.hpp"
#include "rank.cuh"
#include "source.cuh"

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
