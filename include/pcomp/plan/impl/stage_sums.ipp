#pragma once
#include <algorithm>
#include <optional>
#include <span>
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

  /// The same blocks in memory. A backward pass runs from the last block to the first: as a whole it frees what a block
  /// kept, its first half keeps that and more until the second.
  schedule::StageBytes bytes(int s, int begin, int end, bool split, bool recompute) const {
    const std::vector<plan::BlockCost>& all = *alone_.at(at(s));
    const std::int64_t entered = begin > 0 ? 4 * elements(begin - 1) : 0;
    schedule::StageBytes sum;
    if (begin == 0) sum.fixed = choices_.batch * choices_.sample_bytes;
    for (const int boundary : {begin - 1, end - 1})
      if (boundary >= 0 && boundary + 1 < blocks()) sum.fixed += messages(boundary);
    std::int64_t kept = entered, graphless = 0;
    for (int b = begin; b < end; ++b) {
      const schedule::StageBytes& k = all.at(at(b)).bytes;
      const std::int64_t most = std::max(k.forward, k.live);
      sum.fixed += k.fixed;
      sum.forward = std::max(sum.forward, kept + most);
      graphless = std::max(graphless, entered + most + (b > begin ? 4 * elements(b - 1) : 0));
      kept += k.live;
    }
    std::int64_t before = 0;  // what the blocks behind have added, or freed
    for (int b = end - 1; b >= begin; --b) {
      const schedule::StageBytes& k = all.at(at(b)).bytes;
      const std::int64_t gradient = 4 * elements(b);  // enters the block
      sum.backward = std::max(sum.backward, before + k.backward + gradient);
      if (split) sum.between += k.between, sum.weights = std::max(sum.weights, k.weights);
      const std::int64_t output = b + 1 == end ? 4 * elements(b) : 0;  // kept to the end
      before += split ? k.between : -std::max<std::int64_t>(0, k.live - output);
    }
    sum.live = kept;
    if (recompute) {
      sum.live = begin > 0 ? payload(begin - 1).forward : 0;
      sum.backward = std::max(sum.forward, kept + sum.backward);
      sum.forward = graphless;
      if (split) sum.between += kept;  // the graph of the repeated forward pass
    }
    return sum;
  }

 private:
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  /// Up to two on their way in each direction of the boundary behind a block, as in the engine.
  std::int64_t messages(int block) const {
    return std::min(2, microbatches_) * (payload(block).forward + payload(block).gradient);
  }
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

/// The most bytes of a stage that is alone on its rank, by what its row has alive at once.
///
/// Law: `ScheduleTable::peak_bytes`, for any needs, without its row.
class StagePeak {
 public:
  StagePeak(std::span<const Action> row, bool split) {
    int live = 0, between = 0;
    for (const Action& a : row) {
      if (!schedule::is_compute(a.op)) continue;
      const Moment begins{a.op, live, between};
      if (a.op == Op::Forward) ++live;
      if (a.op == Op::Backward && split) ++between;
      for (const Moment& m : {begins, Moment{Op::Recv, live, between}})  // at its most, and at its end
        if (std::find(moments_.begin(), moments_.end(), m) == moments_.end()) moments_.push_back(m);
      if (a.op == (split ? Op::BackwardWeights : Op::Backward)) --live, between -= split ? 1 : 0;
    }
  }

  std::int64_t operator()(const schedule::StageBytes& s) const {
    std::int64_t most = 0;
    for (const Moment& m : moments_)
      most = std::max(most, m.live * s.live + m.between * s.between +
                                (m.op == Op::Forward           ? s.forward
                                 : m.op == Op::Backward        ? s.backward
                                 : m.op == Op::BackwardWeights ? s.weights
                                                               : 0));
    return s.fixed + most;
  }

 private:
  struct Moment {
    Op op;
    int live, between;
    friend bool operator==(const Moment&, const Moment&) = default;
  };
  std::vector<Moment> moments_;
};

}  // namespace pcomp::detail
