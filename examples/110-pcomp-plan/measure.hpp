#pragma once
#include <pcomp/transport/links.hpp>

#include "plan.hpp"

namespace plan {

/// How to measure: medians of `times` runs after one that is thrown away.
struct Effort {
  double width = 1;
  int batch = 64, ranks = 2, times = 5;
  std::vector<int> micro_batches;
  std::vector<std::string> wires;
};

/// Every block's times with one thread, forward through the network and backward through it: alone, and crowded while
/// other threads do the same, so many in all: ranks of one machine share its memory and caches. With `at_once` 1
/// nothing is crowded.
Machine measure(const Effort& effort, int at_once);

/// Between ranks 0 and 1, each in a process of its own: both call it.
pcomp::Link measure_link(pcomp::Links& links, int rank);

}  // namespace plan
