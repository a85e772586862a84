#pragma once
#include "../../parallel.hpp"
#include "candidates.hpp"

namespace pcomp::detail {

/// Finds the exact cut of each long segment, and how many survivors each piece has, in one sweep over the input.
///
/// A sample brackets the cut; the sweep counts the keys above the bracket and gathers the few inside, from which the
/// cut is selected. The survivors are among the candidates that the sweep keeps. Where the sample misled, histograms
/// of the keys decide, at the cost of more sweeps: the cut is always exact.
template <codec::SelectCodec S, class Source>
class ThresholdSearch {
 public:
  struct Piece {
    std::int32_t above = 0, equal = 0, ties = 0;  // keys above the cut, at it, and how many of those survive
  };

  ThresholdSearch(const Source& source, const Segments& s, const kernel::ParallelFor& par, Candidates& kept)
      : source_(source), s_(s), par_(par), kept_(kept) {}

  /// Fills `piece` for all pieces of segment s and returns its cut.
  Cut find(std::int64_t s, Piece* piece) const {
    const std::int64_t n = s_.size_of(s), k = s_.keep_of(s), pieces = ceil_div(n, chunk);
    std::fill_n(piece, pieces, Piece{});
    if (k <= 0) return {};
    const Cut cut = n <= gathered_whole ? by_sorting(s, k, piece) : by_bracket(s, k, piece);
    std::int64_t ties = cut.ties;
    for (std::int64_t p = 0; p < pieces; ++p) {
      piece[p].ties = static_cast<std::int32_t>(std::min<std::int64_t>(piece[p].equal, ties));
      ties -= piece[p].ties;
    }
    return cut;
  }

 private:
  /// On several threads, calls f(all), where all(g) calls g(piece, values, first, n) for some pieces of segment s.
  template <class F>
  void each_stretch(std::int64_t s, F&& f) const {
    const std::int64_t n = s_.size_of(s), begin = s * s_.segment;
    par_(ceil_div(n, chunk), sweep_grain, [&](std::int64_t b, std::int64_t e) {
      f([&](auto&& g) {
        float buffer[chunk];
        auto cursor = source_.cursor(begin + b * chunk);
        for (std::int64_t p = b; p < e; ++p) {
          const std::int64_t i = begin + p * chunk, count = std::min(chunk, n - p * chunk);
          g(p, cursor.load(i, count, buffer), i, count);
        }
      });
    });
  }
  template <class F>
  void each_piece(std::int64_t s, F&& f) const {
    each_stretch(s, [&](auto&& all) { all(f); });
  }

  Cut by_sorting(std::int64_t s, std::int64_t k, Piece* piece) const {
    Scratch frame;
    const std::int64_t n = s_.size_of(s);
    const auto key = frame.take<std::int32_t>(n + slack), order = frame.take<std::int32_t>(n + slack);
    each_piece(s, [&](std::int64_t p, const float* v, std::int64_t i, std::int64_t count) {
      PCOMP_DISPATCH(write_keys<S>)(v, i, count, key.data() + p * chunk);
    });
    std::copy_n(key.begin(), n, order.begin());
    const std::int32_t at = PCOMP_DISPATCH(nth_highest)(order.data(), n, k);
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
    const Bracket ends = bracket(s, n, k);
    SharedList<std::int32_t> inside;
    inside.make(frame, static_cast<std::int64_t>(2 * ends.inside * static_cast<double>(n)), sweep_writers(n));
    const auto start = frame.take<std::int64_t>(pieces);
    const auto found = frame.take<std::int32_t>(pieces);
    const std::int64_t first = s * s_.pieces_each;
    each_stretch(s, [&](auto&& all) {
      SharedList<std::int32_t>::Writer keys(inside);
      Candidates::Writer values(kept_);
      all([&](std::int64_t p, const float* v, std::int64_t i, std::int64_t count) {
        std::int32_t in[chunk + slack];
        const auto both = see(first + p, v, i, count, ends, values, in);
        piece[p].above = both[0];
        found[static_cast<std::size_t>(p)] = both[1];
        start[static_cast<std::size_t>(p)] = keys.put(in, both[1]);
      });
    });
    std::int64_t above = 0, in = 0;
    const auto to = frame.take<std::int64_t>(pieces);
    for (std::int64_t p = 0; p < pieces; ++p) {
      to[static_cast<std::size_t>(p)] = in;
      above += piece[p].above, in += found[static_cast<std::size_t>(p)];
    }
    if (inside.overflown() || k <= above || k > above + in) {
      kept_.forget(first, pieces);
      return at_an_end(s, k, above, in, ends.lo, ends.hi, found.data(), piece);
    }
    const auto key = frame.take<std::int32_t>(in + slack);
    par_(pieces, cut_grain, [&](std::int64_t b, std::int64_t e) {
      for (auto p = static_cast<std::size_t>(b); p < static_cast<std::size_t>(e); ++p)
        std::copy_n(inside.data() + start[p], found[p], key.data() + to[p]);
    });
    const std::int32_t cut = PCOMP_DISPATCH(nth_between)(key.data(), in, k - above, ends.lo, ends.hi);
    std::atomic<std::int64_t> over{0};
    par_(pieces, cut_grain, [&](std::int64_t b, std::int64_t e) {
      std::int64_t mine = 0;
      for (std::int64_t p = b; p < e; ++p) {
        Piece more;
        count(more, inside.data() + start[static_cast<std::size_t>(p)], found[static_cast<std::size_t>(p)],
              cut);
        piece[p].above += more.above;
        piece[p].equal = more.equal;
        mine += piece[p].above;
      }
      over += mine;
    });
    return {cut, k - over};
  }

