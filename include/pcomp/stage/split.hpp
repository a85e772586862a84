#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "../base/error.hpp"

namespace pcomp::training {

/// The samples of one micro-batch within its batch: `count` of them, from `first` on.
struct SampleRange {
  std::int64_t first = 0, count = 0;
  double weight =
      0;  ///< count / samples of the batch, so that a sum of weighted means over samples is the batch's
};

/// Divides a batch into micro-batches.
///
/// Law: in order, without gap or overlap; sizes differ by at most one, larger ones first.
/// Errors: `Error` for fewer samples than micro-batches.
/// Source: GPipe (Huang et al., 2019).
/// Example: examples/050-first-program
[[nodiscard]] inline std::vector<SampleRange> split(std::int64_t samples, int microbatches) {
  if (microbatches < 1 || samples < microbatches)
    throw Error("pcomp: a batch of " + std::to_string(samples) + " samples cannot be split into " +
                std::to_string(microbatches) + " micro-batches: give at least one sample to each");
  std::vector<SampleRange> parts(static_cast<std::size_t>(microbatches));
  const std::int64_t size = samples / microbatches, larger = samples % microbatches;
  std::int64_t first = 0;
  for (int m = 0; m < microbatches; ++m) {
    const std::int64_t n = size + (m < larger ? 1 : 0);
    parts[static_cast<std::size_t>(m)] = {first, n, static_cast<double>(n) / static_cast<double>(samples)};
    first += n;
  }
  return parts;
}

}  // namespace pcomp::training
