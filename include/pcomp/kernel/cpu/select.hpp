#pragma once
#include "threshold.hpp"

namespace pcomp::detail {

template <SelectCodec S>
struct ScoreChunk {
  PCOMP_INLINE static void run(const float* v, std::int64_t first, std::int64_t n, std::uint32_t* score) {
    for (std::int64_t i = 0; i < n; ++i) score[i] = S::score(v[i], first + i);
  }
};

/// Appends the survivors of one segment's range to `position` and `value`: all above the cut, and the first
/// `ties` on it.
struct Compact {
  PCOMP_INLINE static std::int64_t run(const float* v, const std::uint32_t* score, std::int64_t first,
                                       std::int64_t n, std::uint32_t cut, std::int64_t ties,
                                       std::int64_t* position, float* value) {
    std::int64_t c = 0;
    if (ties == 0) {
      for (std::int64_t i = 0; i < n; ++i) {
        position[c] = first + i;
        value[c] = v[i];
        c += score[i] > cut;
      }
    } else {
      for (std::int64_t i = 0; i < n; ++i) {
        position[c] = first + i;
        value[c] = v[i];
        const bool tie = score[i] == cut && ties > 0;
        ties -= tie;
        c += score[i] > cut || tie;
      }
    }
    return c;
  }
};

/// One selection: every survivor's place among all of them is known before the first is written.
template <SelectCodec S, class Source>
class Selection {
 public:
  Selection(const Source& source, const Extents& shaped, const ParallelFor& par)
      : source_(source),
        segments_(shaped.size(), S::segment(shaped), S::keep(S::segment(shaped)),
                  S::keep(S::segment(shaped) ? shaped.size() % S::segment(shaped) : 0)) {
    if (segments_.is_short()) return;
    auto scores = [this](std::int64_t i, std::int64_t n, std::uint32_t* out) {
      float buffer[chunk];
      auto cursor = source_.cursor(i);
      simd<ScoreChunk<S>>(cursor.load(i, n, buffer), i, n, out);
    };
    const ThresholdSearch search(segments_, Scores(scores), par);
    pieces_.resize(static_cast<std::size_t>(segments_.pieces));
    for (std::int64_t s = 0; s < segments_.count(); ++s)
      cuts_.push_back(search.find(s, pieces_.data() + s * segments_.pieces_each).score);
    starts_.reserve(pieces_.size());
    std::int64_t rank = 0;
    for (const auto& p : pieces_) {
      starts_.push_back(rank);
      rank += p.above + p.ties;
    }
  }

  /// Calls sink(first rank, positions, values, count) for the survivors of ranks [begin, end), in runs of
  /// `chunk` but for the last; `begin` is a multiple of `chunk`.
  template <class Sink>
  void emit(std::int64_t begin, std::int64_t end, Sink&& sink) const {
    if (begin >= end) return;
    std::int64_t position[2 * chunk + 1];
    float value[2 * chunk + 1], buffer[chunk];
    std::uint32_t score[chunk];
    std::int64_t piece = piece_of(begin), skip = begin - start_of(piece), held = 0;
    auto cursor = source_.cursor(segments_.begin_of(piece));
    for (std::int64_t rank = begin; rank < end; ++piece) {
      const std::int64_t i = segments_.begin_of(piece), n = segments_.end_of(piece) - i;
      const float* v = cursor.load(i, n, buffer);
      simd<ScoreChunk<S>>(v, i, n, static_cast<std::uint32_t*>(score));
      held += compact(piece, v, score, i, n, position + held, value + held);
      if (skip) {
        held -= skip;
        std::copy(position + skip, position + skip + held, position);
        std::copy(value + skip, value + skip + held, value);
        skip = 0;
      }
      while (held >= chunk || (held > 0 && rank + held >= end)) {
        const std::int64_t count = std::min({held, chunk, end - rank});
        sink(rank, static_cast<const std::int64_t*>(position), static_cast<const float*>(value), count);
        rank += count, held -= count;
        std::copy(position + count, position + count + held, position);
        std::copy(value + count, value + count + held, value);
        if (rank >= end) return;
      }
    }
  }

 private:
  std::int64_t piece_of(std::int64_t rank) const {
    if (segments_.is_short())
      return segments_.keep ? rank / (segments_.keep * segments_.per_piece()) : segments_.pieces - 1;
    return std::upper_bound(starts_.begin(), starts_.end(), rank) - starts_.begin() - 1;
  }
  std::int64_t start_of(std::int64_t piece) const {
    return segments_.is_short() ? piece * segments_.per_piece() * segments_.keep
                                : starts_[static_cast<std::size_t>(piece)];
  }

  std::int64_t compact(std::int64_t piece, const float* v, const std::uint32_t* score, std::int64_t i,
                       std::int64_t n, std::int64_t* position, float* value) const {
    if (!segments_.is_short()) {
      const auto& p = pieces_[static_cast<std::size_t>(piece)];
      if (p.above + p.ties == 0) return 0;
      return simd<Compact>(v, score, i, n, cuts_[static_cast<std::size_t>(segments_.segment_of(piece))],
                           std::int64_t{p.ties}, position, value);
    }
    std::int64_t c = 0;
    std::uint32_t order[chunk];
    for (std::int64_t at = 0, s = segments_.segment_of(piece); at < n; at += segments_.segment, ++s) {
      const std::int64_t m = std::min(segments_.segment, n - at);
      std::copy(score + at, score + at + m, order);
      const Cut cut = cut_of(order, m, segments_.keep_of(s));
      c += simd<Compact>(v + at, score + at, i + at, m, cut.score, cut.ties, position + c, value + c);
    }
    return c;
  }

  const Source& source_;
  Segments segments_;
  std::vector<ThresholdSearch::Piece> pieces_;
  std::vector<std::uint32_t> cuts_;
  std::vector<std::int64_t> starts_;
};

}  // namespace pcomp::detail
