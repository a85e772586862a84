#pragma once
#include <span>

#include "../../../wire/packing.hpp"
#include "../simd/simd.hpp"

namespace pcomp::detail {

/// Writes the index block of a stretch of survivors into a zeroed array, into which other threads write the
/// stretches before and after.
///
/// The last word with a survivor is held back until the next one arrives: whatever follows the last survivor
/// belongs to another thread.
class IndexWriter {
 public:
  /// `rank` is the rank of the first survivor to come, a multiple of the pack block.
  IndexWriter(const IndexFormat& f, std::byte* block, std::int64_t rank)
      : f_(f),
        rank_(rank),
        out_(block, f.high_bytes),
        low_out_(block + f.low_at + rank / pack_block * (pack_block / 8) * f.low_bits) {}
  ~IndexWriter() {
    end_stretch();
    if (low_fill_ && f_.low_bits <= 8)
      PCOMP_DISPATCH(finish_lows<std::uint8_t>)(low_byte_, low_fill_, f_.low_bits, low_out_);
    else if (low_fill_)
      PCOMP_DISPATCH(finish_lows<std::uint32_t>)(low_word_, low_fill_, f_.low_bits, low_out_);
  }
  IndexWriter(const IndexWriter&) = delete;
  IndexWriter& operator=(const IndexWriter&) = delete;

  /// Takes which of `bits` positions from `position` on survive, and the place of each within its eight, or none; positions
  /// ascend from call to call.
  void mask(std::int64_t position, const std::uint64_t* word, std::int64_t bits,
            std::span<const std::uint8_t> places) {
    if (f_.kind == IndexFormat::none) return;
    const std::int64_t count = ceil_div(bits, 64);
    if (f_.kind == IndexFormat::elias_fano && f_.low_bits > 0) {
      if (!places.empty() && f_.low_bits <= 3 && position % 8 == 0)
        low_fill_ = PCOMP_DISPATCH(append_places)(places.data(), static_cast<std::int64_t>(places.size()),
                                                  f_.low_bits, low_byte_, low_fill_, low_out_);
      else
        lows(position, word, count);
    }
    const int shift = static_cast<int>(position % 64);
    if (shift) {
      for (std::int64_t w = 0; w < count; ++w) {
        if (const std::uint64_t low = word[w] << shift) add(position + w * 64 - shift, &low, 1);
        if (const std::uint64_t high = word[w] >> (64 - shift)) add(position + w * 64 + 64 - shift, &high, 1);
      }
      return;
    }
    std::int64_t first = 0, end = count;
    while (end > first && word[end - 1] == 0) --end;
    while (first < end && word[first] == 0) ++first;
    if (first < end) add(position + first * 64, word + first, end - first);
  }

 private:
  void lows(std::int64_t position, const std::uint64_t* word, std::int64_t count) {
    low_fill_ = f_.low_bits <= 8 ? PCOMP_DISPATCH(append_lows<std::uint8_t>)(
                                       word, count, position, f_.low_bits, low_byte_, low_fill_, low_out_)
                                 : PCOMP_DISPATCH(append_lows<std::uint32_t>)(
                                       word, count, position, f_.low_bits, low_word_, low_fill_, low_out_);
  }
  /// Adds words from position `at` on, a multiple of 64; the first and the last are not zero.
  void add(std::int64_t at, const std::uint64_t* word, std::int64_t count) {
    if (holds_ && at == held_at_) {
      held_ |= *word++;
      if (--count == 0) return;
      at += 64;
    }
    constexpr std::int64_t far = 64;
    if (holds_ && at - held_at_ > far * 64) end_stretch();
    if (!holds_) out_.begin(f_.kind == IndexFormat::bitmap ? at : (at >> f_.low_bits) + rank_);
    // The held word, those up to `at`, and all but the last of the new ones: together, as eight at a time cost least.
    std::uint64_t all[far + chunk / 64 + 3];
    const std::int64_t before = holds_ ? (at - held_at_) / 64 : 0;
    if (holds_) std::fill_n(all, before, std::uint64_t{0}), all[0] = held_;
    std::fill_n(std::copy_n(word, count - 1, all + before), 3, std::uint64_t{0});
    emit(all, before + count - 1, at - before * 64);
    holds_ = true, held_ = word[count - 1], held_at_ = at + (count - 1) * 64;
  }
  void emit(const std::uint64_t* word, std::int64_t count, std::int64_t at) {
    if (f_.kind == IndexFormat::bitmap) {
      for (std::int64_t w = 0; w < count; ++w) out_.append(word[w], 64);
      return;
    }
    rank_ += PCOMP_DISPATCH(append_words)(word, count, at, f_.low_bits, out_);
  }
  void end_stretch() {
    if (!holds_) return;
    out_.share();
    emit(&held_, 1, held_at_);  // one word is read alone
    out_.finish();
    holds_ = false;
  }

  IndexFormat f_;
  std::int64_t rank_;
  BitStream out_;
  bool holds_ = false;
  std::uint64_t held_ = 0;
  std::int64_t held_at_ = 0;
  // The low bits of the survivors since the last whole block.
  std::byte* low_out_;
  std::int64_t low_fill_ = 0;
  static constexpr std::int64_t low_room = pack_block + 64 + 64;
  std::uint8_t low_byte_[low_room];
  std::uint32_t low_word_[low_room];
};

}  // namespace pcomp::detail
