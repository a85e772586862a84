#pragma once
#include "dense.hpp"

namespace pcomp::detail {

/// Mean for what is sent forward, sum for its adjoint.
enum class Pool { mean, sum };

/// The last two extents before and after pooling by K.
struct PoolShape {
  std::int64_t h, w, oh, ow;
  PoolShape(const Extents& e, int k)
      : h(e[e.rank() - 2]), w(e[e.rank() - 1]), oh(ceil_div(h, k)), ow(ceil_div(w, k)) {}
  bool is_whole(int k) const { return h % k == 0 && w % k == 0; }

  /// Calls f(first input row, rows, first input column, columns, windows, output index) for runs within one
  /// pooled row.
  template <class F>
  void for_runs(std::int64_t i, std::int64_t n, int k, std::int64_t most, F&& f) const {
    while (n > 0) {
      const std::int64_t line = i / ow, column = i % ow, y = line % oh * k;
      const std::int64_t windows = std::min({n, ow - column, most});
      f(line / oh * h + y, std::min<std::int64_t>(k, h - y), column * k,
        std::min(windows * k, w - column * k), windows, i);
      i += windows, n -= windows;
    }
  }
};

/// What a cursor loads, for whoever finds in its own results what is not finite: a pooled source then looks for none.
template <class Cursor>
const float* load_unchecked(Cursor& from, std::int64_t i, std::int64_t n, float* buffer) {
  if constexpr (requires { from.load_unchecked(i, n, buffer); })
    return from.load_unchecked(i, n, buffer);
  else
    return from.load(i, n, buffer);
}

/// Another source, pooled.
template <class Inner, int K, Pool mode>
struct PooledSource {
  static constexpr std::int64_t run_windows = std::max<std::int64_t>(1, 1024 / K);
  using InnerCursor = decltype(std::declval<const Inner&>().cursor(0));

  Inner inner;
  PoolShape shape;

  PooledSource(Inner source, const Extents& before) : inner(source), shape(before, K) {}
  struct Cursor;
  Cursor cursor(std::int64_t) const { return {inner.cursor(0), shape}; }

  struct Cursor {
    InnerCursor inner;
    PoolShape shape;

    const float* load(std::int64_t i, std::int64_t n, float* buffer) {
      pool<false>(i, n, buffer);
      if (PCOMP_DISPATCH(all_finite)(static_cast<const float*>(buffer), n)) return buffer;
      if constexpr (requires { inner.load_unchecked(i, n, buffer); }) pool<true>(i, n, buffer);
      repair(i, n, buffer);
      return buffer;
    }
    const float* load_unchecked(std::int64_t i, std::int64_t n, float* buffer) {
      pool<false>(i, n, buffer);
      return buffer;
    }

   private:
    template <bool checked>
    const float* inner_load(std::int64_t i, std::int64_t n, float* buffer) {
      if constexpr (checked)
        return inner.load(i, n, buffer);
      else
        return detail::load_unchecked(inner, i, n, buffer);
    }

    template <bool checked>
    void pool(std::int64_t i, std::int64_t n, float* out) {
      if constexpr (K <= 4 && requires { inner.in_place(); })
        if (shape.is_whole(K)) {
          const std::int64_t lines = K * shape.w;  // elements under one line of windows
          while (n > 0) {
            const std::int64_t line = i / shape.ow, wanted = ceil_div(i + n, shape.ow) - line;
            const auto v = inner.stretch(line * lines, wanted * lines);
            const std::int64_t end = (line + static_cast<std::int64_t>(v.size()) / lines) * shape.ow;
            const std::int64_t part = std::min(n, end - i);
            if (part <= 0) break;
            PCOMP_DISPATCH(pool_lines<K>)(v.data(), shape.w, i - line * shape.ow, part, weight(K, K), out);
            i += part, n -= part, out += part;
          }
        }
      shape.for_runs(i, n, K, run_windows,
                     [&](std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns,
                         std::int64_t windows, std::int64_t) {
                       pool_row<checked>(row, rows, column, columns, windows, out);
                       out += windows;
                     });
    }

    /// Pools again, with room for the sums, where floats alone made an infinity or a NaN of finite elements. Others
    /// stay, and every NaN becomes the same.
    void repair(std::int64_t i, std::int64_t n, float* out) {
      shape.for_runs(i, n, K, 1,
                     [&](std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns,
                         std::int64_t, std::int64_t at) {
                       float& value = out[at - i];
                       if (is_finite(value)) return;
                       double sum[K] = {};
                       float rest[K];
                       bool finite = true;
                       for (std::int64_t y = 0; y < rows; ++y) {
                         const float* v = inner.load((row + y) * shape.w + column, columns, rest);
                         for (std::int64_t x = 0; x < columns; ++x)
                           sum[x] += static_cast<double>(v[x]), finite = finite && is_finite(v[x]);
                       }
                       value = finite ? wide_pool(sum, columns, rows, mode == Pool::mean) : canonical(value);
                     });
    }

