#pragma once
#include <map>
#include <string>
#include <vector>

#include "../base/compiled.hpp"
#include "../schedule/memory.hpp"

namespace pcomp::plan {

/// What one block of a network costs for one micro-batch.
///
/// Bytes: `bytes`, of the block alone, without the tensor that enters it and the gradient that does; all 0 where they were
///   not measured.
/// Shapes: seconds. `inputs` and `weights` are those of a backward pass in two halves, as zero bubble runs it.
struct BlockCost {
  double forward = 0, backward = 0, inputs = 0, weights = 0;
  schedule::StageBytes bytes = {};
};

/// Seconds that the kernels of a wire take per element of the tensor.
struct WireCost {
  double encode = 0, decode = 0, encode_grad = 0, decode_grad = 0;
};

/// The measurements of one machine.
struct Machine {
  std::string network;  ///< a name of one word; none where it is not known
  int batch = 0;        ///< samples of a step; 0 where that is not known
  /// By number of micro-batches, an entry per block: alone, and while this machine's other ranks compute too.
  std::map<int, std::vector<BlockCost>> blocks, crowded;
  std::map<std::string, WireCost> wires;
};

/// A machine's measurements as text, a line for each entry, for files and for other processes.
///
/// Law: `read(write(m))` is `m` to 9 digits.
/// Bytes: a block has 4 numbers, seconds, or 10, with its bytes, in the order of `StageBytes`.
/// Errors: `Error` for a network's name that is no word without spaces; `read`: for any other line, with that line.
/// Example: apps/plan/measured.txt
[[nodiscard]] std::string write(const Machine& machine);
[[nodiscard]] Machine read(const std::string& text);

}  // namespace pcomp::plan

#if !defined(PCOMP_COMPILED)
#include "impl/measured.ipp"
#endif
