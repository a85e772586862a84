#include "plan.hpp"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <pcomp/base/error.hpp>
#include <pcomp/schedule/policies/gpipe.hpp>
#include <pcomp/schedule/policies/one_f_one_b.hpp>
#include <pcomp/schedule/policies/zero_bubble.hpp>
#include <sstream>

namespace planner {
namespace {

std::size_t at(int i) { return static_cast<std::size_t>(i); }

/// Every way to cut `blocks` into `stages`, in order.
void each_cut(int blocks, int stages, std::vector<int>& first, std::vector<std::vector<int>>& to) {
  const int begin = first.empty() ? 0 : first.back() + 1;
  if (static_cast<int>(first.size()) == stages) {
    to.push_back(first);
    return;
  }
  const int left = stages - static_cast<int>(first.size()) - 1;
  for (int b = begin; b + left < blocks && (b == 0 || !first.empty()); ++b) {
    first.push_back(b);
    each_cut(blocks, stages, first, to);
    first.pop_back();
  }
}

/// A lower bound on a step's time: the work of the busiest rank or link.
double bound(const pcomp::plan::Costs& costs, int microbatches) {
  double most = 0;
  for (const pcomp::plan::StageCost& s : costs.stages)
    most = std::max(most, s.forward + s.backward + s.weights);
  for (std::size_t e = 0; e < costs.links.size(); ++e)
    most = std::max(most, static_cast<double>(std::max(costs.bytes[e].forward, costs.bytes[e].gradient)) /
                              costs.links[e].bandwidth);
  return most * microbatches;
}

int samples(const Choices& c, int microbatches) { return (c.batch + microbatches - 1) / microbatches; }

}  // namespace

std::string write(const Machine& machine) {
  std::ostringstream text;
  text.precision(9);
  if (machine.batch > 0) {
    char width[32];  // in full, so that it reads back unchanged
    *std::to_chars(width, width + sizeof width - 1, machine.width).ptr = '\0';
    text << "network " << width << ' ' << machine.batch << '\n';
  }
  const auto lines = [&](const char* what, const std::map<int, std::vector<BlockCost>>& all) {
    for (const auto& [microbatches, blocks] : all)
      for (std::size_t b = 0; b < blocks.size(); ++b)
        text << what << ' ' << microbatches << ' ' << b << ' ' << blocks[b].forward << ' '
             << blocks[b].backward << ' ' << blocks[b].inputs << ' ' << blocks[b].weights << '\n';
  };
  lines("block", machine.blocks);
  lines("crowded", machine.crowded);
  for (const auto& [name, w] : machine.wires)
    text << "wire " << name << ' ' << w.encode << ' ' << w.decode << ' ' << w.encode_grad << ' '
         << w.decode_grad << '\n';
  return text.str();
}

Machine read(const std::string& text) {
  Machine machine;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream in(line);
    std::string what, name;
    in >> what;
    bool ok = false;
    if (what == "network") {
      ok = in >> machine.width >> machine.batch && machine.width > 0 && machine.batch > 0;
    } else if (what == "block" || what == "crowded") {
      int microbatches = 0;
      std::size_t block = 0;
      BlockCost c;
      ok = static_cast<bool>(in >> microbatches >> block >> c.forward >> c.backward >> c.inputs >>
                             c.weights) &&
           microbatches > 0;
      auto& blocks = (what == "block" ? machine.blocks : machine.crowded)[microbatches];
      ok = ok && block == blocks.size();
      blocks.push_back(c);
    } else if (what == "wire") {
      WireCost c;
      ok = static_cast<bool>(in >> name >> c.encode >> c.decode >> c.encode_grad >> c.decode_grad);
      machine.wires[name] = c;
    } else {
      ok = what.empty() || what.starts_with("#");
    }
    if (!ok)
      throw pcomp::Error("expected measured costs, a network, a block or a wire in each line, not '" + line +
                         "'");
  }
  return machine;
}

pcomp::schedule::ScheduleTable table_of(const std::string& schedule, int stages, int microbatches) {
  if (schedule == "gpipe") return make_schedule(pcomp::GPipe{}, stages, microbatches);
  if (schedule == "1f1b") return make_schedule(pcomp::OneFOneB{}, stages, microbatches);
  if (schedule == "zero-bubble") return make_schedule(pcomp::ZeroBubble{}, stages, microbatches);
  throw pcomp::Error("there is no schedule '" + schedule + "': gpipe, 1f1b and zero-bubble are known");
}

pcomp::plan::Costs costs_of(const Choices& choices, const Candidate& c, const std::vector<double>& crowd) {
  const bool split = c.schedule == "zero-bubble";
  const int stages = static_cast<int>(c.first.size());
  pcomp::plan::Costs costs;
  for (int s = 0; s < stages; ++s) {
    const Machine& machine = choices.machines.at(at(s));
    const auto found = machine.blocks.find(c.microbatches);
    const auto wire = machine.wires.find(c.wire);
    if (found == machine.blocks.end() || wire == machine.wires.end())
      throw pcomp::Error("rank " + std::to_string(s) + " was not measured with " +
                         std::to_string(c.microbatches) + " micro-batches and the wire " + c.wire);
    const int end = s + 1 < stages ? c.first[at(s) + 1] : static_cast<int>(found->second.size());
    pcomp::plan::StageCost sum;
    const auto add = [&](const std::vector<BlockCost>& blocks, double share) {
      for (int b = c.first[at(s)]; b < end; ++b) {
        const BlockCost& k = blocks.at(at(b));
        sum.forward += share * k.forward;
        sum.backward += share * (split ? k.inputs : k.backward);
        sum.weights += share * (split ? k.weights : 0);
      }
    };
    const auto crowded = machine.crowded.find(c.microbatches);
    const double share = crowd.empty() || crowded == machine.crowded.end() ? 0 : crowd.at(at(s));
    add(found->second, 1 - share);
    if (share > 0) add(crowded->second, share);
    const auto elements = [&](int block) {
      return static_cast<double>(choices.activation(block, samples(choices, c.microbatches)).size());
    };
    if (s > 0) {
      sum.forward += elements(c.first[at(s)] - 1) * wire->second.decode;
      sum.backward += elements(c.first[at(s)] - 1) * wire->second.encode_grad;
    }
    if (s + 1 < stages) {
      sum.forward += elements(end - 1) * wire->second.encode;
      sum.backward += elements(end - 1) * wire->second.decode_grad;
    }
    costs.stages.push_back(sum);
    if (s + 1 == stages) break;
    for (const Wire& w : choices.wires)
      if (w.name == c.wire)
        costs.bytes.push_back(w.bytes(choices.activation(end - 1, samples(choices, c.microbatches))));
    costs.links.push_back(choices.link);
  }
  return costs;
}

