#pragma once
#include <cmath>

#include "segments.cuh"

namespace pcomp::detail::gpu {

/// Elements that a block reads at a time: eight per thread.
inline constexpr u32 tile = 8 * block_threads;
inline constexpr u32 digit_bins = 2048;

/// What is known about one long segment's cut; starts as zeros.
struct Cut {
  u32 lo, hi;         ///< a bracket around it, both ends included
  u32 above, inside;  ///< keys above the bracket, and in it
  u32 key, known;     ///< the bits found so far, and their mask; in the end the cut
  u32 rest;           ///< its rank among the keys that share them; in the end how many equal ones survive
  u32 done;           ///< blocks that have finished a pass
};

/// The cuts of long segments. A sample brackets each cut; one pass over the input counts the keys above the bracket and
/// gathers those inside, and three rounds of radix selection read these alone. Where the sample misled they read the
/// input: always exact, and nothing waits for the host.
struct CutSearch {
  Source in;
  Segments segments;
  u32 blocks_each;  ///< blocks of one segment
  Cut* cuts;
  u32* bins;      ///< digit_bins per segment, zeros between rounds
  u32* gathered;  ///< room for `room` keys per segment
  u32 room;
  bool sampled;

  PCOMP_GPU bool bracketed(const Cut& c, u32 k) const {
    return sampled && c.inside <= room && c.above < k && k <= c.above + c.inside;
  }
  /// Calls f(key) for this block's share of a segment's keys.
  template <codec::SelectCodec S, bool plain, class F>
  PCOMP_GPU void each_key(u32 s, u32 part, F f) const {
    const u32 first = s * segments.segment, n = segments.size_of(s);
    for (u32 t = part; static_cast<u64>(t) * tile < n; t += blocks_each) {
      PCOMP_UNROLL
      for (u32 half = 0; half < 2; ++half) {
        const u32 i = t * tile + half * (tile / 2) + 4 * static_cast<u32>(thread());
        float v[4];
        if (i < n) in.four<plain>(first + i, v);
        PCOMP_UNROLL
        for (u32 j = 0; j < 4; ++j)
          if (i + j < n) f(score_of<S>(v[j], first + i + j));
      }
    }
  }
};

/// Brackets the cut of each segment by a sample of runs; one block per segment.
template <codec::SelectCodec S>
struct SampleCut {
  static constexpr u32 run = 16, runs = 512, size = run * runs;
  CutSearch search;

  PCOMP_GPU void operator()() const {
    PCOMP_SHARED u32 keys[size];
    const u32 s = block(), n = search.segments.size_of(s), k = search.segments.keep_of(s);
    Cut& cut = search.cuts[s];
    if (n < size || k == 0) return;
    for (u32 i = static_cast<u32>(thread()); i < size; i += block_threads) {
      const u32 at = s * search.segments.segment +
                     static_cast<u32>(static_cast<u64>(n - run) * (i / run) / (runs - 1)) + i % run;
      keys[i] = score_of<S>(search.in(at), at);
    }
    sync_block();
    // Neighbours are correlated, so a run counts for less than its length: twice the width of 4 sigma.
    const float share = static_cast<float>(k) / static_cast<float>(n),
                middle = static_cast<float>(size) * share;
    const float half = 8 * sqrtf(middle * (1 - share)) + 8;
    const auto key = [&](u32 i) { return keys[i]; };
    u32 lo = 0, hi = 0xffffffffu;
    if (middle + half + 1 <= static_cast<float>(size))
      lo = block_rank(size, static_cast<u32>(middle + half + 1), key).key;
    if (middle - half >= 1) hi = block_rank(size, static_cast<u32>(middle - half), key).key;
    if (thread() == 0) cut.lo = lo, cut.hi = hi;
  }
};

/// Counts the keys above each bracket and gathers those inside.
template <codec::SelectCodec S>
struct GatherInside {
  CutSearch search;

  PCOMP_GPU void operator()() const { search.in.plain ? gather<true>() : gather<false>(); }

 private:
  template <bool plain>
  PCOMP_GPU void gather() const {
    PCOMP_SHARED u32 at;
    const u32 s = block() / search.blocks_each, part = block() % search.blocks_each;
    const u32 first = s * search.segments.segment, n = search.segments.size_of(s);
    Cut& cut = search.cuts[s];
    const u32 lo = cut.lo, hi = cut.hi;
    u32* const gathered = search.gathered + static_cast<std::size_t>(s) * search.room;
    u32 above = 0, total;
    for (u32 t = part; static_cast<u64>(t) * tile < n; t += search.blocks_each) {
      u32 key[8], inside = 0;
      bool in[8];
      PCOMP_UNROLL
      for (u32 half = 0; half < 2; ++half) {
        const u32 i = t * tile + half * (tile / 2) + 4 * static_cast<u32>(thread());
        float v[4];
        if (i < n) search.in.four<plain>(first + i, v);
        PCOMP_UNROLL
        for (u32 j = 0; j < 4; ++j) {
          const u32 x = i + j < n ? score_of<S>(v[j], first + i + j) : 0;
          key[4 * half + j] = x;
          above += i + j < n && x > hi;
          in[4 * half + j] = i + j < n && x >= lo && x <= hi;
          inside += in[4 * half + j];
        }
      }
      u32 to = block_scan(inside, total);
      if (thread() == 0) at = total ? atomic_add(&cut.inside, total) : 0;
      sync_block();
      to += at;
      PCOMP_UNROLL
      for (u32 j = 0; j < 8; ++j)
        if (in[j]) {
          if (to < search.room) gathered[to] = key[j];
          ++to;
        }
      sync_block();
    }
    block_scan(above, total);
    if (thread() == 0 && total) atomic_add(&cut.above, total);
  }
};

/// One round of radix selection: counts a digit of the keys that share the bits found so far; the segment's last
/// block to finish finds the cut's digit.
template <codec::SelectCodec S>
struct FindDigit {
  CutSearch search;
  u32 shift, mask;
  bool first;

