#pragma once
#include <pcomp/plan/choices.hpp>
#include <pcomp/transport/communicator.hpp>
#include <string>
#include <vector>

namespace planner {

/// MobileNetV2, and what to measure of it: medians of `times` runs after one that is discarded.
struct Network {
  double width = 1;
  int batch = 64, ranks = 2, times = 5;
  std::vector<int> microbatches;
  std::vector<std::string> wires;
};

/// The network's name in measurements: its width.
std::string name_of(double width);

/// Every block's times with one thread, forward and backward through the network: alone, and crowded, with `at_once`
/// threads in all doing the same, because ranks on one machine share its memory and caches. With `at_once` 1 nothing
/// is crowded.
pcomp::plan::Machine measure(const Network& n, int at_once);

/// Measures the link between ranks 0 and 1, each in its own process; both call it.
pcomp::plan::LinkModel measure_link(pcomp::transport::Communicator& links, int rank);

}  // namespace planner
