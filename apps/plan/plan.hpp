#pragma once
#include <functional>
#include <iosfwd>
#include <map>
#include <pcomp/base/shape.hpp>
#include <pcomp/plan/simulate.hpp>
#include <string>
#include <vector>

/// Chooses cut, wire, schedule and number of micro-batches from what the blocks cost. No torch here.
namespace planner {

/// Seconds of one block for one micro-batch. A split backward pass takes `inputs` and `weights`.
struct BlockCost {
  double forward = 0, backward = 0, inputs = 0, weights = 0;
};

/// Seconds that a wire takes per element of the tensor.
struct WireCost {
  double encode = 0, decode = 0, encode_grad = 0, decode_grad = 0;
};

/// The measurements of one machine.
struct Machine {
  double width = 0;  ///< of the network; 0: unknown, as in files from before it was kept
  int batch = 0;     ///< likewise
  /// By number of micro-batches, an entry per block: alone, and while this machine's other ranks compute too.
  std::map<int, std::vector<BlockCost>> blocks, crowded;
  std::map<std::string, WireCost> wires;
};

/// A line for each entry; `read` is the inverse.
///
/// Errors: `pcomp::Error` for any other line.
std::string write(const Machine& machine);
Machine read(const std::string& text);

struct Wire {
  std::string name;
  std::function<pcomp::schedule::BoundaryBytes(const pcomp::Extents&)> bytes;
};

/// What there is to choose from.
struct Choices {
  std::vector<Machine> machines;       ///< one per rank; stage s is on rank s
  std::vector<Wire> wires;             ///< as measured on every machine
  std::vector<std::string> schedules;  ///< gpipe, 1f1b, zero-bubble
  std::vector<int> microbatches;       ///< as measured on every machine
  int batch = 64;
  pcomp::plan::LinkModel link;
  std::function<pcomp::Extents(int block, int samples)> activation;  ///< a block's output
  int shortlist =
      40;  ///< cuts that are simulated for each wire and number of micro-batches, best bounds first
};

struct Candidate {
  std::vector<int> first;  ///< each stage's first block
  std::string wire, schedule;
  int microbatches = 1;
  double seconds = 0;  ///< of one step, by `pcomp::simulate`
  double bubble = 0;
  std::int64_t bytes = 0;  ///< over all boundaries in one step
  std::int64_t raw_bytes = 0;
};

pcomp::schedule::ScheduleTable table_of(const std::string& schedule, int stages, int microbatches);

/// The costs of a candidate's stages and links, as `pcomp::simulate` takes them; `crowd`: for each stage, the share of
/// its time in which the other ranks compute too (empty: 0).
pcomp::plan::Costs costs_of(const Choices& choices, const Candidate& candidate,
                            const std::vector<double>& crowd = {});

/// Simulates one step of a candidate, then again with the stages as crowded as the first run shows.
pcomp::plan::Simulation predict(const Choices& choices, const Candidate& candidate);

/// Every candidate, fastest first; ties in the given order of micro-batches, then wire, schedule and cut.
///
/// Law: if there are no more cuts than `shortlist`, the first is the fastest of all combinations.
/// Errors: `pcomp::Error` for fewer blocks than ranks and for choices that were not measured.
std::vector<Candidate> rank(const Choices& choices);

/// The recommendation: of those at most `tolerance` slower than the fastest, the one that compresses least, because
/// it loses least.
const Candidate& recommend(const std::vector<Candidate>& ranked, double tolerance);

}  // namespace planner
