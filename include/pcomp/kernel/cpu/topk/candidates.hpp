#pragma once
#include <algorithm>
#include <atomic>
#include <cmath>

#include "../coded_source.hpp"
#include "../scratch.hpp"
#include "../simd/simd.hpp"

namespace pcomp::detail {

/// How a selection's segments are cut into pieces of at most `chunk` elements, each read as a whole.
///
/// A piece lies within one segment, or holds whole short ones; so the rank of a short segment's first
/// survivor is known.
struct Segments {
  std::int64_t n, segment;           // elements in total, and of every segment but a shorter last one
  std::int64_t keep, keep_last;      // survivors of a segment, and of the last if it is shorter
  std::int64_t pieces_each, pieces;  // of a long segment, and in total

  Segments(std::int64_t elements, std::int64_t each, std::int64_t k, std::int64_t k_last)
      : n(elements), segment(std::max<std::int64_t>(each, 1)), keep(k), keep_last(k_last) {
    const std::int64_t full = n / segment, rest = n % segment;
    pieces_each = ceil_div(segment, chunk);
    pieces =
        is_short() ? ceil_div(full + (rest > 0), per_piece()) : full * pieces_each + ceil_div(rest, chunk);
  }

  bool is_short() const { return segment <= chunk; }
  std::int64_t per_piece() const { return chunk / segment; }
  std::int64_t count() const { return ceil_div(n, segment); }

  /// The segment a piece lies in (the first of them, for short ones).
  std::int64_t segment_of(std::int64_t piece) const {
    return is_short() ? piece * per_piece() : piece / pieces_each;
  }
  std::int64_t begin_of(std::int64_t piece) const {
    return is_short() ? piece * per_piece() * segment
                      : segment_of(piece) * segment + piece % pieces_each * chunk;
  }
  std::int64_t end_of(std::int64_t piece) const {
    return is_short() ? std::min(n, begin_of(piece) + per_piece() * segment)
                      : std::min({n, begin_of(piece) + chunk, (segment_of(piece) + 1) * segment});
  }
  std::int64_t keep_of(std::int64_t s) const { return (s + 1) * segment <= n ? keep : keep_last; }
  std::int64_t size_of(std::int64_t s) const { return std::min(segment, n - s * segment); }
};

/// What survives of a segment: all keys above `key`, and the first `ties` that equal it.
struct Cut {
  std::int32_t key = std::numeric_limits<std::int32_t>::max();
  std::int64_t ties = 0;
};

/// An array into which several threads put runs of values, each run contiguous.
///
/// Law: a run lies where `put` says; runs that do not fit are lost, and `overflown` says so.
template <class T>
class SharedList {
 public:
  /// Room for `count` values, whatever each writer leaves unused of a block.
  void make(Scratch& frame, std::int64_t count, std::int64_t writers) {
    room_ = count + writers * block;
    all_ = frame.take<T>(room_ + slack);
  }
  const T* data() const { return all_.data(); }
  bool overflown() const { return used_.load(std::memory_order_relaxed) > room_; }

  /// One thread's writer: reserves a block at a time, as threads that reserved for every run would contend.
  class Writer {
   public:
    explicit Writer(SharedList& list) : list_(&list) {}
    /// Puts a run; returns where it begins.
    std::int64_t put(const T* run, std::int64_t count) {
      if (at_ + count > end_) {
        const std::int64_t size = std::max(count, block);
        at_ = list_->used_.fetch_add(size, std::memory_order_relaxed);
        end_ = at_ + size;
      }
      if (end_ <= list_->room_) std::copy_n(run, count, list_->all_.data() + at_);
      at_ += count;
      return at_ - count;
    }

   private:
    SharedList* list_;
    std::int64_t at_ = 0, end_ = 0;
  };

 private:
  static constexpr std::int64_t block = 4 * chunk;

