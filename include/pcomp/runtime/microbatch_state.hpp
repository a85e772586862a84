#pragma once
#include <deque>
#include <vector>

#include "../stage/entrances.hpp"
#include "../stage/split_backward.hpp"
#include "../stage/surroundings.hpp"
#include "payload_buffers.hpp"

namespace pcomp::detail {

/// What crosses a boundary: activations towards the last stage, their gradients back.
enum class Direction { forward, backward };
inline constexpr Direction both_directions[] = {Direction::forward, Direction::backward};

/// The boundary at which a stage receives and at which it sends.
constexpr int receives_at(Direction d, int stage) { return d == Direction::forward ? stage - 1 : stage; }
constexpr int sends_at(Direction d, int stage) { return d == Direction::forward ? stage : stage - 1; }

/// One thing for each direction.
template <class T>
struct EachDirection {
  T forward, backward;
  T& operator[](Direction d) { return d == Direction::forward ? forward : backward; }
  const T& operator[](Direction d) const { return d == Direction::forward ? forward : backward; }
};

/// What a stage keeps of one micro-batch between its forward and backward passes.
struct MicrobatchState {
  /// How a tensor was that left the stage: its gradient comes back so.
  struct Form {
    at::ScalarType dtype;
    at::MemoryFormat format;
    at::Device device;
  };
  StageGraph graph;
  SplitBackward split;
  std::vector<Form> sent;  ///< by tensor
  std::vector<PayloadBuffer> index_in,
      index_out;            ///< of the forward payloads, by tensor, on the stage's device
  bool recomputes = false;  ///< the stage runs again before its backward pass, from:
  PayloadBuffer payload;    ///< the message that it was given
  runtime::Tensors given;   ///< or the tensors, where the wires have a memory
  RandomState random;       ///< of its first run

  /// Of the storage that outlives the micro-batch.
  std::int64_t capacity() const {
    std::int64_t sum = payload.capacity();
    for (const auto* all : {&index_in, &index_out})
      for (const PayloadBuffer& b : *all) sum += b.capacity();
    return sum;
  }
  /// Frees the graph; the payloads keep their storage.
  void clear() {
    graph = {};
    split = {};
    sent.clear();
    given.clear();
    random = {};
  }
};

/// What a stage keeps of its micro-batches: each has a state from its first operation to its last one, then another
/// has it, storage included.
class LiveMicrobatches {
 public:
  void begin(std::size_t microbatches) {
    clear();
    state_of_.assign(microbatches, nullptr);
  }
  MicrobatchState& of(int micro) {
    MicrobatchState*& state = state_of_[static_cast<std::size_t>(micro)];
    if (state) return *state;
    if (free_.empty()) free_.push_back(&all_.emplace_back());
    state = free_.back();
    free_.pop_back();
    return *state;
  }
  void done(int micro) {
    MicrobatchState*& state = state_of_[static_cast<std::size_t>(micro)];
    if (!state) return;
    state->clear();
    free_.push_back(std::exchange(state, nullptr));
  }
  void clear() {
    for (std::size_t m = 0; m < state_of_.size(); ++m) done(static_cast<int>(m));
  }
  /// Of the storage of all states, and of the largest.
  std::int64_t capacity() const {
    std::int64_t sum = 0;
    for (const MicrobatchState& s : all_) sum += s.capacity();
    return sum;
  }
  std::int64_t largest() const {
    std::int64_t most = 0;
    for (const MicrobatchState& s : all_) most = std::max(most, s.capacity());
    return most;
  }

 private:
  std::deque<MicrobatchState> all_;
  std::vector<MicrobatchState*> state_of_, free_;  ///< by micro-batch; null where it has none
};

}  // namespace pcomp::detail
