#pragma once
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "../choices.hpp"

namespace pcomp::detail {

/// What stages of these blocks cost, for one wire (none: a network in one stage) and number of micro-batches.
class StageSums {
 public:
  StageSums(const plan::Choices& choices, const std::string& wire, int microbatches)
      : choices_(choices), microbatches_(microbatches) {
    for (const plan::WireChoice& w : choices.wires)
      if (w.name == wire) wire_ = &w;
    for (std::size_t r = 0; r < choices.machines.size(); ++r) {
      const auto found = choices.machines[r].blocks.find(microbatches);
      const auto cost = choices.machines[r].wires.find(wire);
      if (found == choices.machines[r].blocks.end() ||
          (!wire.empty() && (!wire_ || cost == choices.machines[r].wires.end())))
        throw Error("pcomp: rank " + std::to_string(r) + " was not measured with " +
                    std::to_string(microbatches) + " micro-batches and the wire " + wire);
      alone_.push_back(&found->second);
      const auto crowd = choices.machines[r].crowded.find(microbatches);
      crowded_.push_back(crowd == choices.machines[r].crowded.end() ? nullptr : &crowd->second);
      coding_.push_back(wire.empty() ? plan::WireCost{} : cost->second);
    }
    for (int b = 0; b < blocks(); ++b) {
      const Extents shape = choices.activation(b, choices.samples(microbatches));
      elements_.push_back(shape.size());
      payloads_.emplace_back();
      if (wire_ && b + 1 < blocks()) try {
          payloads_.back() = wire_->bytes(shape);
        } catch (const Error& e) {
          why_ = bare(e.what());
        }
    }
  }

  int blocks() const { return static_cast<int>(alone_.front()->size()); }
  std::int64_t elements(int block) const { return elements_[at(block)]; }
  /// Whether the wire can carry a block's output: not every wire takes every shape.
  bool carries(int block) const { return payloads_[at(block)].has_value(); }
  /// Whether it carries what enters blocks `begin` to `end - 1`, and what leaves them.
  bool cuttable(int begin, int end) const {
    return (begin == 0 || carries(begin - 1)) && (end == blocks() || carries(end - 1));
  }
  const std::string& why_not() const { return why_; }
  /// The payload of a block's output.
  const schedule::BoundaryBytes& payload(int block) const {
    if (!carries(block))
      throw Error("pcomp: the wire cannot carry the output of block " + std::to_string(block) + ": " + why_);
    return *payloads_[at(block)];
  }

  /// Blocks `begin` to `end - 1` on rank `s`; `share` of the time is crowded.
  plan::StageCost cost(int s, int begin, int end, bool split, bool recompute, double share = 0) const {
    plan::StageCost sum;
    const auto add = [&](const std::vector<plan::BlockCost>& all, double part) {
      for (int b = begin; b < end; ++b) {
        const plan::BlockCost& k = all.at(at(b));
        sum.forward += part * k.forward;
        sum.backward += part * (split ? k.inputs : k.backward);
        sum.weights += part * (split ? k.weights : 0);
      }
    };
    if (!crowded_.at(at(s))) share = 0;
    add(*alone_[at(s)], 1 - share);
    if (share > 0) add(*crowded_[at(s)], share);
    const plan::WireCost& coding = coding_[at(s)];
    if (begin > 0) sum.forward += count(begin - 1) * coding.decode;
    if (recompute) sum.again = sum.forward;
    if (begin > 0) sum.backward += count(begin - 1) * coding.encode_grad;
    if (end < blocks()) {
      sum.forward += count(end - 1) * coding.encode;
      sum.backward += count(end - 1) * coding.decode_grad;
    }
    return sum;
  }

  schedule::StageBytes bytes(int s, int begin, int end, bool recompute) const {
    const std::vector<plan::BlockCost>& all = *alone_.at(at(s));
    const std::int64_t entered = begin > 0 ? 4 * elements(begin - 1) : 0;
    schedule::StageBytes sum;
    if (begin == 0) sum.fixed = choices_.batch * choices_.sample_bytes;
    std::int64_t kept = entered, graphless = 0, with_graph = 0, back = 0;
    for (int b = begin; b < end; ++b) {
      const schedule::StageBytes& k = all.at(at(b)).bytes;
      const std::int64_t most = std::max(k.forward, k.live);
      sum.fixed += k.fixed;
      with_graph = std::max(with_graph, kept + most);
      graphless = std::max(graphless, entered + most + (b > begin ? 4 * elements(b - 1) : 0));
      back = std::max(back, k.backward + 4 * elements(b));  // with the gradient that enters the block
      kept += k.live;
    }
    if (recompute) {
      sum.live = begin > 0 ? payload(begin - 1).forward : 0;
      sum.forward = graphless;
      sum.backward = std::max(with_graph, kept + back);
    } else {
      sum.live = kept;
      sum.forward = with_graph;
      sum.backward = back;
    }
    return sum;
  }

 private:
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  double count(int block) const { return static_cast<double>(elements(block)); }

  const plan::Choices& choices_;
  const plan::WireChoice* wire_ = nullptr;
  int microbatches_;
  std::vector<const std::vector<plan::BlockCost>*> alone_, crowded_;
  std::vector<plan::WireCost> coding_;
  std::vector<std::int64_t> elements_;
  std::vector<std::optional<schedule::BoundaryBytes>> payloads_;
  std::string why_;  // the wire refused a shape, if it did
};

/// The most bytes of a stage that is alone on its rank, where at most `live` micro-batches are alive at once.
///
/// Law: `peak_bytes` of its row.
inline std::int64_t peak_bytes_alone(const schedule::StageBytes& s, int live) {
  return s.fixed + std::max({(live - 1) * s.live + s.forward, live * s.live, live * s.live + s.backward});
}

}  // namespace pcomp::detail