    static float weight(std::int64_t rows, std::int64_t columns) {
      return mode == Pool::mean ? 1.0f / static_cast<float>(rows * columns) : 1.0f;
    }

    /// A row that stays valid past the next load.
    template <bool checked>
    const float* row_of(std::int64_t i, std::int64_t n, float* buffer) {
      const float* v = inner_load<checked>(i, n, buffer);
      if constexpr (requires { inner.in_place(); })
        if (inner.in_place()) return v;
      if (v != buffer) std::copy_n(v, n, buffer);
      return buffer;
    }

    template <bool checked>
    void pool_row(std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns,
                  std::int64_t windows, float* out) {
      const std::int64_t whole = columns / K;
      float rest[run_windows * K];
      if (K <= 4 && rows == K && whole == windows) {
        float widened[K <= 4 ? K : 1][run_windows * K];
        const float* in[K <= 4 ? K : 1];
        for (int y = 0; y < (K <= 4 ? K : 1); ++y)
          in[y] = row_of<checked>((row + y) * shape.w + column, columns, widened[y]);
        if constexpr (K <= 4) PCOMP_DISPATCH(pool_rows<K>)(in, windows, weight(K, K), out);
        return;
      }
      float sum[run_windows * K];
      std::memcpy(sum, inner_load<checked>(row * shape.w + column, columns, rest),
                  static_cast<std::size_t>(columns) * sizeof(float));
      for (std::int64_t y = 1; y < rows; ++y) PCOMP_DISPATCH(add_row)
      (inner_load<checked>((row + y) * shape.w + column, columns, rest), columns, sum);
      PCOMP_DISPATCH(sum_columns<K>)(sum, whole, weight(rows, K), out);
      if (whole < windows) {  // the ragged right edge
        const std::int64_t left = columns - whole * K;
        float s = sum[whole * K];
        for (std::int64_t x = 1; x < left; ++x) s += sum[whole * K + x];
        out[whole] = s * weight(rows, left);
      }
    }
  };
};

/// Feeds another sink each value K x K times: the value itself forward, its share of the window for the mean's
/// adjoint.
template <class Inner, int K, Pool mode>
struct UnpooledSink {
  static constexpr std::int64_t run_windows = std::max<std::int64_t>(1, 1024 / K);

  Inner inner;
  PoolShape shape;

  UnpooledSink(Inner sink, const Extents& before) : inner(sink), shape(before, K) {}

  float* direct(std::int64_t) const { return nullptr; }
  bool past_caches() const { return false; }

  class Cursor {
   public:
    explicit Cursor(const UnpooledSink& s)
        : inner_(s.inner.cursor()),
          all_(s.inner.direct(0)),
          past_caches_(s.inner.past_caches()),
          shape_(s.shape) {
      if (!shape_.is_whole(K)) all_ = nullptr;
    }

    void store(std::int64_t i, std::int64_t n, const float* values) {
      if (all_) {
        PCOMP_DISPATCH(repeat_lines<K>)(values, shape_.w, i, n, share(K, K), past_caches_, all_);
        return;
      }
      if constexpr (requires { inner_.stretch(i, n, n); }) whole_lines(i, n, values);
      shape_.for_runs(i, n, K, run_windows,
                      [&](std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns,
                          std::int64_t windows, std::int64_t at) {
                        const float* v = values + (at - i);
                        const std::int64_t whole = columns / K;
                        float line[run_windows * K];
                        PCOMP_DISPATCH(repeat_columns<K>)(v, whole, share(rows, K), line);
                        for (std::int64_t x = whole * K; x < columns; ++x)
                          line[x] = v[windows - 1] * share(rows, columns - whole * K);
                        for (std::int64_t y = 0; y < rows; ++y)
                          inner_.store((row + y) * shape_.w + column, columns, line);
                      });
    }

   private:
    /// Writes as many whole lines of windows from here on as get contiguous room.
    void whole_lines(std::int64_t& i, std::int64_t& n, const float*& values) {
      if (!shape_.is_whole(K) || i % shape_.ow != 0) return;
      const std::int64_t lines = K * shape_.w;  // elements under one line of windows
      while (n >= shape_.ow) {
        const auto to = inner_.stretch(i / shape_.ow * lines, n / shape_.ow * lines, lines);
        if (to.empty()) return;
        const std::int64_t part = static_cast<std::int64_t>(to.size()) / lines * shape_.ow;
        PCOMP_DISPATCH(repeat_lines<K>)
        (values, shape_.w, std::int64_t{0}, part, share(K, K), false, to.data());
        i += part, n -= part, values += part;
      }
    }

    static float share(std::int64_t rows, std::int64_t columns) {
      return mode == Pool::sum ? 1.0f / static_cast<float>(rows * columns) : 1.0f;
    }

    decltype(std::declval<const Inner&>().cursor()) inner_;
    float* all_;
    bool past_caches_;
    PoolShape shape_;
  };
  Cursor cursor() const { return Cursor(*this); }
};

}  // namespace pcomp::detail
