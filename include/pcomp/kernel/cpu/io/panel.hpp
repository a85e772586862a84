#pragma once
#include <optional>

#include "../scratch.hpp"
#include "../simd/simd.hpp"
#include "strides.hpp"

namespace pcomp::detail {

/// Reads a strided tensor in row-major order: in place where it is contiguous, else through a transposed panel
/// that stays in cache, else one by one.
///
/// Law: only sequential readers get a panel; for scattered samples it would not pay off.
template <class T>
class PanelReader {
 public:
  PanelReader(const StridedOrder& order, const void* data)
      : order_(order), data_(static_cast<const T*>(data)), held_(frame_.take<T>(order.panel_size())) {}

  /// Contiguous elements from i on, valid until the next call: n of them or fewer, perhaps none.
  std::span<const T> stretch(std::int64_t i, std::int64_t n) {
    if (!order_.has_panels() || (n < worth && !panel_.has(i))) return {};
    if (!panel_.has(i)) fill(i);
    return {held_.data() + (i - panel_.begin), static_cast<std::size_t>(std::min(n, panel_.end - i))};
  }

  /// Elements [i, i + n), n <= chunk: in `room`, or elsewhere and valid until the next call.
  const T* load(std::int64_t i, std::int64_t n, T* room) {
    streak_ = i == next_ ? streak_ + n : n;
    next_ = i + n;
    if (order_.has_panels() && (panel_.has(i) || streak_ >= worth)) return through_panels(i, n, room);
    const T* place = nullptr;
    order_.for_rows(i, n, [&](std::int64_t at, std::int64_t stride, std::int64_t first, std::int64_t count) {
      const T* in = data_ + at;
      T* out = room + (first - i);
      if (stride == 1 && count == n)
        place = in;
      else if (stride == 1)
        std::copy_n(in, count, out);
      else
        for (std::int64_t j = 0; j < count; ++j) out[j] = in[j * stride];
    });
    return place ? place : room;
  }

 private:
  static constexpr std::int64_t worth = 512;  // elements in a row

  const T* through_panels(std::int64_t i, std::int64_t n, T* room) {
    if (!panel_.has(i)) fill(i);
    if (i + n <= panel_.end) return held_.data() + (i - panel_.begin);
    T* out = room;
    while (n > 0) {
      if (!panel_.has(i)) fill(i);
      const std::int64_t part = std::min(n, panel_.end - i);
      out = std::copy_n(held_.data() + (i - panel_.begin), part, out);
      i += part, n -= part;
    }
    return room;
  }

  void fill(std::int64_t i) {
    panel_ = order_.panel_of(i);
    const std::int64_t step = order_.step(), steps = order_.steps_of(panel_);
    order_.for_panel_rows(panel_,
                          [&](std::int64_t at, std::int64_t stride, std::int64_t first, std::int64_t count) {
                            T* out = held_.data() + (first - panel_.begin);
                            PCOMP_DISPATCH(transpose<T>)(data_ + at, stride, count, steps, out, step);
                          });
  }

  Scratch frame_;
  StridedOrder order_;
  const T* data_;
  std::span<T> held_;
  StridedOrder::Panel panel_;
  std::int64_t next_ = -1, streak_ = 0;
};

/// The inverse: takes elements roughly in row-major order, and writes a panel as a whole if all of it has arrived.
template <class T>
class PanelWriter {
 public:
  PanelWriter(const StridedOrder& order, void* data)
      : order_(order), data_(static_cast<T*>(data)), held_(frame_.take<T>(order.panel_size())) {}
  ~PanelWriter() { flush(); }
  PanelWriter(const PanelWriter&) = delete;
  PanelWriter& operator=(const PanelWriter&) = delete;

  void store(std::int64_t i, std::int64_t n, const T* values) {
    if (!order_.has_panels()) return scatter(i, n, values);
    while (n > 0) {
      const auto to = stretch(i, n, 1);
      std::copy_n(values, to.size(), to.begin());
      const auto part = static_cast<std::int64_t>(to.size());
      i += part, n -= part, values += part;
    }
  }

  /// Room for elements from i on, a multiple of `each` up to n, perhaps 0; the caller must write all of it.
  std::span<T> stretch(std::int64_t i, std::int64_t n, std::int64_t each) {
    if (!order_.has_panels()) return {};
    if (!panel_.has(i)) {
      flush();
      panel_ = order_.panel_of(i);
    }
    const std::int64_t part = std::min(n, panel_.end - i) / each * each;
    if (part > 0) note(i, i + part);
    return held_.subspan(static_cast<std::size_t>(i - panel_.begin), static_cast<std::size_t>(part));
  }

 private:
  struct Run {
    std::int64_t begin, end;
  };
  static constexpr std::size_t most_runs = 128;

  /// Records what has arrived of the panel.
  void note(std::int64_t begin, std::int64_t end) {
    filled_ += end - begin;
    if (runs_ > 0 && run_[runs_ - 1].end == begin) {
      run_[runs_ - 1].end = end;
      return;
    }
    if (runs_ == most_runs) write_runs();
    run_[runs_++] = {begin, end};
  }

  void flush() {
    if (filled_ > 0 && filled_ == panel_.end - panel_.begin) run_[0] = {panel_.begin, panel_.end}, runs_ = 1;
    write_runs();
    panel_ = {};
    filled_ = 0;
  }
  void write_runs() {
    for (std::size_t r = 0; r < runs_; ++r) write(run_[r].begin, run_[r].end);
    runs_ = 0;
  }
  /// Writes whole steps of the panel at once, and what is left at both ends one by one.
  void write(std::int64_t begin, std::int64_t end) {
    const std::int64_t step = order_.step(), base = panel_.begin;
    const std::int64_t from = base + ceil_div(begin - base, step) * step,
                       to = base + (end - base) / step * step;
    if (from >= to) return scatter_held(begin, end);
    scatter_held(begin, from);
    order_.for_panel_rows(
        {from, to}, [&](std::int64_t at, std::int64_t stride, std::int64_t first, std::int64_t count) {
          PCOMP_DISPATCH(transpose<T>)
          (held_.data() + (first - base), step, (to - from) / step, count, data_ + at, stride);
        });
    scatter_held(to, end);
  }

  void scatter_held(std::int64_t begin, std::int64_t end) {
    if (begin < end) scatter(begin, end - begin, held_.data() + (begin - panel_.begin));
  }
  void scatter(std::int64_t i, std::int64_t n, const T* values) {
    order_.for_rows(i, n, [&](std::int64_t at, std::int64_t stride, std::int64_t first, std::int64_t count) {
      const T* in = values + (first - i);
      if (stride == 1)
        std::copy_n(in, count, data_ + at);
      else
        for (std::int64_t j = 0; j < count; ++j) data_[at + j * stride] = in[j];
    });
  }

  Scratch frame_;
  StridedOrder order_;
  T* data_;
  std::span<T> held_;
  StridedOrder::Panel panel_;
  std::array<Run, most_runs> run_;
  std::size_t runs_ = 0;
  std::int64_t filled_ = 0;
};

}  // namespace pcomp::detail
