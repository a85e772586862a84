#pragma once
#include <stdexcept>
#include <string>

namespace pcomp {

/// The version of this library; CMake reads it here. Ranks of different versions refuse each other.
inline constexpr char version[] = "0.1.0";

}  // namespace pcomp

namespace pcomp::codec {

/// The version of docs/wire-format.md: one more whenever the bytes of some wire and shape change. Ranks compare it too.
inline constexpr int wire_format = 3;

}  // namespace pcomp::codec

namespace pcomp {

/// What pcomp throws; its text says what was expected and what was found. The types below it say what a program can do.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A rank, or the connection to it, is gone. Every rank throws it; all must be started again.
///
/// Example: docs/several-machines.md
struct PeerLost : Error {
  explicit PeerLost(const std::string& text, int lost = -1, int at_stage = -1, int at_microbatch = -1)
      : Error(text), rank(lost), stage(at_stage), microbatch(at_microbatch) {}
  int rank;               ///< the lost one; -1 if that cannot be told
  int stage, microbatch;  ///< at which another rank found out; -1 outside of a step
};

/// A rank waited for another for longer than the time limit. Every rank throws it; all must be started again.
///
/// Example: docs/several-machines.md
struct Timeout : Error {
  explicit Timeout(const std::string& text, int silent = -1, int at_stage = -1, int at_microbatch = -1)
      : Error(text), rank(silent), stage(at_stage), microbatch(at_microbatch) {}
  int rank;               ///< the one that was waited for; -1 if that cannot be told
  int stage, microbatch;  ///< at which another rank waited; -1 outside of a step
};

/// Ranks that should do the same do not: wires, schedules, runs, batches or calls differ. Every rank throws it.
///
/// Example: docs/several-machines.md
struct Mismatch : Error {
  using Error::Error;
};

}  // namespace pcomp

namespace pcomp::detail {

/// The text without its "pcomp: " prefix, for an error that prepends more.
inline std::string bare(std::string text) {
  if (text.starts_with("pcomp: ")) text.erase(0, 7);
  return text;
}

}  // namespace pcomp::detail