  std::int64_t room_ = 0;
  std::span<T> all_;
  alignas(128) std::atomic<std::int64_t> used_{0};
};

/// A segment of at most this many elements is gathered whole instead of sampled.
inline constexpr std::int64_t gathered_whole = 8 * chunk;
/// The fewest pieces worth another thread, and how many threads then share n elements.
inline constexpr std::int64_t sweep_grain = 16;
inline std::int64_t sweep_writers(std::int64_t n) {
  return std::clamp<std::int64_t>(n / (sweep_grain * chunk), 1, 64);
}
/// The length of a run of consecutive elements that are sampled together, and how many runs sample n elements.
inline constexpr std::int64_t sample_run = 16;
inline std::int64_t sample_runs(std::int64_t n) { return std::clamp<std::int64_t>(n / 512, 128, 4096); }

/// The fewest runs, and the fewest pieces whose gathered keys hold the cut, that are worth another thread.
inline constexpr std::int64_t runs_grain = 1024, cut_grain = 512;

/// Half the ranks that a bracket spans among m sampled keys, `share` of which survive.
/// Neighbours are correlated, so a run counts for less than its length: twice the width of 4 sigma.
inline double half_bracket(std::int64_t m, double share) {
  return 8 * std::sqrt(static_cast<double>(m) * share * (1 - share)) + 8;
}
/// The whole width, as a share of all ranks.
inline double bracket_width(std::int64_t m, double share) {
  return 2 * half_bracket(m, share) / static_cast<double>(m);
}

/// Two keys between which the cut almost surely lies, and the expected share of all keys there.
struct Bracket {
  std::int32_t lo, hi;
  double inside;
};

/// From m sampled keys, `share` of which survive; overwrites them and needs room for a vector past their end.
inline Bracket bracket_of(std::int32_t* sample, std::int64_t m, double share) {
  constexpr auto least = std::numeric_limits<std::int32_t>::min(),
                 most = std::numeric_limits<std::int32_t>::max();
  const double half = half_bracket(m, share), middle = static_cast<double>(m) * share;
  const auto from = static_cast<std::int64_t>(middle - half),
             to = static_cast<std::int64_t>(middle + half) + 1;
  Bracket b{least, most, bracket_width(m, share)};
  if (to > m && from < 1) return b;
  const std::array<std::int64_t, 2> rank{std::max<std::int64_t>(from, 1), std::min(to, m)};
  Scratch frame;
  const auto key = PCOMP_DISPATCH(two_highest)(sample, frame.take<std::int32_t>(m + slack).data(), m, rank);
  if (from >= 1) b.hi = key[0];
  if (to <= m) b.lo = key[1];
  return b;
}

/// What the counting sweep saw above the lower end of its bracket: enough to emit the survivors without reading
/// the source again.
///
/// Law: one value for each set bit of a piece's mask, in order. Kept where at most a quarter of the elements survive,
///   so that it stays well below the tensor's own size.
class Candidates {
 public:
  /// One piece: `count` values, perhaps with places, and a mask word per 64 elements.
  struct Of {
    const float* value;
    const std::uint8_t* place;  // of each value within its eight elements, if there are places
    const std::uint64_t* mask;
    std::int64_t count;
  };

  Candidates(Scratch& frame, const Segments& s, std::int64_t writers) {
    const double share = s.segment ? static_cast<double>(s.keep) / static_cast<double>(s.segment) : 1;
    if (s.segment <= gathered_whole || share > 0.25) return;
    const double most = share + bracket_width(sample_runs(s.segment) * sample_run, share);
    const auto room = static_cast<std::int64_t>(most * static_cast<double>(s.n));
    value_.make(frame, room, writers * s.count());
    if (places_) place_.make(frame, room, writers * s.count());
    mask_ = frame.take<std::uint64_t>(s.pieces * words);
    start_ = frame.take<Start>(s.pieces);
    count_ = frame.take<std::int32_t>(s.pieces);
    std::fill(count_.begin(), count_.end(), none);
  }

  /// Whether pieces are to be put here, and whether this one was; if not, it is read from the source again.
  bool takes() const { return !count_.empty() && !value_.overflown() && !place_.overflown(); }
  bool has(std::int64_t piece) const { return takes() && count_[static_cast<std::size_t>(piece)] != none; }
  /// Drops these pieces: what was seen of them is not enough.
  void forget(std::int64_t first, std::int64_t pieces) {
    if (!count_.empty()) std::fill_n(count_.begin() + first, pieces, none);
  }

  std::uint64_t* mask(std::int64_t piece) { return mask_.data() + piece * words; }
  /// One thread's writer of what pieces hold.
  class Writer {
   public:
    explicit Writer(Candidates& list) : list_(list), values_(list.value_), places_(list.place_) {}
    void put(std::int64_t piece, const float* value, const std::uint8_t* place, std::int32_t count) {
      const auto p = static_cast<std::size_t>(piece);
      list_.start_[p] = {values_.put(value, count), list_.places_ ? places_.put(place, count) : 0};
      list_.count_[p] = count;
    }

   private:
    Candidates& list_;
    SharedList<float>::Writer values_;
    SharedList<std::uint8_t>::Writer places_;
  };

  Of of(std::int64_t piece) const {
    const auto p = static_cast<std::size_t>(piece);
    return {value_.data() + start_[p].value, places_ ? place_.data() + start_[p].place : nullptr,
            mask_.data() + piece * words, count_[p]};
  }

 private:
  static constexpr std::int64_t words = chunk / 64;
  static constexpr std::int32_t none = -1;

  struct Start {
    std::int64_t value, place;
  };

  const bool places_ = PCOMP_DISPATCH(gives_places)();
  std::span<std::uint64_t> mask_;
  std::span<Start> start_;
  std::span<std::int32_t> count_;
  SharedList<float> value_;
  SharedList<std::uint8_t> place_;
};

}  // namespace pcomp::detail