  /// Counts a piece's keys above a bracket, gathers those inside, and keeps what lies above its lower end.
  std::array<std::int32_t, 2> see(std::int64_t piece, const float* v, std::int64_t i, std::int64_t n,
                                  const Bracket& b, Candidates::Writer& values, std::int32_t* in) const {
    if constexpr (is_magnitude<S>) {
      if (kept_.takes()) {
        float value[chunk + slack];
        std::uint8_t place[chunk + slack];
        const auto all = PCOMP_DISPATCH(sweep<S>)(v, n, b.lo, b.hi, value, kept_.mask(piece), place, in);
        values.put(piece, value, place, all[0]);
        return {all[1], all[2]};
      }
    }
    return PCOMP_DISPATCH(split<S>)(v, i, n, b.lo, b.hi, in);
  }

  /// With many equal keys an end of the bracket may be the cut: one more sweep counts the keys at both ends.
  Cut at_an_end(std::int64_t s, std::int64_t k, std::int64_t above, std::int64_t in, std::int32_t lo,
                std::int32_t hi, const std::int32_t* found, Piece* piece) const {
    Scratch frame;
    const std::int64_t pieces = ceil_div(s_.size_of(s), chunk);
    const auto ends = frame.take<std::array<std::int32_t, 2>>(pieces);
    each_piece(s, [&](std::int64_t p, const float* v, std::int64_t i, std::int64_t count) {
      ends[static_cast<std::size_t>(p)] = PCOMP_DISPATCH(count_equal<S>)(v, i, count, hi, lo);
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
    const auto both = PCOMP_DISPATCH(count_at)(key, n, cut);
    piece.above = both[0], piece.equal = both[1];
  }

  Bracket bracket(std::int64_t s, std::int64_t n, std::int64_t k) const {
    constexpr std::int64_t run = sample_run;
    const std::int64_t runs = sample_runs(n);
    Scratch frame;
    const auto sample = frame.take<std::int32_t>(runs * run + slack);
    par_(runs, runs_grain, [&](std::int64_t b, std::int64_t e) {
      float buffer[run];
      const auto at = [&](std::int64_t r) { return s * s_.segment + (n - run) * r / (runs - 1); };
      auto cursor = source_.cursor(at(b));
      for (std::int64_t r = b; r < e; ++r)
        PCOMP_DISPATCH(write_keys<S>)(cursor.load(at(r), run, buffer), at(r), run, sample.data() + r * run);
    });
    return bracket_of(sample.data(), runs * run, static_cast<double>(k) / static_cast<double>(n));
  }

  /// The fallback that no input can mislead: the cut's bits from the top, one histogram per sweep.
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
          if (const std::uint32_t x = bits_of(as_key<S>(score_of<S>(v[j], i + j))); (x & known) == prefix)
            count[(x >> shift) & last].fetch_add(1, std::memory_order_relaxed);
      });
      std::uint32_t b = last;
      for (; b > 0 && rest > count[b].load(); --b) rest -= count[b].load();
      prefix |= b << shift;
      known |= last << shift;
    }
    const auto cut = static_cast<std::int32_t>(bits_of(static_cast<std::int32_t>(prefix)));
    each_piece(s, [&](std::int64_t p, const float* v, std::int64_t i, std::int64_t n) {
      std::int32_t key[chunk];
      PCOMP_DISPATCH(write_keys<S>)(v, i, n, key);
      count(piece[p], key, n, cut);
    });
    return {cut, rest};
  }

  const Source& source_;
  Segments s_;
  const kernel::ParallelFor& par_;
  Candidates& kept_;
};

}  // namespace pcomp::detail
