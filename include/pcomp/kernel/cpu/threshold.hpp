#pragma once
#include <atomic>
#include <cmath>

#include "../parallel.hpp"
#include "scratch.hpp"
#include "segments.hpp"

namespace pcomp::detail {

/// Two keys between which the cut almost surely lies, and how many of all lie there.
struct Bracket {
  std::int32_t lo, hi;
  double inside;
};

/// From m sampled keys, `share` of which survive; reorders them and needs room for a vector behind them.
inline Bracket bracket_of(std::int32_t* sample, std::int64_t m, double share) {
  constexpr auto least = std::numeric_limits<std::int32_t>::min(),
                 most = std::numeric_limits<std::int32_t>::max();
  // Neighbours are alike, so a run counts for less than its length: twice the width that 4 sigma would take.
  const double half = 8 * std::sqrt(static_cast<double>(m) * share * (1 - share)) + 8;
  const auto from = static_cast<std::int64_t>(static_cast<double>(m) * share - half);
  const auto to = static_cast<std::int64_t>(static_cast<double>(m) * share + half) + 1;
  Bracket b{least, most, 2 * half / static_cast<double>(m)};
  if (to <= m) {
    Scratch frame;
    const auto copy = frame.take<std::int32_t>(m + slack);
    std::copy_n(sample, m, copy.begin());
    b.lo = PCOMP_SIMD((copy.data(), m, to), nth_highest);
  }
  if (from >= 1) b.hi = PCOMP_SIMD((sample, m, from), nth_highest);
  return b;
}

/// Finds the exact cut of each long segment, and how many survivors each piece has, in one sweep over the input.
///
/// A sample brackets the cut; the sweep counts what is above and gathers the few keys inside; the cut is selected
/// among those. Where the sample misled, histograms of the keys decide, at the price of more sweeps: always exact.
template <SelectCodec S, class Source>
class ThresholdSearch {
 public:
  struct Piece {
    std::int32_t above = 0, equal = 0, ties = 0;  // above the cut, at it, and how many of those survive
  };

  ThresholdSearch(const Source& source, const Segments& s, const ParallelFor& par)
      : source_(source), s_(s), par_(par) {}

  /// Fills `piece` for all pieces of segment s and returns its cut.
  Cut find(std::int64_t s, Piece* piece) const {
    const std::int64_t n = s_.size_of(s), k = s_.keep_of(s), pieces = ceil_div(n, chunk);
    std::fill_n(piece, pieces, Piece{});
    if (k <= 0) return {};
    const Cut cut = n <= direct ? by_sorting(s, k, piece) : by_bracket(s, k, piece);
    std::int64_t ties = cut.ties;
    for (std::int64_t p = 0; p < pieces; ++p) {
      piece[p].ties = static_cast<std::int32_t>(std::min<std::int64_t>(piece[p].equal, ties));
      ties -= piece[p].ties;
    }
    return cut;
  }

 private:
  static constexpr std::int64_t direct = 8 * chunk;  // below this all keys are gathered
  static constexpr std::int64_t grain = 16;

  /// Shows f(piece, values, first, n) the pieces of segment s, on several threads.
  template <class F>
  void each_piece(std::int64_t s, F&& f) const {
    const std::int64_t n = s_.size_of(s), begin = s * s_.segment;
    par_(ceil_div(n, chunk), grain, [&](std::int64_t b, std::int64_t e) {
      float buffer[chunk];
      auto cursor = source_.cursor(begin + b * chunk);
      for (std::int64_t p = b; p < e; ++p) {
        const std::int64_t i = begin + p * chunk, count = std::min(chunk, n - p * chunk);
        f(p, cursor.load(i, count, buffer), i, count);
      }
    });
  }

  Cut by_sorting(std::int64_t s, std::int64_t k, Piece* piece) const {
    Scratch frame;
    const std::int64_t n = s_.size_of(s);
    const auto key = frame.take<std::int32_t>(n + slack), order = frame.take<std::int32_t>(n + slack);
    each_piece(s, [&](std::int64_t p, const float* v, std::int64_t i, std::int64_t count) {
      PCOMP_SIMD((v, i, count, key.data() + p * chunk), write_keys<S>);
    });
    std::copy_n(key.begin(), n, order.begin());
    const std::int32_t at = PCOMP_SIMD((order.data(), n, k), nth_highest);
    std::int64_t above = 0;
    for (std::int64_t p = 0; p * chunk < n; ++p) {
      count(piece[p], key.data() + p * chunk, std::min(chunk, n - p * chunk), at);
      above += piece[p].above;
    }
    return {at, k - above};
  }

