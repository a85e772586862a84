#pragma once
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

}  // namespace pcomp::detail