namespace {
pcomp::plan::Simulation predict(const Choices& choices, const Candidate& c,
                                const pcomp::schedule::ScheduleTable& table) {
  const pcomp::plan::Simulation alone = pcomp::plan::simulate(table, costs_of(choices, c));
  const std::size_t n = alone.busy.size();
  if (n < 2 || choices.machines.front().crowded.empty()) return alone;
  const auto computes = [](const pcomp::schedule::Interval& i) { return pcomp::schedule::is_compute(i.op); };
  std::vector<double> crowd;
  for (std::size_t r = 0; r < n; ++r) {
    double together = 0;
    for (std::size_t o = 0; o < n; ++o)
      for (const pcomp::schedule::Interval& i : alone.trace.ranks[r])
        for (const pcomp::schedule::Interval& j : alone.trace.ranks[o])
          if (o != r && computes(i) && computes(j))
            together += std::max(0.0, std::min(i.end, j.end) - std::max(i.begin, j.begin));
    const double all = alone.busy[r] * static_cast<double>(n - 1);
    crowd.push_back(all > 0 ? std::min(1.0, together / all) : 0);
  }
  return pcomp::plan::simulate(table, costs_of(choices, c, crowd));
}
}  // namespace

pcomp::plan::Simulation predict(const Choices& choices, const Candidate& c) {
  return predict(choices, c, table_of(c.schedule, static_cast<int>(c.first.size()), c.microbatches));
}

std::vector<Candidate> rank(const Choices& choices) {
  const int stages = static_cast<int>(choices.machines.size());
  if (stages < 1) throw pcomp::Error("there is no machine to plan for");
  std::vector<Candidate> all;
  for (int microbatches : choices.microbatches) {
    const auto& machine = choices.machines.front();
    const auto measured = machine.blocks.find(microbatches);
    const int blocks = measured == machine.blocks.end() ? 0 : static_cast<int>(measured->second.size());
    if (blocks < stages)
      throw pcomp::Error("with " + std::to_string(microbatches) + " micro-batches " + std::to_string(blocks) +
                         " blocks were measured, fewer than the " + std::to_string(stages) + " ranks");
    std::vector<std::vector<int>> cuts;
    std::vector<int> none;
    each_cut(blocks, stages, none, cuts);
    for (const Wire& wire : choices.wires) {
      std::vector<double> bounds;
      for (const auto& first : cuts)
        bounds.push_back(bound(costs_of(choices, {first, wire.name, "1f1b", microbatches}), microbatches));
      std::vector<std::size_t> order(cuts.size());
      std::iota(order.begin(), order.end(), std::size_t{0});
      std::stable_sort(order.begin(), order.end(),
                       [&](std::size_t a, std::size_t b) { return bounds[a] < bounds[b]; });
      if (order.size() > at(choices.shortlist)) order.resize(at(choices.shortlist));
      std::sort(order.begin(), order.end());
      for (const std::string& schedule : choices.schedules) {
        const pcomp::schedule::ScheduleTable table = table_of(schedule, stages, microbatches);
        for (const std::size_t i : order) {
          Candidate c{cuts[i], wire.name, schedule, microbatches};
          const pcomp::plan::Costs costs = costs_of(choices, c);
          const pcomp::plan::Simulation step = predict(choices, c, table);
          c.seconds = step.seconds;
          c.bubble = 1 - std::accumulate(step.busy.begin(), step.busy.end(), 0.0) / (stages * step.seconds);
          for (int s = 0; s + 1 < stages; ++s) {
            const pcomp::Extents shape =
                choices.activation(c.first[at(s) + 1] - 1, samples(choices, microbatches));
            c.bytes += microbatches * (costs.bytes[at(s)].forward + costs.bytes[at(s)].gradient);
            c.raw_bytes += microbatches * 2 * 4 * shape.size();
          }
          all.push_back(std::move(c));
        }
      }
    }
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Candidate& a, const Candidate& b) { return a.seconds < b.seconds; });
  return all;
}

const Candidate& recommend(const std::vector<Candidate>& ranked, double tolerance) {
  if (ranked.empty()) throw pcomp::Error("there is nothing to recommend from");
  const Candidate* best = &ranked.front();
  const auto share = [](const Candidate& c) {
    return c.raw_bytes > 0 ? static_cast<double>(c.bytes) / static_cast<double>(c.raw_bytes) : 1.0;
  };
  for (const Candidate& c : ranked)
    if (c.seconds <= (1 + tolerance) * ranked.front().seconds && share(c) > share(*best)) best = &c;
  return *best;
}

}  // namespace planner
