#pragma once
#include "../../axes.hpp"
#include "pool.hpp"

namespace pcomp::detail {

/// Stretches of the last dimension, under the windows of the others.
template <class S>
struct PooledRows {
  static constexpr int K = S::factor;
  static constexpr std::int64_t most = 1024;  // elements at a time

  PooledAxes<std::int64_t> axes;
  std::int64_t w, ow, each;  // the last dimension before and after, and its window

  explicit PooledRows(const Extents& before)
      : axes(pooled_axes<std::int64_t, S>(before)),
        w(axes.in[axes.rank - 1]),
        ow(axes.out[axes.rank - 1]),
        each(is_across() ? K : 1) {}
  bool is_across() const { return axes.is_wide(axes.rank - 1); }

  /// Calls f(window of the other dimensions, first element, elements, pooled elements, which of [i, i + n) is first).
  template <class F>
  void for_runs(std::int64_t i, std::int64_t n, F&& f) const {
    for (std::int64_t done = 0; done < n;) {
      const std::int64_t column = (i + done) % ow, windows = std::min({n - done, ow - column, most / each});
      const auto window = axes.window((i + done) / ow, axes.rank - 1, w);
      f(window, window.first + column * each, std::min(windows * each, w - column * each), windows, done);
      done += windows;
    }
  }
};

/// Another source, pooled along the dimensions that S names: rows are summed along the first of them, those sums along
/// the second, and so on; the columns of the sums come last.
template <class Inner, class S, Pool mode>
struct AxesPooledSource {
  using InnerCursor = decltype(std::declval<const Inner&>().cursor(0));
  using Rows = PooledRows<S>;
  using Window = PooledWindow<std::int64_t>;

  Inner inner;
  Rows rows;

  AxesPooledSource(Inner source, const Extents& before) : inner(source), rows(before) {}
  struct Cursor;
  Cursor cursor(std::int64_t) const { return {inner.cursor(0), rows}; }

  struct Cursor {
    InnerCursor inner;
    Rows rows;

    const float* load(std::int64_t i, std::int64_t n, float* buffer) {
      rows.for_runs(i, n,
                    [&](const Window& window, std::int64_t first, std::int64_t columns, std::int64_t windows,
                        std::int64_t at) {
                      float room[S::named + 1][Rows::most];
                      const float* sums = summed(window, window.axes, first, columns, room);
                      float* out = buffer + at;
                      if (!rows.is_across()) {
                        PCOMP_DISPATCH(sum_columns<1>)(sums, windows, weight(window.size), out);
                        return;
                      }
                      constexpr int K = S::factor;
                      const std::int64_t whole = columns / K, left = columns - whole * K;
                      PCOMP_DISPATCH(sum_columns<K>)(sums, whole, weight(window.size * K), out);
                      if (left == 0) return;
                      float s = sums[whole * K];
                      for (std::int64_t x = 1; x < left; ++x) s += sums[whole * K + x];
                      out[whole] = s * weight(window.size * left);
                    });
      if (!PCOMP_DISPATCH(all_finite)(static_cast<const float*>(buffer), n))
        for (std::int64_t j = 0; j < n; ++j)
          if (!is_finite(buffer[j])) buffer[j] = again(i + j, buffer[j]);
      return buffer;
    }

   private:
    /// Pools element i again in doubles, where floats made `value`, an infinity or a NaN, of finite elements.
    float again(std::int64_t i, float value) {
      const Window w = rows.axes.window(i, rows.axes.rank, 1);
      double sum[Extents::max_rank] = {};
      std::int64_t at[Extents::max_rank] = {};
      for (std::int64_t e = 0; e < w.size; ++e) {
        std::int64_t from = w.first;
        for (int a = 0; a < w.axes; ++a) from += at[a] * w.step[a];
        float room;
        const float given = *inner.load(from, 1, &room);
        if (!is_finite(given)) return canonical(value);
        double v = static_cast<double>(given);
        for (int a = w.axes; a-- > 0;) {
          sum[a] = at[a] ? sum[a] + v : v;
          if (++at[a] < w.count[a]) break;
          at[a] = 0, v = sum[a];
        }
      }
      return wide_pool(sum, 1, w.size, mode == Pool::mean);
    }
    static float weight(std::int64_t count) {
      return mode == Pool::mean ? 1.0f / static_cast<float>(count) : 1.0f;
    }
    /// n sums over the first `level` dimensions with windows, valid until the next call.
    const float* summed(const Window& w, int level, std::int64_t at, std::int64_t n,
                        float (*room)[Rows::most]) {
      if (level == 0) return inner.load(at, n, room[0]);
      const int axis = w.axes - level;
      const float* first = summed(w, level - 1, at, n, room);
      if (w.count[axis] == 1) return first;
      float* const sum = room[level];
      std::memcpy(sum, first, static_cast<std::size_t>(n) * sizeof(float));
      for (std::int64_t y = 1; y < w.count[axis]; ++y)
        PCOMP_DISPATCH(add_row)(summed(w, level - 1, at + y * w.step[axis], n, room), n, sum);
      return sum;
    }
  };
};

/// Feeds another sink each value as often as its window has elements: the value itself forward, its share of the window
/// for the mean's adjoint.
template <class Inner, class S, Pool mode>
struct AxesUnpooledSink {
  using Rows = PooledRows<S>;
  using Window = PooledWindow<std::int64_t>;

  Inner inner;
  Rows rows;

  AxesUnpooledSink(Inner sink, const Extents& before) : inner(sink), rows(before) {}

  float* direct(std::int64_t) const { return nullptr; }
  bool past_caches() const { return false; }

  class Cursor {
   public:
    explicit Cursor(const AxesUnpooledSink& s) : inner_(s.inner.cursor()), rows_(s.rows) {}

    void store(std::int64_t i, std::int64_t n, const float* values) {
      rows_.for_runs(i, n,
                     [&](const Window& window, std::int64_t first, std::int64_t columns, std::int64_t windows,
                         std::int64_t at) {
                       const float* v = values + at;
                       float line[Rows::most];
                       if (rows_.is_across()) {
                         constexpr int K = S::factor;
                         const std::int64_t whole = columns / K;
                         PCOMP_DISPATCH(repeat_columns<K>)(v, whole, share(window.size * K), line);
                         for (std::int64_t x = whole * K; x < columns; ++x)
                           line[x] = v[whole] * share(window.size * (columns - whole * K));
                       } else {
                         PCOMP_DISPATCH(repeat_columns<1>)(v, windows, share(window.size), line);
                       }
                       spread(window, window.axes, first, columns, line);
                     });
    }

   private:
    static float share(std::int64_t count) {
      return mode == Pool::sum ? 1.0f / static_cast<float>(count) : 1.0f;
    }
    void spread(const Window& w, int level, std::int64_t at, std::int64_t n, const float* line) {
      if (level == 0) return inner_.store(at, n, line);
      const int axis = w.axes - level;
      for (std::int64_t y = 0; y < w.count[axis]; ++y) spread(w, level - 1, at + y * w.step[axis], n, line);
    }

    decltype(std::declval<const Inner&>().cursor()) inner_;
    Rows rows_;
  };
  Cursor cursor() const { return Cursor(*this); }
};

}  // namespace pcomp::detail
