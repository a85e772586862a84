#pragma once
#include <limits>
#include <string>

#include "../schedule/make_schedule.hpp"

namespace pcomp::plan {

/// Seconds of one stage for one micro-batch: forward, gradient of the input, gradients of the weights. A backward
/// that is not split takes the sum of the last two.
struct StageCost {
  double forward = 0, backward = 0, weights = 0;
  double again = 0;  ///< the forward pass repeated before the backward pass, with recomputation; else 0
};

/// The link between two stages: bytes per second in each direction, and seconds from the last byte sent to its arrival.
struct LinkModel {
  double bandwidth = std::numeric_limits<double>::infinity();
  double latency = 0;
};

/// What a schedule costs on given machines: one entry per stage or boundary, or no entries where that is free.
///
/// Bytes: `bytes` from `boundary_bytes(wire, shape of a micro-batch)`.
/// Shapes: seconds and bytes; `buffers` is how many messages of a boundary and direction each side can hold between the
///   start of a send and the end of its receive, as in the executor.
/// Errors: `check` throws `Error` for a wrong number of entries, a negative time or no bandwidth.
/// Example: examples/040-schedules
struct Costs {
  std::vector<StageCost> stages;
  std::vector<schedule::BoundaryBytes> bytes;
  std::vector<LinkModel> links;
  int buffers = 2;

  void check(const schedule::ScheduleTable& table) const {
    const auto entries = [&](std::size_t came, int expected, const char* what) {
      if (came != 0 && came != static_cast<std::size_t>(expected))
        throw Error("pcomp: costs for " + std::to_string(came) + " " + what + ", but the schedule has " +
                    std::to_string(expected));
    };
    entries(stages.size(), table.stages, "stages");
    entries(bytes.size(), table.stages - 1, "boundaries' bytes");
    entries(links.size(), table.stages - 1, "boundaries' links");
    const auto number = [](bool ok, const char* what) {
      if (!ok) throw Error(std::string("pcomp: costs need ") + what);
    };
    for (const StageCost& s : stages)
      number(s.forward >= 0 && s.backward >= 0 && s.weights >= 0 && s.again >= 0,
             "times of at least 0 seconds");
    for (const schedule::BoundaryBytes& b : bytes)
      number(b.forward >= 0 && b.gradient >= 0, "at least 0 bytes");
    for (const LinkModel& l : links)
      number(l.bandwidth > 0 && l.latency >= 0, "a bandwidth above 0 and a latency");
    number(buffers >= 1, "at least 1 buffer");
  }

  double seconds(const Action& a, bool split) const {
    if (stages.empty()) return 0;
    const StageCost& s = stages[static_cast<std::size_t>(a.stage)];
    if (a.op == Op::Forward) return s.forward;
    if (a.op == Op::BackwardWeights) return s.weights;
    return s.again + (split ? s.backward : s.backward + s.weights);
  }
};

/// A computation or a transfer on the critical path.
struct Segment {
  Action action;  ///< a Send or SendGrad is the transfer of that payload
  double begin = 0, end = 0;
};

/// What `simulate` predicts for one step.
///
/// Law: the segments of `critical` follow each other without a gap from 0 to `seconds`.
struct Simulation {
  double seconds = 0;
  std::vector<double> busy;  ///< seconds that each rank computes
  std::vector<Segment> critical;
  schedule::Trace trace;

  double utilisation(int rank) const {
    return seconds > 0 ? busy.at(static_cast<std::size_t>(rank)) / seconds : 0;
  }
};

}  // namespace pcomp::plan
