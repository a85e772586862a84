#pragma once
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

  /// Frees the graph; the payloads keep their storage.
  void clear() {
    graph = {};
    split = {};
    sent.clear();
    given.clear();
    random = {};
  }
};

}  // namespace pcomp::detail
