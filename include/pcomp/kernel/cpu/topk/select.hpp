#pragma once
#include "threshold.hpp"

namespace pcomp::detail {

/// One selection: the rank of every survivor is known before the first is written.
template <codec::SelectCodec S, class Source>
class Selection {
 public:
  Selection(const Source& source, const Extents& shaped, const kernel::ParallelFor& par)
      : source_(source),
        segments_(shaped.size(), S::segment(shaped), S::keep(S::segment(shaped)),
                  S::keep(S::segment(shaped) ? shaped.size() % S::segment(shaped) : 0)),
        kept_(frame_, segments_, sweep_writers(segments_.segment)) {
    if (segments_.is_short()) return;
    pieces_ = frame_.template take<Piece>(segments_.pieces);
    starts_ = frame_.template take<std::int64_t>(segments_.pieces);
    cuts_ = frame_.template take<std::int32_t>(segments_.count());
    const Search search(source, segments_, par, kept_);
    for (std::int64_t s = 0; s < segments_.count(); ++s)
      cuts_[static_cast<std::size_t>(s)] = search.find(s, pieces_.data() + s * segments_.pieces_each).key;
    std::int64_t rank = 0;
    for (std::size_t p = 0; p < pieces_.size(); ++p) {
      starts_[p] = rank;
      rank += pieces_[p].above + pieces_[p].ties;
    }
  }

  /// Passes on the survivors of ranks [begin, end), `begin` a multiple of `chunk`:
  /// mask(position, words, bits)              which of `bits` positions from `position` on survive, ascending
  /// values(rank, values, count)              their values, in runs of `chunk` except for the last
  /// Of a selection whose scores change between calls, fewer may be found than there should be.
  template <class Mask, class Values>
  void emit(std::int64_t begin, std::int64_t end, Mask&& mask, Values&& values) const {
    if (begin >= end) return;
    float value[2 * chunk + slack], buffer[chunk];
    std::uint64_t word[chunk / 64];
    std::uint8_t places[chunk + slack];
    std::int64_t piece = piece_of(begin), skip = begin - start_of(piece), held = 0;
    auto cursor = source_.cursor(segments_.begin_of(piece));
    for (std::int64_t rank = begin, next = begin; rank < end && piece < segments_.pieces; ++piece) {
      const std::int64_t i = segments_.begin_of(piece), n = segments_.end_of(piece) - i;
      if (!segments_.is_short() && !any(piece)) continue;
      const std::uint8_t* place = nullptr;
      std::int64_t found = kept_.has(piece)
                               ? narrowed(piece, n, value + held, word, places, place)
                               : compact(piece, cursor.load(i, n, buffer), i, n, value + held, word);
      if (skip) {
        skip = std::min(skip, found);
        drop_first(word, skip);
        found -= skip;
        std::copy_n(value + held + skip, found, value + held);
        if (place) place += skip;
        skip = 0;
      }
      if (next + found > end) {
        found = end - next;
        keep_first(word, ceil_div(n, 64), found);
      }
      if (found > 0) mask(i, word, n, std::span(place, place ? static_cast<std::size_t>(found) : 0));
      next += found, held += found;
      while (held >= chunk || (held > 0 && rank + held == end)) {
        const std::int64_t count = std::min(held, chunk);
        values(rank, static_cast<const float*>(value), count);
        rank += count, held -= count;
        std::copy_n(value + count, held, value);
      }
    }
  }

 private:
  using Search = ThresholdSearch<S, Source>;
  using Piece = typename Search::Piece;

  bool any(std::int64_t piece) const {
    const Piece& p = pieces_[static_cast<std::size_t>(piece)];
    return p.above + p.ties > 0;
  }
  std::int64_t piece_of(std::int64_t rank) const {
    if (segments_.is_short())
      return segments_.keep ? rank / (segments_.keep * segments_.per_piece()) : segments_.pieces - 1;
    return std::upper_bound(starts_.begin(), starts_.end(), rank) - starts_.begin() - 1;
  }
  std::int64_t start_of(std::int64_t piece) const {
    return segments_.is_short() ? piece * segments_.per_piece() * segments_.keep
                                : starts_[static_cast<std::size_t>(piece)];
  }

  static void drop_first(std::uint64_t* word, std::int64_t ones) {
    for (; ones > 0 && ones >= std::popcount(*word); *word++ = 0) ones -= std::popcount(*word);
    for (; ones > 0; --ones) *word &= *word - 1;
  }
  static void keep_first(std::uint64_t* word, std::int64_t words, std::int64_t ones) {
    for (std::int64_t w = 0; w < words; ++w) {
      const auto here = std::popcount(word[w]);
      if (ones < here) {
        std::uint64_t rest = word[w];
        for (std::int64_t j = 0; j < ones; ++j) rest &= rest - 1;
        word[w] &= ~rest;
      }
      ones = std::max<std::int64_t>(0, ones - here);
    }
  }

  /// `place` becomes where their places are, if there are any.
  std::int64_t narrowed(std::int64_t piece, std::int64_t n, float* value, std::uint64_t* word,
                        std::uint8_t* places, const std::uint8_t*& place) const {
    const Piece& p = pieces_[static_cast<std::size_t>(piece)];
    const std::int32_t cut = cuts_[static_cast<std::size_t>(segments_.segment_of(piece))];
    const Candidates::Of c = kept_.of(piece);
    if (c.place) place = places;
    return PCOMP_DISPATCH(narrow<S>)(c.value, c.place, c.count, cut, std::int64_t{p.ties}, p.ties == p.equal,
                                     c.mask, ceil_div(n, 64), value, places, word);
  }

  std::int64_t compact(std::int64_t piece, const float* v, std::int64_t i, std::int64_t n, float* value,
                       std::uint64_t* word) const {
    if (!segments_.is_short()) {
      const Piece& p = pieces_[static_cast<std::size_t>(piece)];
      const std::int32_t cut = cuts_[static_cast<std::size_t>(segments_.segment_of(piece))];
      return PCOMP_DISPATCH(compact_piece<S>)(v, i, n, cut, std::int64_t{p.ties}, p.ties == p.equal, value,
                                              word);
    }
    std::fill_n(word, ceil_div(n, 64), std::uint64_t{0});
    std::int64_t c = 0, at = 0;
    for (std::int64_t s = segments_.segment_of(piece); at < n; at += segments_.segment, ++s) {
      const std::int64_t m = std::min(segments_.segment, n - at), k = segments_.keep_of(s);
      if (k <= 0) continue;
      c += PCOMP_DISPATCH(compact_short<S>)(v + at, i + at, m, k, at, value + c, word);
    }
    return c;
  }

  Scratch frame_;
  const Source& source_;
  Segments segments_;
  Candidates kept_;
  std::span<Piece> pieces_;
  std::span<std::int64_t> starts_;
  std::span<std::int32_t> cuts_;
};

}  // namespace pcomp::detail
