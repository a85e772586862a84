#pragma once
#include "../../wire/layout.hpp"
#include "../../wire/packing.hpp"
#include "pack.cuh"
#include "queue.cuh"
#include "threshold.cuh"

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

namespace pcomp::detail::gpu {

/// Allocates places in a workspace, each at a multiple of 256 bytes.
struct Slots {
  std::int64_t bytes = 0;
  constexpr std::int64_t take(std::int64_t size) {
    const std::int64_t at = bytes;
    bytes += (size + 255) / 256 * 256;
    return at;
  }
};

/// What a selection needs, which follows from its extents alone.
struct SelectPlan {
  Segments segments{};
  bool fits_a_block = false, sampled = false;
  std::int64_t blocks_each = 0, tiles_each = 0, tiles = 0, room = 0;
  std::int64_t cuts = 0, bins = 0, states = 0, ticket = 0;  // zeros at first
  std::int64_t gathered = 0, position = 0, value = 0;

  static constexpr std::int64_t least_sampled = 1 << 17, most_blocks = 1024;

  template <codec::SelectCodec S>
  static constexpr SelectPlan of(const Layout& l) {
    SelectPlan p;
    const std::int64_t segment = S::segment(l.shaped) < l.n ? S::segment(l.shaped) : l.n,
                       rest = l.n % segment;
    p.segments = {static_cast<u32>(l.n), static_cast<u32>(segment), static_cast<u32>(S::keep(segment)),
                  static_cast<u32>(S::keep(rest))};
    p.fits_a_block = segment <= SelectShort<S>::most;
    p.sampled = segment >= least_sampled;
    p.tiles_each = ceil_div(segment, tile);
    p.tiles = l.n / segment * p.tiles_each + ceil_div(rest, tile);
    p.blocks_each = p.tiles_each < most_blocks ? p.tiles_each : most_blocks;
    p.room = p.sampled ? segment / 8 : 0;  // a bracket holds 6 % of normal values
    return p;
  }
  constexpr std::int64_t count() const { return ceil_div(segments.n, segments.segment); }

  constexpr void take_zeros(Slots& s) {
    if (fits_a_block) return;
    cuts = s.take(count() * static_cast<std::int64_t>(sizeof(Cut)));
    bins = s.take(count() * digit_bins * 4);
    states = s.take(tiles * 8);
    ticket = s.take(4);
  }
  constexpr void take_rest(Slots& s, std::int64_t sent) {
    position = s.take(4 * sent);
    value = s.take(4 * sent);
    gathered = s.take(4 * room * count());
  }
};

template <class T>
T* slot(std::byte* workspace, std::int64_t at) {
  return reinterpret_cast<T*>(workspace + at);
}

/// Finds and lists the survivors of a selection.
template <codec::SelectCodec S>
Survivors select(const Queue& q, const Source& source, const SelectPlan& p, std::byte* workspace) {
  using Score = Scoring<S>;
  const Survivors out{slot<u32>(workspace, p.position), slot<float>(workspace, p.value)};
  if (p.fits_a_block) {
    q.launch(SelectShort<Score>{source, p.segments, out}, p.count());
    return out;
  }
  const CutSearch search{source,
                         p.segments,
                         static_cast<u32>(p.blocks_each),
                         slot<Cut>(workspace, p.cuts),
                         slot<u32>(workspace, p.bins),
                         slot<u32>(workspace, p.gathered),
                         static_cast<u32>(p.room),
                         p.sampled};
  if (p.sampled) {
    q.launch(SampleCut<Score>{search}, p.count());
    q.launch(GatherInside<Score>{search}, p.count() * p.blocks_each);
  }
  q.launch(FindDigit<Score>{search, 21, 2047, true}, p.count() * p.blocks_each);
  q.launch(FindDigit<Score>{search, 10, 2047, false}, p.count() * p.blocks_each);
  q.launch(FindDigit<Score>{search, 0, 1023, false}, p.count() * p.blocks_each);
  q.launch(Compact<Score>{source, p.segments, search.cuts, slot<u32>(workspace, p.ticket),
                          slot<u64>(workspace, p.states), static_cast<u32>(p.tiles_each), out},
           p.tiles);
  return out;
}

/// What reading an index block needs.
struct ReadPlan {
  std::int64_t ticket = 0, states = 0, found = 0;  // zeros at first
  std::int64_t position = 0;

  constexpr void take_zeros(Slots& s, const Layout& l) {
    ticket = s.take(4);
    found = s.take(4);
    states = s.take(8 * ReadIndex::blocks(l.index.high_bytes));
  }
  constexpr void take_rest(Slots& s, const Layout& l) { position = s.take(4 * l.sent); }
};

inline unsigned char* bytes_at(std::byte* p, std::int64_t at) {
  return reinterpret_cast<unsigned char*>(p + at);
}
inline const unsigned char* bytes_at(const std::byte* p, std::int64_t at) {
  return reinterpret_cast<const unsigned char*>(p + at);
}

inline void read_index(const Queue& q, const std::byte* index, const Layout& l, const ReadPlan& p,
                       std::byte* workspace) {
  const bool fano = l.index.kind == IndexFormat::elias_fano;
  q.launch(ReadIndex{bytes_at(index, 0), bytes_at(index, l.index.low_at),
                     static_cast<u32>(l.index.high_bytes), static_cast<u32>(l.sent), static_cast<u32>(l.n),
                     fano, l.index.low_bits, slot<u32>(workspace, p.ticket), slot<u64>(workspace, p.states),
                     slot<u32>(workspace, p.position), slot<u32>(workspace, p.found)},
           ReadIndex::blocks(l.index.high_bytes));
}

inline void write_index(const Queue& q, const u32* position, const Layout& l, std::byte* out) {
  const bool fano = l.index.kind == IndexFormat::elias_fano;
  q.launch(WriteIndex{position, static_cast<u32>(l.sent), fano, l.index.low_bits, bytes_at(out, 0),
                      bytes_at(out, l.index.low_at)},
           WriteIndex::blocks(l.sent));
}

}  // namespace pcomp::detail::gpu
