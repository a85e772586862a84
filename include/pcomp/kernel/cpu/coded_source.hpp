#pragma once
#include "../../wire/wire.hpp"
#include "simd/simd.hpp"

namespace pcomp::detail {

/// Decodes a payload's values by rank, rotated back by R; cheap if the ranks ascend. It is a source and its own
/// cursor.
template <codec::CodeCodec C, class R = NoCodec>
class CodedSource {
 public:
  CodedSource(const std::byte* codes, const std::byte* scales, std::int64_t sent)
      : codes_(codes), scales_(scales), sent_(sent) {}
  CodedSource(const CodedSource& o) : CodedSource(o.codes_, o.scales_, o.sent_) {}
  CodedSource& operator=(const CodedSource&) = delete;

  CodedSource cursor(std::int64_t) const { return *this; }

  /// The values of ranks [first, first + count): in place if they are already decoded, else in `buffer`.
  const float* load(std::int64_t first, std::int64_t count, float* buffer) {
    if (first >= held_ && first + count <= held_end_) return held_values_ + (first - held_);
    if (first % pack_block == 0 && count >= window) {  // all of it at once
      const std::int64_t whole = first + count == sent_ ? count : count / pack_block * pack_block;
      decode(first, whole, buffer);
      if (whole < count) copy(first + whole, count - whole, buffer + whole);
    } else {
      copy(first, count, buffer);
    }
    return buffer;
  }

 private:
  static constexpr std::int64_t window = 4 * pack_block;

  void decode(std::int64_t first, std::int64_t count, float* out) const {
    if constexpr (has_role<Role::rotate, R>) {
      float coded[chunk];
      PCOMP_DISPATCH(decode_codes<C>)(codes_, scales_, first, count, coded);
      PCOMP_DISPATCH(rotate<R, true>)(static_cast<const float*>(coded), count, first, out);
    } else {
      PCOMP_DISPATCH(decode_codes<C>)(codes_, scales_, first, count, out);
    }
  }
  /// Copies through the window of decoded ranks.
  void copy(std::int64_t first, std::int64_t count, float* out) {
    while (count > 0) {
      if (first < held_ || first >= held_end_) {
        held_ = first / pack_block * pack_block;
        held_end_ = std::min(held_ + window, sent_);
        decode(held_, held_end_ - held_, held_values_);
      }
      const std::int64_t part = std::min(count, held_end_ - first);
      std::memcpy(out, held_values_ + (first - held_), static_cast<std::size_t>(part) * sizeof(float));
      first += part, count -= part, out += part;
    }
  }

  const std::byte* codes_;
  const std::byte* scales_;
  std::int64_t sent_, held_ = 0, held_end_ = 0;
  float held_values_[window];
};

}  // namespace pcomp::detail