  PCOMP_GPU void operator()() const {
    PCOMP_SHARED u32 mine[digit_bins];
    const u32 s = block() / search.blocks_each, part = block() % search.blocks_each;
    const u32 k = search.segments.keep_of(s);
    if (k == 0) return;
    Cut& cut = search.cuts[s];
    u32* const bins = search.bins + static_cast<std::size_t>(s) * digit_bins;
    for (u32 b = static_cast<u32>(thread()); b < digit_bins; b += block_threads) mine[b] = 0;
    sync_block();
    const u32 known = cut.known, key = cut.key;
    const auto take = [&](u32 x) {
      if ((x & known) == key) atomic_add(&mine[(x >> shift) & mask], 1);
    };
    const bool bracketed = search.bracketed(cut, k);
    if (bracketed) {
      const u32* const gathered = search.gathered + static_cast<std::size_t>(s) * search.room;
      for (u32 i = part * block_threads + static_cast<u32>(thread()); i < cut.inside;
           i += search.blocks_each * block_threads)
        take(gathered[i]);
    } else {
      search.in.plain ? search.template each_key<S, true>(s, part, take)
                      : search.template each_key<S, false>(s, part, take);
    }
    const u32 rank = !first ? cut.rest : bracketed ? k - cut.above : k;
    sync_block();
    for (u32 b = static_cast<u32>(thread()); b < digit_bins; b += block_threads)
      if (mine[b]) atomic_add(&bins[b], mine[b]);
    if (!last_to_come(&cut.done, search.blocks_each)) return;
    const Ranked digit =
        bin_of_rank<digit_bins / block_threads>(rank, [&](u32 bin) { return fresh(bins + bin); });
    for (u32 b = static_cast<u32>(thread()); b < digit_bins; b += block_threads) bins[b] = 0;
    if (thread() == 0) {
      cut.key = key | digit.key << shift;
      cut.known = known | mask << shift;
      cut.rest = digit.rest;
      cut.done = 0;
    }
  }
};

/// Writes the survivors of long segments in order: each tile learns by look-back how many come before it.
template <codec::SelectCodec S>
struct Compact {
  Source in;
  Segments segments;
  const Cut* cuts;
  u32* ticket;
  u64* states;
  u32 tiles_each;
  Survivors out;

  PCOMP_GPU void operator()() const {
    PCOMP_SHARED u32 position[tile];
    PCOMP_SHARED float value[tile];
    in.plain ? compact<true>(position, value) : compact<false>(position, value);
  }

 private:
  template <bool plain>
  PCOMP_GPU void compact(u32* position, float* value) const {
    const u32 t = next_tile(ticket), s = t / tiles_each, within = t % tiles_each;
    const u32 first = s * segments.segment, n = segments.size_of(s), k = segments.keep_of(s);
    const Cut& cut = cuts[s];
    const u32 ties = k ? cut.rest : 0;
    float v[8];
    bool over[8], tie[8];
    u64 mine = 0;  // keys above and at the cut in each half, 16 bits each
    PCOMP_UNROLL
    for (u32 half = 0; half < 2; ++half) {
      const u32 i = within * tile + half * (tile / 2) + 4 * static_cast<u32>(thread());
      if (i < n) in.four<plain>(first + i, v + 4 * half);
      PCOMP_UNROLL
      for (u32 j = 0; j < 4; ++j) {
        const bool there = i + j < n && k > 0;
        const u32 x = there ? score_of<S>(v[4 * half + j], first + i + j) : 0;
        over[4 * half + j] = there && x > cut.key;
        tie[4 * half + j] = there && x == cut.key;
        mine += static_cast<u64>(over[4 * half + j]) << (32 * half);
        mine += static_cast<u64>(tie[4 * half + j]) << (32 * half + 16);
      }
    }
    u64 total;
    u64 before = block_scan(mine, total);
    const auto field = [](u64 x, u32 f) { return static_cast<u32>(x >> (16 * f)) & 0xffffu; };
    const Counts own{field(total, 0) + field(total, 2), field(total, 1) + field(total, 3)};
    const Counts prefix = tile_prefix(states, t, within == 0, own);
    const auto least = [](u32 a, u32 b) { return a < b ? a : b; };
    const u32 begin = prefix.a + least(prefix.b, ties);
    const u32 end = prefix.a + own.a + least(prefix.b + own.b, ties);
    PCOMP_UNROLL
    for (u32 half = 0; half < 2; ++half) {
      u32 a = prefix.a + field(before, 2 * half) + half * field(total, 0);
      u32 e = prefix.b + field(before, 2 * half + 1) + half * field(total, 1);
      PCOMP_UNROLL
      for (u32 j = 0; j < 4; ++j) {
        if (over[4 * half + j] || (tie[4 * half + j] && e < ties)) {
          const u32 at = a + least(e, ties) - begin;
          position[at] = first + within * tile + half * (tile / 2) + 4 * static_cast<u32>(thread()) + j;
          value[at] = v[4 * half + j];
        }
        a += over[4 * half + j], e += tie[4 * half + j];
      }
    }
    sync_block();
    for (u32 i = static_cast<u32>(thread()); begin + i < end; i += block_threads) {
      out.position[s * segments.keep + begin + i] = position[i];
      out.value[s * segments.keep + begin + i] = value[i];
    }
  }
};

}  // namespace pcomp::detail::gpu
