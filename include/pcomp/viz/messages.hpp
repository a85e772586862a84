#pragma once
#include <map>
#include <tuple>

#include "../schedule/trace.hpp"

namespace pcomp::detail {

/// A message of a trace: between which ranks, and when.
struct Flight {
  std::size_t from = 0, to = 0;
  const schedule::Interval* send = nullptr;
  const schedule::Interval* receive = nullptr;
};

/// The messages whose two ends are both in the trace.
inline std::vector<Flight> messages_of(const schedule::Trace& trace) {
  std::map<std::tuple<bool, int, int>, Flight> found;  // gradient, boundary, micro-batch
  for (std::size_t r = 0; r < trace.ranks.size(); ++r)
    for (const schedule::Interval& i : trace.ranks[r]) {
      const bool gradient = i.op == Op::SendGrad || i.op == Op::RecvGrad;
      if (schedule::is_compute(i.op)) continue;
      Flight& f =
          found[{gradient, i.op == Op::Recv || i.op == Op::SendGrad ? i.stage - 1 : i.stage, i.micro}];
      if (i.op == Op::Send || i.op == Op::SendGrad)
        f.from = r, f.send = &i;
      else
        f.to = r, f.receive = &i;
    }
  std::vector<Flight> all;
  for (const auto& [key, flight] : found)
    if (flight.send && flight.receive) all.push_back(flight);
  return all;
}

/// For each stage in a rank's lane, how many of the rank's stages come before it.
inline std::map<int, int> chunks_of(const std::vector<schedule::Interval>& lane) {
  std::map<int, int> index;
  for (const schedule::Interval& i : lane) index[i.stage] = 0;
  int n = 0;
  for (auto& [stage, place] : index) place = n++;
  return index;
}

}  // namespace pcomp::detail
