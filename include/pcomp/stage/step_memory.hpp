#pragma once
#include <torch/nn/module.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "../base/compiled.hpp"
#include "../schedule/memory.hpp"
#include "memory_meter.hpp"

namespace pcomp::detail {

/// What the stages of one rank need in memory: in the step that needed most of those that were measured, the first of each
/// kind and each of a larger batch than before.
///
/// Law: what is allocated between two calls of `turn` belongs to the first one's stage and pass, but for what outlives
///   the step. What a stage needs for a micro-batch is taken from the second one, unless that is smaller than the first.
class StepMemory {
 public:
  /// One stage of this rank, by number.
  struct Owner {
    int stage = 0;
    const torch::nn::Module* module = nullptr;  ///< or null
    bool trains = false;
  };
  /// Bytes of a stage that outlive the step.
  struct Kept {
    std::int64_t fixed = 0;            ///< messages, memory of wires
    std::int64_t each_microbatch = 0;  ///< the storage of its payloads
  };
  struct Batch {
    std::int64_t samples = 0;
    int probe = 0;      ///< the micro-batch of which stages' needs are taken
    bool alone = true;  ///< it is the only one
  };
  /// Whether no batch of so many samples was measured yet.
  bool larger(std::int64_t samples) const { return samples > samples_; }
  /// `lasting`: bytes of all that outlives the step.
  void begin(const std::vector<Owner>& owners, const Batch& batch, std::function<std::int64_t()> lasting);
  /// `pass`: Forward, Backward or BackwardWeights.
  void turn(int stage, int micro, Op pass) {
    if (meter_) change(stage, micro, pass);
  }
  void end(const std::function<Kept(int stage)>& kept);
  /// After a failed step, or when what was measured holds no longer.
  void drop() { meter_.reset(); }
  void forget() { *this = StepMemory(); }

  schedule::StageBytes stage(int s) const {
    return static_cast<std::size_t>(s) < stages_.size() ? stages_[static_cast<std::size_t>(s)]
                                                        : schedule::StageBytes();
  }
  /// The most that the rank needed at once, its stages' weights and gradients among it; 0: not measured.
  std::int64_t peak() const { return peak_; }

 private:
  struct Turn {
    int stage = -1;
    bool measured = false;
    Op pass = Op::Forward;
    std::int64_t begin = 0, lasting = 0;
  };
  /// By stage, in this step: what a pass of the measured micro-batch has added so far, and at most.
  struct Sum {
    std::int64_t now = 0, most = 0;
  };
  struct Sums {
    Sum forward, backward, weights;
  };
  void change(int stage, int micro, Op pass);
  void close();

  std::unique_ptr<MemoryMeter> meter_;
  std::vector<Owner> owners_;
  std::function<std::int64_t()> lasting_;
  Turn turn_;
  Batch batch_;
  std::int64_t samples_ = 0;  ///< of the largest batch measured
  std::int64_t before_ = 0, grads_ = 0, most_ = 0, peak_ = 0;
  std::vector<Sums> sums_;
  std::vector<schedule::StageBytes> now_, stages_;  ///< of this step; of the one that needed most
};

}  // namespace pcomp::detail

#if !defined(PCOMP_COMPILED)
#include "impl/step_memory.ipp"
#endif
