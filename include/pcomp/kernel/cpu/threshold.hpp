#pragma once
#include <array>
#include <atomic>
#include <cmath>
#include <mutex>
#include <span>
#include <vector>

#include "../../core/function_ref.hpp"
#include "../parallel.hpp"
#include "segments.hpp"

namespace pcomp::detail {

/// Scores of elements [i, i + n), n <= chunk, written to `out`; may be called from several threads.
using Scores = FunctionRef<void(std::int64_t i, std::int64_t n, std::uint32_t* out)>;

/// Sorts a piece's scores into those above a bracket, on its ends, and strictly inside, which are gathered.
struct SplitByBracket {
  PCOMP_INLINE static std::array<std::int32_t, 4> run(const std::uint32_t* score, std::int64_t n,
                                                      std::uint32_t lo, std::uint32_t hi,
                                                      std::uint32_t* inside) {
    std::uint32_t above = 0, at_hi = 0, at_lo = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      above += score[i] > hi;
      at_hi += score[i] == hi;
      at_lo += score[i] == lo;
    }
    std::int32_t in = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      inside[in] = score[i];
      in += static_cast<std::int32_t>(score[i] > lo) & static_cast<std::int32_t>(score[i] < hi);
    }
    return {static_cast<std::int32_t>(above), static_cast<std::int32_t>(at_hi), in,
            static_cast<std::int32_t>(at_lo)};
  }
};

/// Finds the exact cut of each long segment, and how many survivors each piece has, in one sweep over the
/// input.
///
/// A sample brackets the threshold; the sweep counts what is above and gathers the few scores inside; the cut
/// is selected among those. Where the sample misled, histograms of the scores decide, at the price of more
/// sweeps: always exact.
class ThresholdSearch {
 public:
  struct Piece {
    std::int32_t above = 0, ties = 0;  // survivors: above the cut, and equal to it
  };

  ThresholdSearch(const Segments& s, Scores scores, const ParallelFor& par)
      : s_(s), scores_(scores), par_(par) {}

  /// Fills `piece` for all pieces of segment s and returns its cut.
  Cut find(std::int64_t s, Piece* piece) const {
    const std::int64_t n = s_.size_of(s), k = s_.keep_of(s);
    if (k <= 0) return {};
    const auto [lo, hi] = bracket(s, n, k);
    std::vector<Split> split(static_cast<std::size_t>(ceil_div(n, chunk)));
    std::vector<std::uint32_t> inside;
    const bool gathered = sweep(s, lo, hi, split, inside, n / 8 + 4096);

    std::int64_t above = 0, at_hi = 0, at_lo = 0;
    for (const Split& p : split) above += p.above, at_hi += p.at_hi, at_lo += p.at_lo;
    const std::int64_t in = static_cast<std::int64_t>(inside.size());
    if (!gathered || k <= above || k > above + at_hi + in + at_lo) return by_histogram(s, k, piece);

    Cut cut{hi, k - above};
    if (cut.ties > at_hi) {
      cut = {lo, k - above - at_hi - in};
      if (cut.ties <= 0) {
        std::vector<std::uint32_t> order(inside);
        cut = cut_of(order.data(), in, k - above - at_hi);
      }
    }
    std::int64_t ties = cut.ties;
    for (const Split& p : split) {
      Piece& out = *piece++;
      const std::uint32_t* first = inside.data() + p.inside_at;
      const auto count = [&](auto f) {
        return static_cast<std::int32_t>(std::count_if(first, first + p.inside, f));
      };
      out.above = p.above + (cut.score < hi ? p.at_hi : 0) +
                  (cut.score == hi   ? 0
                   : cut.score == lo ? p.inside
                                     : count([&](std::uint32_t x) { return x > cut.score; }));
      const std::int32_t equal = cut.score == hi   ? p.at_hi
                                 : cut.score == lo ? p.at_lo
                                                   : count([&](std::uint32_t x) { return x == cut.score; });
      out.ties = static_cast<std::int32_t>(std::min<std::int64_t>(equal, ties));
      ties -= out.ties;
    }
    return cut;
  }

 private:
  struct Split {
    std::int32_t above, at_hi, inside, at_lo;
    std::int64_t inside_at;  // where this piece's gathered scores begin
  };
  struct Bracket {
    std::uint32_t lo, hi;
  };

  /// Two scores between which the k-th highest of n almost surely lies, from short runs spread over the
  /// segment.
  Bracket bracket(std::int64_t s, std::int64_t n, std::int64_t k) const {
    constexpr std::int64_t run = 8;
    const std::int64_t runs = std::clamp<std::int64_t>(n / 128, 64, 8192), size = runs * run;
    std::vector<std::uint32_t> sample(static_cast<std::size_t>(size));
    for (std::int64_t r = 0; r < runs; ++r)
      scores_(s * s_.segment + (n - run) * r / (runs - 1), run, sample.data() + r * run);
    const double share = static_cast<double>(k) / static_cast<double>(n), m = static_cast<double>(size);
    // Neighbours are alike, so a run of 8 counts for less than 8: twice the width that 4 sigma would take.
    const double half_width = 8 * std::sqrt(m * share * (1 - share)) + 8;
    const auto at = [&](double rank, std::uint32_t before, std::uint32_t after) {
      if (rank < 0) return before;
      if (rank >= m) return after;
      auto* nth = sample.data() + static_cast<std::int64_t>(rank);
      std::nth_element(sample.data(), nth, sample.data() + size, std::greater<>());
      return *nth;
    };
    const std::uint32_t hi = at(m * share - half_width, 0xffffffffu, 0u);
    const std::uint32_t lo = at(m * share + half_width, 0xffffffffu, 0u);
    return {std::min(lo, hi), hi};
  }

