#pragma once
#include <string>

#include "choices.hpp"

namespace pcomp::plan {

/// A step on one machine alone: every block, no boundary and no wire.
///
/// Bytes: `peak_bytes`, 0 where the blocks' bytes are not known.
/// Shapes: seconds of one step.
struct Alone {
  int machine = 0;
  int microbatches = 1;
  bool recompute = false;
  double seconds = 0;
  std::int64_t peak_bytes = 0;
  bool fits = true;  ///< into the limit of memory, if there is one
};

/// The best that one machine does alone: of every machine, with each number of micro-batches to choose from, and with 1 if
/// that was measured; of those that fit the fastest, else the one that needs least.
///
/// Law: the sum of its blocks' forward and backward passes as measured, one thread as they were, as often as there are
///   micro-batches; one that recomputes runs forward once more.
/// Errors: `Error` for choices that `check` refuses.
/// Example: docs/planning.md
[[nodiscard]] Alone alone(const Choices& choices);

/// Whether the pipeline pays, in a line: how many times as fast it is, or that one machine alone is too slow or too small;
/// and who does most, if ranks wait for more than 30 % of the step.
///
/// Example: docs/planning.md
[[nodiscard]] std::string verdict(const Candidate& candidate, const Alone& alone);

}  // namespace pcomp::plan

#if !defined(PCOMP_COMPILED)
#include "impl/alone.ipp"
#endif
