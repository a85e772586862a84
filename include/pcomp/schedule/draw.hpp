#pragma once
#include "trace.hpp"

namespace pcomp::schedule {

/// A chart of a trace as text: ranks as lanes, time to the right, a dot where a rank is idle.
///
/// Law: a computation is labelled where there is room; without room, a forward is the last digit of its
///   micro-batch, a backward that digit as a letter from a, gradients of weights a w; in colour, the digit.
/// Shapes: at most `width` columns (20 or more), in as many blocks as it takes; `colour` adds ANSI colours.
/// Example: examples/040-schedules
struct TextChart {
  bool colour = false;
  int width = 160;

  template <class T = Trace>  // so that a program that draws nothing does not pay for it
  std::string operator()(const T& trace) const {
    const double end = trace.end();
    const int room = width > 20 ? width - 10 : 10;
    int cell = 1;  // columns per tick
    if (trace.ticks) {
      for (const auto& lane : trace.ranks)
        for (const Interval& i : lane)
          if (const int n = static_cast<int>(label(i, trace.loops()).size()) + 1; n > cell) cell = n;
      if (end * cell > room) cell = 1;
    }
    const double scale = trace.ticks ? cell : end > 0 ? room / end : 1;
    const auto columns = static_cast<std::size_t>(end * scale + 0.5);
    std::string text = trace.title + '\n';
    std::vector<Lane> lanes;
    for (const auto& lane : trace.ranks) lanes.push_back(lay(trace, lane, columns, cell, scale));
    const auto block = static_cast<std::size_t>(room - room % cell);
    for (std::size_t first = 0; first == 0 || first < columns; first += block)
      for (std::size_t r = 0; r < lanes.size(); ++r) text += line(lanes[r], r, first, first + block);
    return text + legend(trace, cell);
  }

 private:
  struct Lane {
    std::string text;
    std::string paint;  ///< per column: F, B, W or blank
  };

  template <class T, class Intervals>
  Lane lay(const T& trace, const Intervals& intervals, std::size_t columns, int cell, double scale) const {
    Lane lane{std::string(columns, ' '), std::string(columns, ' ')};
    for (std::size_t c = 0; c < columns; c += static_cast<std::size_t>(cell)) lane.text[c] = '.';
    for (const Interval& i : intervals) {
      if (!is_compute(i.op)) continue;
      const auto from = static_cast<std::size_t>(i.begin * scale + 0.5);
      auto to = static_cast<std::size_t>(i.end * scale + 0.5);
      if (to <= from) to = from + 1;
      if (to > columns) continue;
      std::string name = label(i, trace.loops());
      const char kind = name[0];
      if (name.size() > to - from)
        name = kind == 'W' && !colour ? 'w'
                                      : static_cast<char>((kind == 'F' || colour ? '0' : 'a') + i.micro % 10);
      const char fill = trace.ticks || colour ? ' ' : '-';
      for (std::size_t c = from; c < to; ++c) {
        lane.text[c] = c - from < name.size() ? name[c - from] : fill;
        if (cell == 1 || c + 1 < to) lane.paint[c] = kind;
      }
    }
    return lane;
  }

  std::string line(const Lane& lane, std::size_t rank, std::size_t first, std::size_t last) const {
    const std::string number = std::to_string(rank);
    std::string text = "rank " + std::string(number.size() < 2 ? 1 : 0, ' ') + number + " | ";
    if (last > lane.text.size()) last = lane.text.size();
    char paint = ' ';
    for (std::size_t c = first; c < last; ++c) {
      if (colour && lane.paint[c] != paint) {
        paint = lane.paint[c];
        text += paint == 'F'   ? "\033[0;30;104m"
                : paint == 'B' ? "\033[0;30;102m"
                : paint == 'W' ? "\033[0;30;103m"
                               : "\033[0;90m";
      }
      text += lane.text[c];
    }
    if (colour) return text + "\033[0m\n";
    while (text.back() == ' ') text.pop_back();
    return text + '\n';
  }

  template <class T>
  std::string legend(const T& trace, int cell) const {
    bool weights = false;
    for (const auto& lane : trace.ranks)
      for (const Interval& i : lane) weights = weights || i.op == Op::BackwardWeights;
    std::string text;
    if (colour && trace.ticks && cell == 1)
      return std::string("a digit: the micro-batch that ends in it; blue: forward, green: backward") +
             (weights ? ", yellow: gradients of weights\n" : "\n");
    if (trace.ticks && cell == 1)
      text = "a digit: forward of the micro-batch that ends in it; a letter: backward, a for 0";
    else
      text = trace.loops() ? "Fs.m, Bs.m: forward and backward of stage s, micro-batch m"
                           : "Fm, Bm: forward and backward of micro-batch m";
    if (weights) text += cell == 1 && trace.ticks ? "; w: gradients of weights" : "; W: gradients of weights";
    if (!trace.ticks) {
      char length[60];
      std::snprintf(length, sizeof length, "; the whole is %.4g s", trace.end());
      text += length;
    }
    return text + '\n';
  }
};

}  // namespace pcomp::schedule
