#pragma once
#include "../../../wire/packing.hpp"
#include "../simd/simd.hpp"

namespace pcomp::detail {

/// Reads positions in rank order, a few hundred at a time. Whatever the bytes are, every position it returns lies in
/// the range asked for.
class IndexReader {
 public:
  IndexReader(const IndexFormat& f, const std::byte* block, std::int64_t n, std::int64_t k)
      : f_(f), block_(block), n_(n), k_(k) {}

  std::int64_t rank() const { return rank_ + at_; }

  /// Goes to the first position that is at least p.
  void seek_position(std::int64_t p) {
    rewind();
    p = std::min(p, n_);
    if (f_.kind == IndexFormat::none) {
      rank_ = std::min(p, k_);
      return;
    }
    if (f_.kind == IndexFormat::bitmap)
      go_to(PCOMP_DISPATCH(word_of_rank)(block_, f_.high_bytes, WordPlace{}, any, p / 64));
    else  // the zeros before a word count its buckets
      go_to(PCOMP_DISPATCH(word_of_bucket)(block_, f_.high_bytes, p >> f_.low_bits));
    while (peek() < p) ++at_;
  }

  /// Goes to rank s, or to the end if there are fewer; skipping ahead costs little.
  void seek_rank(std::int64_t s) {
    if (s < rank_) rewind();
    if (s >= rank_ + count_) {
      if (f_.kind == IndexFormat::none)
        go_to({0, s});
      else
        go_to(PCOMP_DISPATCH(word_of_rank)(block_, f_.high_bytes, WordPlace{word_, rank_ + count_}, s, any));
      refill();
    }
    at_ = std::min(s - rank_, count_);
  }

  /// Writes up to `most` offsets from `base` of the next positions below `end`, fewer if there are no more, and
  /// returns how many. `offset` has room for a vector past them.
  std::int64_t take(std::int64_t base, std::int64_t end, std::int64_t most, std::uint32_t* offset) {
    std::int64_t c = 0;
    while (c < most && peek() < end) {
      const std::int64_t got = PCOMP_DISPATCH(offsets_below)(
          position_ + at_, std::min(count_ - at_, most - c), static_cast<std::uint32_t>(base),
          static_cast<std::uint32_t>(end), offset + c);
      at_ += got, c += got;
    }
    return c;
  }

  /// The next position; n if there is none.
  std::int64_t peek() {
    if (at_ == count_) refill();
    return at_ < count_ ? std::int64_t{position_[at_]} : n_;
  }

 private:
  static constexpr std::int64_t window = 2 * pack_block;
  static constexpr std::int64_t any = std::numeric_limits<std::int64_t>::max();

  void rewind() { word_ = rank_ = at_ = count_ = 0; }
  void go_to(WordPlace p) { word_ = p.word, rank_ = p.rank, at_ = count_ = 0; }

  /// Reads the next positions, if any.
  void refill() {
    rank_ += count_;
    at_ = count_ = 0;
    if (rank_ >= k_) return;
    if (f_.kind == IndexFormat::none) {
      count_ = std::min(window, k_ - rank_);
      for (std::int64_t j = 0; j < count_; ++j) position_[j] = static_cast<std::uint32_t>(rank_ + j);
      return;
    }
    count_ =
        std::min(PCOMP_DISPATCH(ones_of_words)(block_, f_.high_bytes, word_, window, position_), k_ - rank_);
    if (f_.kind == IndexFormat::elias_fano) {
      lows(rank_, count_);
      PCOMP_DISPATCH(fano_positions)
      (position_, count_, static_cast<std::uint32_t>(rank_), f_.low_bits, low_,
       static_cast<std::uint32_t>(n_));
    }
  }

  /// Unpacks the low bits of ranks [first, first + count) to `low_`, whole blocks at a time.
  void lows(std::int64_t first, std::int64_t count) {
    for (std::int64_t done = 0; done < count;) {
      const std::int64_t b = (first + done) / pack_block, within = (first + done) % pack_block;
      if (b != low_block_) {
        low_block_ = b;
        PCOMP_DISPATCH(unpack_words)
        (block_ + f_.low_at + b * (pack_block / 8) * f_.low_bits, std::min(pack_block, k_ - b * pack_block),
         f_.low_bits, block_low_);
      }
      const std::int64_t part = std::min(count - done, pack_block - within);
      std::copy_n(block_low_ + within, part, low_ + done);
      done += part;
    }
  }

  IndexFormat f_;
  const std::byte* block_;
  std::int64_t n_, k_;
  std::int64_t word_ = 0, rank_ = 0, at_ = 0, count_ = 0, low_block_ = -1;
  std::uint32_t position_[window + 64 + slack], low_[window + 64 + slack], block_low_[pack_block];
};

}  // namespace pcomp::detail
