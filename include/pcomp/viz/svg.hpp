#pragma once
#include <cmath>

#include "../schedule/draw.hpp"
#include "messages.hpp"

namespace pcomp::viz {

/// A Gantt chart of a trace as SVG: ranks as lanes, computations numbered by micro-batch, messages as thin arrows,
/// idle time hatched.
///
/// Law: one rectangle for every computation, one arrow for every message, all to scale.
/// Shapes: `width` in pixels; `seconds` is the time shown, 0 for the trace's own, so that charts can be compared.
/// Example: examples/040-schedules
struct SvgChart {
  double width = 960;
  double seconds = 0;
  bool arrows = true;

  std::string operator()(const schedule::Trace& trace) const {
    Page page{trace, seconds > 0 ? seconds : trace.end(), width, arrows, {}};
    return page.draw();
  }

 private:
  struct Page {
    const schedule::Trace& trace;
    double end, width;
    bool arrows;
    std::string out;

    static constexpr double left = 58, right = 14, top = 34, lane = 24, gap = 13, bottom = 58;
    double scale() const { return (width - left - right) / (end > 0 ? end : 1); }
    double x(double time) const { return left + time * scale(); }
    double y(std::size_t rank) const { return top + static_cast<double>(rank) * (lane + gap); }

    template <class... A>
    void add(const char* format, A... a) {
      char text[400];
      std::snprintf(text, sizeof text, format, a...);
      out += text;
    }
    void escaped(const std::string& text) {
      for (char c : text) out += c == '<' ? "&lt;" : c == '&' ? "&amp;" : std::string(1, c);
    }

    static const char* colour(Op op, int chunk) {
      static constexpr const char* shades[3][4] = {{"#9ec5e8", "#5b9bd0", "#c9dff2", "#3a78ad"},
                                                   {"#a9d6a0", "#66b05b", "#d2eacd", "#458a3b"},
                                                   {"#f6cf83", "#e3a832", "#fbe6bd", "#b98316"}};
      return shades[op == Op::Forward ? 0 : op == Op::Backward ? 1 : 2][chunk % 4];
    }

    std::string draw() {
      const double lanes = y(trace.ranks.size()) - gap, height = lanes + bottom;
      add("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f "
          "%.0f\" "
          "font-family=\"Helvetica, Arial, sans-serif\">\n",
          width, height, width, height);
      out +=
          "<defs><pattern id=\"idle\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" "
          "patternTransform=\"rotate(45)\"><rect width=\"6\" height=\"6\" fill=\"#f4f4f4\"/>"
          "<line y2=\"6\" stroke=\"#d4d4d4\" stroke-width=\"2\"/></pattern>\n"
          "<marker id=\"head\" viewBox=\"0 0 6 6\" refX=\"5.4\" refY=\"3\" markerWidth=\"4.5\" "
          "markerHeight=\"4.5\" markerUnits=\"userSpaceOnUse\" orient=\"auto\">"
          "<path d=\"M0 0.6 L6 3 L0 5.4 z\" fill=\"#444\"/></marker></defs>\n"
          "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n";
      add("<text x=\"%.1f\" y=\"20\" font-size=\"14\" font-weight=\"bold\">", left);
      escaped(trace.title);
      out += "</text>\n";
      for (std::size_t r = 0; r < trace.ranks.size(); ++r) draw_lane(r);
      if (arrows)
        for (const detail::Flight& f : detail::messages_of(trace)) draw_arrow(f);
      draw_axis(lanes);
      draw_legend(lanes + 44);
      return out + "</svg>\n";
    }

