#pragma once
#include "../schedule/draw.hpp"
#include "messages.hpp"

namespace pcomp::viz {

/// A trace as JSON in Chrome's trace event format: opens in https://ui.perfetto.dev.
///
/// Law: one complete event for every operation that takes time, one flow for every message; one thread per rank.
/// Shapes: microseconds; a tick is a millisecond.
/// Source: "Trace Event Format", the Chromium project.
/// Example: examples/040-schedules
struct ChromeTrace {
  std::string operator()(const schedule::Trace& trace) const {
    std::string out = "{\"displayTimeUnit\": \"ms\", \"otherData\": {\"title\": \"" + quoted(trace.title) +
                      "\"},\n\"traceEvents\": [\n";
    char text[300];
    const double unit = trace.ticks ? 1e3 : 1e6;
    for (std::size_t r = 0; r < trace.ranks.size(); ++r) {
      const int rank = static_cast<int>(r);
      std::snprintf(text, sizeof text,
                    "{\"ph\": \"M\", \"name\": \"thread_name\", \"pid\": 0, \"tid\": %d, "
                    "\"args\": {\"name\": \"rank %d\"}}",
                    rank, rank);
      out += (r ? ",\n" : "") + std::string(text);
      for (const schedule::Interval& i : trace.ranks[r]) {
        if ((i.end - i.begin) * unit < 0.001) continue;
        const std::string name = schedule::is_compute(i.op)
                                     ? schedule::label(i, trace.loops())
                                     : to_string(i.op) + (' ' + std::to_string(i.micro));
        std::snprintf(text, sizeof text,
                      ",\n{\"ph\": \"X\", \"name\": \"%s\", \"cat\": \"%s\", \"pid\": 0, \"tid\": %d, "
                      "\"ts\": %.3f, \"dur\": %.3f, \"args\": {\"stage\": %d, \"micro\": %d}}",
                      name.c_str(), to_string(i.op), rank, i.begin * unit, (i.end - i.begin) * unit, i.stage,
                      i.micro);
        out += text;
      }
    }
    int id = 0;
    for (const detail::Flight& f : detail::messages_of(trace)) {
      const char* const what = f.send->op == Op::SendGrad ? "gradient" : "activation";
      flow(out, "s", what, id, f.from, f.send->end * unit);
      flow(out, "f", what, id++, f.to, f.receive->end * unit);
    }
    return out + "\n]}\n";
  }

 private:
  static void flow(std::string& out, const char* phase, const char* what, int id, std::size_t rank,
                   double at) {
    char text[200];
    std::snprintf(text, sizeof text,
                  ",\n{\"ph\": \"%s\", \"bp\": \"e\", \"id\": %d, \"name\": \"%s\", \"cat\": \"message\", "
                  "\"pid\": 0, \"tid\": %d, \"ts\": %.3f}",
                  phase, id, what, static_cast<int>(rank), at);
    out += text;
  }
  static std::string quoted(const std::string& text) {
    std::string out;
    for (char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      out += static_cast<unsigned char>(c) < 32 ? ' ' : c;
    }
    return out;
  }
};

}  // namespace pcomp::viz