  /// Splits every piece; `inside` gets the gathered scores unless they are more than `most`: then false.
  bool sweep(std::int64_t s, std::uint32_t lo, std::uint32_t hi, std::vector<Split>& split,
             std::vector<std::uint32_t>& inside, std::int64_t most) const {
    struct Part {
      std::int64_t begin, end;
      std::vector<std::uint32_t> inside;
    };
    std::vector<Part> parts;
    std::mutex mutex;
    std::atomic<std::int64_t> total{0};
    par_(static_cast<std::int64_t>(split.size()), 16, [&](std::int64_t begin, std::int64_t end) {
      std::uint32_t score[chunk], in[chunk + 1];
      Part part{begin, end, {}};
      for (std::int64_t p = begin; p < end; ++p) {
        const std::int64_t i = p * chunk, count = std::min(chunk, s_.size_of(s) - i);
        scores_(s * s_.segment + i, count, score);
        const auto [above, at_hi, inside_count, at_lo] = simd<SplitByBracket>(
            static_cast<const std::uint32_t*>(score), count, lo, hi, static_cast<std::uint32_t*>(in));
        const bool distinct = lo != hi;
        split[static_cast<std::size_t>(p)] = {above, at_hi, inside_count, distinct ? at_lo : 0,
                                              static_cast<std::int64_t>(part.inside.size())};
        if (total.fetch_add(inside_count, std::memory_order_relaxed) > most) return;
        part.inside.insert(part.inside.end(), in, in + inside_count);
      }
      const std::lock_guard lock(mutex);
      parts.push_back(std::move(part));
    });
    if (total.load() > most) return false;
    std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.begin < b.begin; });
    for (Part& part : parts) {
      const auto at = static_cast<std::int64_t>(inside.size());
      for (std::int64_t p = part.begin; p < part.end; ++p) split[static_cast<std::size_t>(p)].inside_at += at;
      if (parts.size() == 1)
        inside = std::move(part.inside);
      else
        inside.insert(inside.end(), part.inside.begin(), part.inside.end());
    }
    return true;
  }

  /// The exact way that no input can mislead: the score's bits from the top, one histogram a sweep.
  Cut by_histogram(std::int64_t s, std::int64_t k, Piece* piece) const {
    std::uint32_t prefix = 0, known = 0;  // the bits of the cut found so far, and their mask
    std::int64_t rest = k;                // its rank among the scores that share them
    for (const auto& digit : {std::pair{21, 11}, std::pair{10, 11}, std::pair{0, 10}}) {
      const int shift = digit.first, bits = digit.second;
      std::vector<std::int64_t> count(std::size_t{1} << bits);
      std::mutex mutex;
      each_piece(s, [&](const auto& scores_of, std::int64_t begin, std::int64_t end) {
        std::vector<std::int64_t> mine(count.size());
        for (std::int64_t p = begin; p < end; ++p)
          for (const std::uint32_t x : scores_of(p))
            if ((x & known) == prefix) ++mine[(x >> shift) & (count.size() - 1)];
        const std::lock_guard lock(mutex);
        for (std::size_t b = 0; b < count.size(); ++b) count[b] += mine[b];
      });
      std::size_t b = count.size() - 1;
      for (; rest > count[b]; --b) rest -= count[b];
      prefix |= static_cast<std::uint32_t>(b) << shift;
      known |= static_cast<std::uint32_t>(count.size() - 1) << shift;
    }
    each_piece(s, [&](const auto& scores_of, std::int64_t begin, std::int64_t end) {
      for (std::int64_t p = begin; p < end; ++p) {
        piece[p] = {};
        for (const std::uint32_t x : scores_of(p)) piece[p].above += x > prefix, piece[p].ties += x == prefix;
      }
    });
    std::int64_t ties = rest;
    for (std::int64_t p = 0; p < ceil_div(s_.size_of(s), chunk); ++p) {
      piece[p].ties = static_cast<std::int32_t>(std::min<std::int64_t>(piece[p].ties, ties));
      ties -= piece[p].ties;
    }
    return {prefix, rest};
  }

  template <class F>
  void each_piece(std::int64_t s, F&& f) const {
    const std::int64_t n = s_.size_of(s);
    par_(ceil_div(n, chunk), 16, [&](std::int64_t begin, std::int64_t end) {
      std::uint32_t score[chunk];
      f(
          [&](std::int64_t p) {
            const std::int64_t count = std::min(chunk, n - p * chunk);
            scores_(s * s_.segment + p * chunk, count, score);
            return std::span<const std::uint32_t>(score, static_cast<std::size_t>(count));
          },
          begin, end);
    });
  }

  Segments s_;
  Scores scores_;
  const ParallelFor& par_;
};

}  // namespace pcomp::detail
