#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../simd/isa.hpp"

namespace pcomp::detail {

/// Word number `word` of a block of bytes, zero past its end.
PCOMP_INLINE std::uint64_t word_at(const std::byte* block, std::int64_t bytes, std::int64_t word) {
  std::uint64_t v = 0;
  const std::int64_t rest = bytes - word * 8;
  if (rest >= 8)
    std::memcpy(&v, block + word * 8, 8);
  else if (rest > 0)
    std::memcpy(&v, block + word * 8, static_cast<std::size_t>(rest));
  return v;
}

/// A word of a block, and how many ones precede it.
struct WordPlace {
  std::int64_t word, rank;
};

/// Appends bits to a zeroed array, into which other threads write what comes before and after this stretch.
///
/// The words at its two ends may hold bits of theirs: those words are ORed in, all others are stored.
class BitStream {
 public:
  BitStream(std::byte* to, std::int64_t bytes) : to_(to), bytes_(bytes) {}

  void begin(std::int64_t bit) {
    word_ = bit / 64;
    fill_ = static_cast<int>(bit % 64);
    value_ = 0;
    shared_ = 2;
  }
  /// Appends the low `length` <= 64 bits of `bits`, whose other bits are zero.
  PCOMP_INLINE void append(std::uint64_t bits, int length) {
    value_ |= bits << fill_;
    if (fill_ + length >= 64) {
      flush_word();
      value_ = bits >> 1 >> (63 - fill_);
      fill_ -= 64;
    }
    fill_ += length;
  }
  /// The same for up to `most` at a time, without a branch per item.
  static constexpr std::int64_t most = 32;
  PCOMP_INLINE void append_all(const std::uint64_t* bits, const std::uint64_t* length, std::int64_t count) {
    std::uint64_t word[most + 1], value = value_, fill = static_cast<std::uint64_t>(fill_);
    std::uint64_t full = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::uint64_t here = value | bits[i] << fill, beyond = bits[i] >> 1 >> (~fill & 63);
      fill += length[i];
      const std::uint64_t crossed = fill >> 6;
      word[full] = here;
      value = here ^ ((here ^ beyond) & (0 - crossed));
      full += crossed;
      fill &= 63;
    }
    value_ = value, fill_ = static_cast<int>(fill);
    const auto words = static_cast<std::int64_t>(full);
    if (shared_ <= 0 && (word_ + words) * 8 <= bytes_) {
      std::memcpy(to_ + word_ * 8, word, full * 8);
      word_ += words;
      return;
    }
    for (std::int64_t w = 0; w < words; ++w) {
      value_ = word[w];
      flush_word();
    }
    value_ = value;
  }
  /// From here on, words may hold bits of the thread that continues after this stretch.
  void share() { shared_ = 1 << 30; }
  void finish() {
    share();
    flush_word();
    value_ = 0;
  }

 private:
  PCOMP_INLINE void flush_word() {
    std::byte* at = to_ + word_ * 8;
    if (shared_ <= 0 && word_ * 8 + 8 <= bytes_)
      std::memcpy(at, &value_, 8);
    else
      merge(at);
    --shared_;
    ++word_;
  }
  void merge(std::byte* at) {
    for (std::int64_t b = 0; b < std::min<std::int64_t>(8, bytes_ - word_ * 8); ++b)
      if (const auto v = static_cast<unsigned char>(value_ >> (8 * b)))
        __atomic_fetch_or(reinterpret_cast<unsigned char*>(at) + b, v, __ATOMIC_RELAXED);
  }

  std::byte* to_;
  std::int64_t bytes_, word_ = 0;
  std::uint64_t value_ = 0;
  int fill_ = 0, shared_ = 2;
};

}  // namespace pcomp::detail
