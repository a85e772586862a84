#pragma once
#include "../../../wire/layout.hpp"
#include "../coded_source.hpp"
#include "index_reader.hpp"

namespace pcomp::detail {

/// The elements of another source at the positions of an index block, by rank.
template <class Inner>
struct GatheredSource {
  Inner inner;
  const std::byte* index;
  Layout l;

  class Cursor {
   public:
    Cursor(const GatheredSource& s, std::int64_t rank)
        : index_(s.l.index, s.index, s.l.n, s.l.sent), inner_(s.inner.cursor(0)), n_(s.l.n) {
      index_.seek_rank(rank);
    }
    const float* load(std::int64_t rank, std::int64_t count, float* buffer) {
      if (rank != index_.rank()) index_.seek_rank(rank);  // a selection skips pieces without survivors
      std::int64_t c = 0;
      while (c < count) {
        const std::int64_t p = index_.peek();
        if (p >= n_) break;
        const std::int64_t base = p / chunk * chunk;
        if (base != base_) {
          base_ = base;
          values_ = inner_.load(base, std::min(chunk, n_ - base), held_);
          if (values_ != held_)  // in place: prefetch the next chunk
            for (std::int64_t line = 0; line < chunk; line += 16) hwy::Prefetch(values_ + chunk + line);
        }
        std::uint32_t at[chunk + slack];
        const std::int64_t got = index_.take(base, std::min(base + chunk, n_), count - c, at);
        PCOMP_DISPATCH(gather)(values_, at, got, buffer + c);
        c += got;
      }
      std::fill(buffer + c, buffer + count,
                0.0f);  // only if the index block holds fewer positions than it should
      return buffer;
    }

   private:
    using InnerCursor = decltype(std::declval<const Inner&>().cursor(0));
    IndexReader index_;
    InnerCursor inner_;
    std::int64_t n_, base_ = -1;
    const float* values_ = nullptr;
    float held_[chunk];
  };
  Cursor cursor(std::int64_t rank) const { return {*this, rank}; }
};

/// The inverse: a source over ranks, placed at the positions of an index block, zero elsewhere.
template <class Ranks>
struct ScatteredSource {
  Ranks ranks;
  const std::byte* index;
  Layout l;

  class Cursor {
   public:
    Cursor(const ScatteredSource& s, std::int64_t first)
        : index_(place(s, first)), ranks_(s.ranks.cursor(index_.rank())) {}
    const float* load(std::int64_t i, std::int64_t n, float* buffer) {
      std::uint32_t at[chunk + slack];
      float value[chunk];
      const std::int64_t first = index_.rank(), count = index_.take(i, i + n, n, at);
      const float* v = ranks_.load(first, count, value);
      PCOMP_DISPATCH(scatter)(v, at, count, n, buffer);
      return buffer;
    }

   private:
    static IndexReader place(const ScatteredSource& s, std::int64_t first) {
      IndexReader r(s.l.index, s.index, s.l.n, s.l.sent);
      r.seek_position(first);
      return r;
    }
    using RanksCursor = decltype(std::declval<const Ranks&>().cursor(0));
    IndexReader index_;
    RanksCursor ranks_;
  };
  Cursor cursor(std::int64_t first) const { return {*this, first}; }
};

}  // namespace pcomp::detail
