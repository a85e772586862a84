#pragma once
#include "bracket.hpp"
#include "segments.hpp"
#include "shared_list.hpp"

namespace pcomp::detail {

/// What the counting sweep saw above the lower end of its bracket: enough to emit the survivors without reading
/// the source again.
///
/// Law: one value for each set bit of a piece's mask, in order. Kept where at most a quarter of the elements survive,
///   so that it stays well below the tensor's own size.
class Candidates {
 public:
  /// One piece: `count` values, and a mask word per 64 elements.
  struct Of {
    const float* value;
    const std::uint64_t* mask;
    std::int64_t count;
  };

  Candidates(Scratch& frame, const Segments& s, std::int64_t writers) {
    const double share = s.segment ? static_cast<double>(s.keep) / static_cast<double>(s.segment) : 1;
    if (s.segment <= gathered_whole || share > 0.25) return;
    const double most = share + bracket_width(sample_runs(s.segment) * sample_run, share);
    value_.make(frame, static_cast<std::int64_t>(most * static_cast<double>(s.n)), writers * s.count());
    mask_ = frame.take<std::uint64_t>(s.pieces * words);
    start_ = frame.take<std::int64_t>(s.pieces);
    count_ = frame.take<std::int32_t>(s.pieces);
    std::fill(count_.begin(), count_.end(), none);
  }

  /// Whether pieces are to be put here, and whether this one was; if not, it is read from the source again.
  bool takes() const { return !count_.empty() && !value_.overflown(); }
  bool has(std::int64_t piece) const { return takes() && count_[static_cast<std::size_t>(piece)] != none; }
  /// Drops these pieces: what was seen of them is not enough.
  void forget(std::int64_t first, std::int64_t pieces) {
    if (!count_.empty()) std::fill_n(count_.begin() + first, pieces, none);
  }

  std::uint64_t* mask(std::int64_t piece) { return mask_.data() + piece * words; }
  SharedList<float>& values() { return value_; }
  void place(std::int64_t piece, std::int64_t start, std::int32_t count) {
    start_[static_cast<std::size_t>(piece)] = start;
    count_[static_cast<std::size_t>(piece)] = count;
  }

  Of of(std::int64_t piece) const {
    const auto p = static_cast<std::size_t>(piece);
    return {value_.data() + start_[p], mask_.data() + piece * words, count_[p]};
  }

 private:
  static constexpr std::int64_t words = chunk / 64;
  static constexpr std::int32_t none = -1;

  std::span<std::uint64_t> mask_;
  std::span<std::int64_t> start_;
  std::span<std::int32_t> count_;
  SharedList<float> value_;
};

}  // namespace pcomp::detail
