#pragma once
#include <algorithm>
#include <cmath>
#include <set>

#include "../../schedule/policies/gpipe.hpp"
#include "../../schedule/policies/one_f_one_b.hpp"
#include "../../schedule/policies/zero_bubble.hpp"
#include "../choices.hpp"

namespace pcomp::plan {

PCOMP_IMPL schedule::ScheduleTable table_of(const std::string& schedule, int stages, int microbatches) {
  if (schedule == "gpipe") return make_schedule(GPipe{}, stages, microbatches);
  if (schedule == "1f1b") return make_schedule(OneFOneB{}, stages, microbatches);
  if (schedule == "zero-bubble") return make_schedule(ZeroBubble{}, stages, microbatches);
  throw Error("pcomp: there is no schedule '" + schedule + "': gpipe, 1f1b and zero-bubble are known");
}

PCOMP_IMPL std::int64_t Candidate::fullest() const {
  return peak_bytes.empty() ? 0 : *std::max_element(peak_bytes.begin(), peak_bytes.end());
}

PCOMP_IMPL int Choices::blocks() const {
  if (machines.empty() || microbatches.empty()) return 0;
  const auto found = machines.front().blocks.find(microbatches.front());
  return found == machines.front().blocks.end() ? 0 : static_cast<int>(found->second.size());
}

PCOMP_IMPL bool Choices::knows_bytes() const {
  return !machines.empty() && std::all_of(machines.begin(), machines.end(), [&](const Machine& m) {
    return std::all_of(microbatches.begin(), microbatches.end(), [&](int n) {
      const auto found = m.blocks.find(n);  // a block without weights may need nothing, but not all of them
      return found != m.blocks.end() &&
             std::any_of(found->second.begin(), found->second.end(),
                         [](const BlockCost& b) { return b.bytes != schedule::StageBytes{}; });
    });
  });
}

PCOMP_IMPL void Choices::check() const {
  const auto expect = [](bool ok, const auto&... why) {
    if (ok) return;
    std::string text = "pcomp: ";
    ((text += why), ...);
    throw Error(text);
  };
  const auto number = [](auto n) { return std::to_string(n); };
  const auto once = [&](const auto& names, const char* what, auto name) {
    expect(!names.empty(), "there is no ", what, " to choose");
    std::set<std::string> all;
    for (const auto& n : names) {
      expect(!name(n).empty(), "a ", what, " has no name");
      expect(all.insert(name(n)).second, "the ", what, " ", name(n), " is given twice");
    }
  };
  expect(!machines.empty(), "there is no machine to plan for");
  once(wires, "wire", [](const WireChoice& w) { return w.name; });
  once(schedules, "schedule", [](const std::string& s) { return s; });
  once(microbatches, "number of micro-batches", number);
  for (const std::string& s : schedules) static_cast<void>(table_of(s, 1, 1));
  for (const WireChoice& w : wires)
    expect(static_cast<bool>(w.bytes), "the wire ", w.name, " has no function for its bytes");
  expect(static_cast<bool>(activation), "there is no function for the blocks' activations");
  expect(shortlist >= 1, "the shortlist needs at least 1 cut, not ", number(shortlist));
  expect(memory_limit >= 0 && sample_bytes >= 0, "memory is at least 0 bytes");
  expect(link.bandwidth > 0 && link.latency >= 0 && std::isfinite(link.latency),
         "a link needs a bandwidth above 0 and a latency");
  const auto seconds = [&](std::initializer_list<double> all) {
    for (const double s : all)
      expect(s >= 0 && std::isfinite(s), "measured times are at least 0 seconds, not ", number(s));
  };
  const int stages = static_cast<int>(machines.size());
  for (const int n : microbatches) {
    expect(n >= 1 && n <= batch, "a batch of ", number(batch), " samples cannot be cut into ", number(n),
           " micro-batches");
    for (int r = 0; r < stages; ++r) {
      const Machine& m = machines[static_cast<std::size_t>(r)];
      const std::string rank = "rank " + number(r);
      expect(m.batch == 0 || m.batch == batch, rank, " was measured with a batch of ", number(m.batch),
             ", not of ", number(batch));
      const auto found = m.blocks.find(n);
      const int count = found == m.blocks.end() ? 0 : static_cast<int>(found->second.size());
      expect(count >= stages, rank, ": with ", number(n), " micro-batches ", number(count),
             " blocks were measured, fewer than the ", number(stages), " ranks");
      expect(count == blocks(), rank, ": with ", number(n), " micro-batches ", number(count),
             " blocks were measured, but ", number(blocks()), " on rank 0 with ",
             number(microbatches.front()));
      const auto crowd = m.crowded.find(n);
      expect(crowd == m.crowded.end() || crowd->second.size() == found->second.size(), rank, ": with ",
             number(n), " micro-batches ", number(count),
             " blocks were measured alone, but another number while other ranks compute");
      for (const auto* all : {&found->second, crowd == m.crowded.end() ? nullptr : &crowd->second})
        for (std::size_t b = 0; all && b < all->size(); ++b) {
          const BlockCost& c = (*all)[b];
          seconds({c.forward, c.backward, c.inputs, c.weights});
          const schedule::StageBytes& k = c.bytes;
          expect(std::min({k.fixed, k.live, k.forward, k.backward, k.between, k.weights}) >= 0,
                 "measured memory is at least 0 bytes");
        }
      for (const WireChoice& w : wires) {
        const auto cost = m.wires.find(w.name);
        expect(cost != m.wires.end(), rank, " was not measured with ", number(n),
               " micro-batches and the wire ", w.name);
        const WireCost& c = cost->second;
        seconds({c.encode, c.decode, c.encode_grad, c.decode_grad});
      }
    }
  }
  expect(memory_limit == 0 || knows_bytes(),
         "a limit of memory needs the blocks' bytes, which were not measured: measure them anew");
}

}  // namespace pcomp::plan