  Cut by_bracket(std::int64_t s, std::int64_t k, Piece* piece) const {
    Scratch frame;
    const std::int64_t n = s_.size_of(s), pieces = ceil_div(n, chunk);
    const auto [lo, hi, share] = bracket(s, n, k);
    const auto room = static_cast<std::int64_t>(2 * share * static_cast<double>(n)) + 4 * chunk;
    const auto inside = frame.take<std::int32_t>(room + slack);
    const auto at = frame.take<std::int64_t>(pieces);
    const auto found = frame.take<std::int32_t>(pieces);
    std::atomic<std::int64_t> used{0};
    each_piece(s, [&, lo = lo, hi = hi](std::int64_t p, const float* v, std::int64_t i, std::int64_t count) {
      std::int32_t in[chunk + slack];
      const auto both = PCOMP_SIMD((v, i, count, lo, hi, in), split<S>);
      piece[p].above = both[0];
      found[static_cast<std::size_t>(p)] = both[1];
      const std::int64_t to = used.fetch_add(both[1], std::memory_order_relaxed);
      at[static_cast<std::size_t>(p)] = to;
      if (to + both[1] <= room) std::copy_n(in, both[1], inside.data() + to);
    });
    std::int64_t above = 0;
    for (std::int64_t p = 0; p < pieces; ++p) above += piece[p].above;
    const std::int64_t in = used.load();
    if (in <= room && k > above && k <= above + in) {  // as good as always
      const auto order = frame.take<std::int32_t>(in + slack);
      std::copy_n(inside.begin(), in, order.begin());
      const std::int32_t cut = PCOMP_SIMD((order.data(), in, k - above), nth_highest);
      std::int64_t over = 0;
      for (std::int64_t p = 0; p < pieces; ++p) {
        Piece more;
        count(more, inside.data() + at[static_cast<std::size_t>(p)], found[static_cast<std::size_t>(p)], cut);
        piece[p].above += more.above;
        piece[p].equal = more.equal;
        over += piece[p].above;
      }
      return {cut, k - over};
    }
    return at_an_end(s, k, above, in, lo, hi, found.data(), piece);
  }

  /// Where many keys are equal, the bracket's ends may be the cut: one more sweep counts them.
  Cut at_an_end(std::int64_t s, std::int64_t k, std::int64_t above, std::int64_t in, std::int32_t lo,
                std::int32_t hi, const std::int32_t* found, Piece* piece) const {
    Scratch frame;
    const std::int64_t pieces = ceil_div(s_.size_of(s), chunk);
    const auto ends = frame.take<std::array<std::int32_t, 2>>(pieces);
    each_piece(s, [&](std::int64_t p, const float* v, std::int64_t i, std::int64_t count) {
      ends[static_cast<std::size_t>(p)] = PCOMP_SIMD((v, i, count, hi, lo), count_equal<S>);
    });
    std::int64_t at_hi = 0, at_lo = 0;
    for (const auto& e : ends) at_hi += e[0], at_lo += e[1];
    if (k > above && k <= above + at_hi) {
      for (std::int64_t p = 0; p < pieces; ++p) piece[p].equal = ends[static_cast<std::size_t>(p)][0];
      return {hi, k - above};
    }
    const std::int64_t over = above + in;
    if (lo < hi && k > over && k <= over + at_lo) {
      for (std::int64_t p = 0; p < pieces; ++p) {
        piece[p].above += found[p];
        piece[p].equal = ends[static_cast<std::size_t>(p)][1];
      }
      return {lo, k - over};
    }
    return by_histogram(s, k, piece);
  }

  static void count(Piece& piece, const std::int32_t* key, std::int64_t n, std::int32_t cut) {
    std::int32_t above = 0, equal = 0;
    for (std::int64_t j = 0; j < n; ++j) above += key[j] > cut, equal += key[j] == cut;
    piece.above = above, piece.equal = equal;
  }

  Bracket bracket(std::int64_t s, std::int64_t n, std::int64_t k) const {
    constexpr std::int64_t run = 16;
    const std::int64_t runs = std::clamp<std::int64_t>(n / 512, 128, 4096);
    Scratch frame;
    const auto sample = frame.take<std::int32_t>(runs * run + slack);
    float buffer[run];
    auto cursor = source_.cursor(s * s_.segment);
    for (std::int64_t r = 0; r < runs; ++r) {
      const std::int64_t i = s * s_.segment + (n - run) * r / (runs - 1);
      const float* v = cursor.load(i, run, buffer);
      for (std::int64_t j = 0; j < run; ++j)
        sample[static_cast<std::size_t>(r * run + j)] = as_key<S>(S::score(v[j], i + j));
    }
    return bracket_of(sample.data(), runs * run, static_cast<double>(k) / static_cast<double>(n));
  }

  /// The exact way that no input can mislead: the key's bits from the top, one histogram a sweep.
  Cut by_histogram(std::int64_t s, std::int64_t k, Piece* piece) const {
    const auto bits_of = [](std::int32_t key) { return static_cast<std::uint32_t>(key) ^ 0x80000000u; };
    std::uint32_t prefix = 0, known = 0;  // the bits of the cut found so far, and their mask
    std::int64_t rest = k;                // its rank among the keys that share them
    for (const auto& digit : {std::pair{21, 11}, std::pair{10, 11}, std::pair{0, 10}}) {
      const int shift = digit.first;
      std::array<std::atomic<std::int64_t>, 2048> count{};
      const std::uint32_t last = (1u << digit.second) - 1;
      each_piece(s, [&](std::int64_t, const float* v, std::int64_t i, std::int64_t n) {
        for (std::int64_t j = 0; j < n; ++j)
          if (const std::uint32_t x = bits_of(as_key<S>(S::score(v[j], i + j))); (x & known) == prefix)
            count[(x >> shift) & last].fetch_add(1, std::memory_order_relaxed);
      });
      std::uint32_t b = last;
      for (; rest > count[b].load(); --b) rest -= count[b].load();
      prefix |= b << shift;
      known |= last << shift;
    }
    const auto cut = static_cast<std::int32_t>(bits_of(static_cast<std::int32_t>(prefix)));
    each_piece(s, [&](std::int64_t p, const float* v, std::int64_t i, std::int64_t n) {
      std::int32_t key[chunk];
      PCOMP_SIMD((v, i, n, key), write_keys<S>);
      count(piece[p], key, n, cut);
    });
    return {cut, rest};
  }

  const Source& source_;
  Segments s_;
  const ParallelFor& par_;
};

}  // namespace pcomp::detail
