#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "../base/boundary_bytes.hpp"
#include "../base/shape.hpp"
#include "costs.hpp"
#include "measured.hpp"

namespace pcomp::plan {

/// A wire to choose, with the bytes of its payloads for the tensor of a micro-batch.
struct WireChoice {
  std::string name;
  std::function<schedule::BoundaryBytes(const Extents&)> bytes;
};

/// Which stages recompute: none; those that would not fit otherwise; all.
enum class Recomputation { never, to_fit, always };

/// What there is to choose from, and what is known.
///
/// Law: any number of blocks in a row, each making one tensor of one; stage s is on rank s.
/// Bytes: `memory_limit`, of each rank; 0: none. `sample_bytes`, of one sample that enters the network: the first rank
///   holds its batch.
/// Shapes: `activation(block, samples)` is a block's output, of 4 bytes an element; the largest micro-batch has
///   `batch / microbatches` samples, rounded up.
/// Errors: `check` throws `Error` for an empty list, a name given twice, costs that are negative or no numbers, machines
///   that differ in their blocks, wires, micro-batches or blocks that were not measured, another batch than was
///   measured, and a limit of memory without measured bytes.
/// Example: docs/planning.md
struct Choices {
  std::vector<Machine> machines;  ///< one per rank
  std::vector<WireChoice> wires;
  std::vector<std::string> schedules{"gpipe", "1f1b", "zero-bubble"};
  std::vector<int> microbatches;
  int batch = 64;
  LinkModel link;
  std::function<Extents(int block, int samples)> activation;
  /// Cuts that are simulated for each wire, number of micro-batches and schedule: those whose busiest rank or link has
  /// the least to do.
  int shortlist = 40;
  std::int64_t memory_limit = 0, sample_bytes = 0;
  Recomputation recompute = Recomputation::to_fit;

  int blocks() const;
  int samples(int microbatch_count) const { return (batch + microbatch_count - 1) / microbatch_count; }
  bool knows_bytes() const;  ///< whether every machine's blocks were measured with their bytes
  void check() const;
};

/// One way to run a step, and what `rank` predicts of it.
///
/// Bytes: over all boundaries in one step, and as 32-bit floats without a wire; `peak_bytes`: of each rank, 0 where the
///   blocks' bytes are not known.
/// Shapes: seconds; `busy`: that each rank computes. `recompute`: for each stage; empty: none does.
struct Candidate {
  std::vector<int> first;  ///< each stage's first block
  std::string wire, schedule;
  int microbatches = 1;
  std::vector<bool> recompute = {};
  double seconds = 0;  ///< of one step, by `simulate`
  double bubble = 0;   ///< the share of it in which ranks wait, on average
  std::vector<double> busy = {};
  std::int64_t bytes = 0, raw_bytes = 0;
  std::vector<std::int64_t> peak_bytes = {};

  bool recomputes(std::size_t stage) const { return stage < recompute.size() && recompute[stage]; }
  std::int64_t fullest() const;  ///< peak bytes of the rank that needs most
};

/// The table of a schedule by its name: gpipe, 1f1b or zero-bubble.
///
/// Errors: `Error` for another name.
[[nodiscard]] schedule::ScheduleTable table_of(const std::string& schedule, int stages, int microbatches);

}  // namespace pcomp::plan

#if !defined(PCOMP_COMPILED)
#include "impl/choices.ipp"
#endif
