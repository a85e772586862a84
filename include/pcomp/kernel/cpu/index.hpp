#pragma once
#include <algorithm>
#include <bit>
#include <cstring>

#include "../../wire/index_format.hpp"
#include "pack.hpp"

namespace pcomp::detail {

/// Writes the index block of ascending positions, one contiguous run of ranks per writer.
///
/// Runs of several threads meet inside a byte of the high part: the first and the last word are ORed in
/// atomically.
class IndexWriter {
 public:
  IndexWriter(const IndexFormat& f, std::byte* block) : f_(f), block_(block) {}
  ~IndexWriter() { flush(true); }
  IndexWriter(const IndexWriter&) = delete;
  IndexWriter& operator=(const IndexWriter&) = delete;

  /// Positions of ranks [first, first + count); `first` is a multiple of the pack block, `count` too but for
  /// the last.
  void write(std::int64_t first, const std::int64_t* position, std::int64_t count) {
    if (f_.kind == IndexFormat::none) return;
    const bool fano = f_.kind == IndexFormat::elias_fano;
    for (std::int64_t j = 0; j < count; ++j) {
      const std::int64_t bit = fano ? (position[j] >> f_.low_bits) + first + j : position[j];
      if (bit / 64 != at_) {
        flush(false);
        at_ = bit / 64;
      }
      word_ |= std::uint64_t{1} << (bit % 64);
    }
    if (fano && f_.low_bits) {
      const std::uint32_t mask = (std::uint32_t{1} << f_.low_bits) - 1;
      std::uint32_t low[pack_block];
      for (std::int64_t b = 0; b < count; b += pack_block) {
        const std::int64_t r = std::min(pack_block, count - b);
        for (std::int64_t j = 0; j < r; ++j) low[j] = static_cast<std::uint32_t>(position[b + j]) & mask;
        pack_codes(low, r, f_.low_bits,
                   block_ + f_.low_at + (first + b) / pack_block * (pack_block / 8) * f_.low_bits);
      }
    }
  }

 private:
  void flush(bool last) {
    if (at_ >= 0) {
      auto* p = reinterpret_cast<unsigned char*>(block_) + at_ * 8;
      const std::int64_t size = std::min<std::int64_t>(8, f_.high_bytes - at_ * 8);
      if (shared_ || last || size < 8) {
        for (std::int64_t b = 0; b < size; ++b)
          if (const auto v = static_cast<unsigned char>(word_ >> (8 * b)))
            __atomic_fetch_or(p + b, v, __ATOMIC_RELAXED);
      } else {
        std::memcpy(p, &word_, 8);
      }
      shared_ = false;
    }
    word_ = 0;
  }

  IndexFormat f_;
  std::byte* block_;
  std::int64_t at_ = -1;
  std::uint64_t word_ = 0;
  bool shared_ = true;  // the next word flushed may be another writer's too
};

/// Reads positions in order of rank. Whatever the bytes are, every position it gives lies where it was asked
/// for.
class IndexReader {
 public:
  IndexReader(const IndexFormat& f, const std::byte* block, std::int64_t n, std::int64_t k)
      : f_(f), block_(block), n_(n), k_(k), words_(ceil_div(f.high_bytes, 8)) {
    rewind();
  }

  std::int64_t rank() const { return rank_; }

  /// Goes to the first position that is at least p.
  void seek_position(std::int64_t p) {
    rewind();
    if (f_.kind == IndexFormat::none) {
      rank_ = std::min(p, k_);
      return;
    }
    if (f_.kind == IndexFormat::bitmap) {
      for (; at_ < p / 64 && at_ < words_; next_word()) rank_ += std::popcount(word_);
    } else {  // skip words until the zeros, which count buckets, reach p's bucket
      const std::int64_t bucket = p >> f_.low_bits;
      std::int64_t zeros = 0;
      for (; at_ < words_ && zeros + 64 - std::popcount(word_) < bucket; next_word()) {
        zeros += 64 - std::popcount(word_);
        rank_ += std::popcount(word_);
      }
    }
    while (peek() < p) pop();
  }

  /// Goes to rank s.
  void seek_rank(std::int64_t s) {
    rewind();
    if (f_.kind == IndexFormat::none) {
      rank_ = s;
      return;
    }
    for (; at_ < words_ && rank_ + std::popcount(word_) <= s; next_word()) rank_ += std::popcount(word_);
    while (rank_ < s && at_ < words_) pop();
  }

  /// Up to `most` offsets from `base` of the next positions below `end`; fewer where there are no more.
  std::int64_t take(std::int64_t base, std::int64_t end, std::int64_t most, std::int32_t* offset) {
    std::int64_t c = 0;
    for (; c < most; ++c) {
      const std::int64_t p = peek();
      if (p >= end) break;
      offset[c] = static_cast<std::int32_t>(std::max(p - base, std::int64_t{0}));
      pop();
    }
    return c;
  }

  /// The next position; n where there is none.
  std::int64_t peek() {
    if (rank_ >= k_) return n_;
    if (f_.kind == IndexFormat::none) return rank_;
    while (word_ == 0) {
      if (at_ + 1 >= words_) return n_;
      next_word();
    }
    const std::int64_t bit = at_ * 64 + std::countr_zero(word_);
    const std::int64_t p = f_.kind == IndexFormat::bitmap ? bit : ((bit - rank_) << f_.low_bits) | low();
    return std::min(p, n_);
  }

 private:
  void pop() {
    ++rank_;
    word_ &= word_ - 1;
  }
  void rewind() {
    at_ = -1, rank_ = 0, word_ = 0;
    if (words_) next_word();
  }
  void next_word() {
    ++at_;
    word_ = 0;
    if (at_ < words_)
      std::memcpy(&word_, block_ + at_ * 8,
                  static_cast<std::size_t>(std::min<std::int64_t>(8, f_.high_bytes - at_ * 8)));
  }
  std::int64_t low() {
    if (!f_.low_bits) return 0;
    const std::int64_t b = rank_ / pack_block;
    if (b != low_block_) {
      low_block_ = b;
      unpack_codes(block_ + f_.low_at + b * (pack_block / 8) * f_.low_bits,
                   std::min(pack_block, k_ - b * pack_block), f_.low_bits, low_);
    }
    return low_[rank_ % pack_block];
  }

  IndexFormat f_;
  const std::byte* block_;
  std::int64_t n_, k_, words_;
  std::int64_t at_ = -1, rank_ = 0, low_block_ = -1;
  std::uint64_t word_ = 0;
  std::uint32_t low_[pack_block];
};

}  // namespace pcomp::detail
