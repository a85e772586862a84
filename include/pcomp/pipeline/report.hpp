#pragma once
#include <cstdint>
#include <iomanip>
#include <ostream>
#include <string>
#include <vector>

namespace pcomp {

/// What crossed one boundary in one direction.
struct Traffic {
  std::int64_t messages = 0;
  std::int64_t bytes = 0;      ///< counted where a payload is handed to the link
  std::int64_t predicted = 0;  ///< wire_bytes or grad_wire_bytes of every micro-batch
  std::int64_t raw = 0;        ///< the same tensors as 32-bit floats

  Traffic& operator+=(const Traffic& o) {
    messages += o.messages, bytes += o.bytes, predicted += o.predicted, raw += o.raw;
    return *this;
  }
};

/// One boundary of a pipeline, measured.
struct BoundaryReport {
  int edge = 0;
  int from_rank = 0, to_rank = 0;  ///< equal: coded, but no message
  std::string wire;
  Traffic forward, gradient;  ///< of training steps
  Traffic inference;          ///< of infer
};

/// Where one rank's time went, in seconds of its own thread.
struct RankReport {
  double compute = 0, codec = 0, wait = 0;
};

/// What a pipeline sent and where its time went since it was built.
///
/// Law: for every boundary and direction `bytes == predicted`.
/// Bytes: per direction beside the prediction and beside raw.
/// Example: examples/050-first-program
struct Report {
  std::int64_t steps = 0;
  std::vector<BoundaryReport> boundaries;
  std::vector<RankReport> ranks;

  /// The bytes alone, which are the same on every machine.
  void print_traffic(std::ostream& out) const {
    out << "boundary  ranks  direction   messages         bytes     predicted           raw   of raw  wire\n";
    for (const BoundaryReport& b : boundaries) {
      line(out, b, "forward", b.forward);
      line(out, b, "gradient", b.gradient);
      if (b.inference.messages) line(out, b, "inference", b.inference);
    }
  }

  friend std::ostream& operator<<(std::ostream& out, const Report& r) {
    r.print_traffic(out);
    const auto flags = out.flags();
    const auto precision = out.precision();
    out << "rank   compute     codec      wait   (seconds in " << r.steps << " steps)\n"
        << std::fixed << std::setprecision(3);
    for (std::size_t i = 0; i < r.ranks.size(); ++i)
      out << std::setw(4) << i << std::setw(10) << r.ranks[i].compute << std::setw(10) << r.ranks[i].codec
          << std::setw(10) << r.ranks[i].wait << "\n";
    out.flags(flags);
    out.precision(precision);
    return out;
  }

 private:
  static void line(std::ostream& out, const BoundaryReport& b, const char* direction, const Traffic& t) {
    const auto flags = out.flags();
    const auto precision = out.precision();
    const std::string ranks = b.from_rank == b.to_rank
                                  ? "on " + std::to_string(b.from_rank)
                                  : std::to_string(b.from_rank) + "->" + std::to_string(b.to_rank);
    const double share = t.raw ? 100.0 * static_cast<double>(t.bytes) / static_cast<double>(t.raw) : 0.0;
    out << std::setw(8) << b.edge << "  " << std::setw(5) << ranks << "  " << std::left << std::setw(9)
        << direction << std::right << std::setw(11) << t.messages << std::setw(14) << t.bytes << std::setw(14)
        << t.predicted << std::setw(14) << t.raw << std::setw(8) << std::fixed << std::setprecision(2)
        << share << "%  " << b.wire << "\n";
    out.flags(flags);
    out.precision(precision);
  }
};

}  // namespace pcomp