    void draw_lane(std::size_t r) {
      const std::vector<schedule::Interval>& intervals = trace.ranks[r];
      add("<text x=\"%.1f\" y=\"%.1f\" font-size=\"12\" text-anchor=\"end\">rank %d</text>\n", left - 8,
          y(r) + lane / 2 + 4, static_cast<int>(r));
      add("<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.0f\" fill=\"url(#idle)\"/>\n", x(0), y(r),
          trace.end() * scale(), lane);
      const auto index = detail::chunks_of(intervals);
      int most = 0;
      for (const schedule::Interval& i : intervals) most = i.micro > most ? i.micro : most;
      const int digits = most < 10 ? 1 : most < 100 ? 2 : most < 1000 ? 3 : 5;
      for (const schedule::Interval& i : intervals) {
        if (!schedule::is_compute(i.op)) continue;
        const double w = (i.end - i.begin) * scale();
        add("<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.0f\" fill=\"%s\" stroke=\"#fff\" "
            "stroke-width=\"%.2f\"/>\n",
            x(i.begin), y(r), w, lane, colour(i.op, index.at(i.stage)), w > 4 ? 0.8 : 0.1);
        const double size = std::fmin(12, (w - 1) / (0.58 * digits));
        if (size >= 5.5)
          add("<text x=\"%.2f\" y=\"%.2f\" font-size=\"%.1f\" text-anchor=\"middle\">%d</text>\n",
              x(i.begin) + w / 2, y(r) + lane / 2 + 0.36 * size, size, i.micro);
      }
    }

    void draw_arrow(const detail::Flight& f) {
      const bool down = f.to > f.from;
      add("<line x1=\"%.2f\" y1=\"%.2f\" x2=\"%.2f\" y2=\"%.2f\" stroke=\"#444\" stroke-width=\"0.6\" "
          "marker-end=\"url(#head)\"/>\n",
          x(f.send->end), y(f.from) + (down ? lane : 0), x(f.receive->end), y(f.to) + (down ? 0 : lane));
    }

    void draw_axis(double lanes) {
      double step = std::pow(10, std::floor(std::log10(end > 0 ? end : 1)) - 1);
      for (int k = 0; end / step > 12; ++k) step *= k % 3 == 1 ? 2.5 : 2;
      if (trace.ticks) step = std::fmax(1, step);
      const bool thousandths = !trace.ticks && end < 1;
      add("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#444\"/>\n", x(0), lanes + 6,
          x(end), lanes + 6);
      for (int k = 0; k * step <= end * (1 + 1e-9); ++k)
        add("<line x1=\"%.2f\" y1=\"%.1f\" x2=\"%.2f\" y2=\"%.1f\" stroke=\"#444\"/><text x=\"%.2f\" "
            "y=\"%.1f\" font-size=\"10\" text-anchor=\"middle\">%.4g%s</text>\n",
            x(k * step), lanes + 6, x(k * step), lanes + 10, x(k * step), lanes + 21,
            k * step * (thousandths ? 1000 : 1),
            k             ? ""
            : trace.ticks ? " ticks"
            : thousandths ? " ms"
                          : " s");
    }

    void draw_legend(double at) {
      double to = left;
      const auto entry = [&](const char* fill, const char* text, double room) {
        add("<rect x=\"%.1f\" y=\"%.1f\" width=\"14\" height=\"10\" fill=\"%s\"/><text x=\"%.1f\" y=\"%.1f\" "
            "font-size=\"11\">%s</text>\n",
            to, at - 9, fill, to + 19, at, text);
        to += room;
      };
      bool passes[3] = {};
      for (const auto& intervals : trace.ranks)
        for (const schedule::Interval& i : intervals)
          if (schedule::is_compute(i.op))
            passes[i.op == Op::Forward ? 0 : i.op == Op::Backward ? 1 : 2] = true;
      if (passes[0]) entry(colour(Op::Forward, 0), "forward", 78);
      if (passes[1] && !passes[2]) entry(colour(Op::Backward, 0), "backward", 88);
      if (passes[2]) entry(colour(Op::Backward, 0), "gradient of the input", 148);
      if (passes[2]) entry(colour(Op::BackwardWeights, 0), "gradients of weights", 148);
      entry("url(#idle)", "idle", 58);
      add("<text x=\"%.1f\" y=\"%.1f\" font-size=\"11\">numbers: micro-batches%s</text>\n", to, at,
          trace.loops() ? "; shades: the rank's first, second, ... stage" : "");
    }
  };
};

}  // namespace pcomp::viz
