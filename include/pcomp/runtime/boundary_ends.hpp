#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/DeviceGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include <memory>

#include "../autograd/feedback.hpp"
#include "batch.hpp"
#include "payload_buffers.hpp"
#include "report.hpp"
#include "split_backward.hpp"

namespace pcomp::detail {

/// Where a received activation enters a stage's graph; the backward pass stores its gradient in a slot.
///
/// Why not a leaf: a stage may begin with an in-place operation, which autograd refuses on a leaf.
class ReceivedActivation : public torch::autograd::Function<ReceivedActivation> {
 public:
  /// `anchor` is any tensor that requires grad; `slot` must outlive the backward pass.
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& anchor,
                            const at::Tensor* received, at::Tensor* slot) {
    (void)anchor;
    ctx->saved_data["slot"] = reinterpret_cast<std::int64_t>(slot);
    return *received;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    *reinterpret_cast<at::Tensor*>(ctx->saved_data["slot"].toInt()) = grads[0];
    return {at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

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
  at::Tensor input, output;                         ///< the ends of the stage's graph
  at::Tensor input_grad, output_grad;               ///< set by the backward pass, and by the next stage
  std::shared_ptr<torch::autograd::Node> entrance;  ///< the input's node, for a split backward pass
  SplitBackward split;
  PayloadBuffer index_in, index_out;  ///< of the forward payloads, on the stage's device

  /// Frees the graph; the index blocks keep their storage.
  void clear() {
    input = output = input_grad = output_grad = at::Tensor();
    entrance.reset();
    split = {};
  }
};

/// The ends of every wire on one rank: they turn a micro-batch's tensors into payloads and back, in both directions.
///
/// Law: a tensor arrives in the memory format in which it departed, as from `boundary`. A wire's state changes only in
///   training, and only when a message leaves or arrives; a failed step clears it at all ends.
/// Bytes: counted for each boundary where a payload leaves.
class BoundaryEnds {
 public:
  explicit BoundaryEnds(const std::vector<const kernel::WireKernels*>& wires)
      : boundaries_(wires.size()), traffic_(wires.size()), devices_(wires.size() + 1, at::kCPU) {
    rewire(wires);
  }

  /// Boundaries whose wire changes start with empty state.
  void rewire(const std::vector<const kernel::WireKernels*>& wires) {
    for (std::size_t e = 0; e < wires.size(); ++e)
      if (!boundaries_[e].wire || &boundaries_[e].wire->ops() != wires[e])
        boundaries_[e] = {FeedbackEnds(*wires[e], static_cast<int>(e)), 0, {}};
  }
  /// Where a stage of this rank computes.
  void place(int stage, at::Device device) { devices_[at(stage)] = device; }
  void begin(const Batch& batch) {
    batch_ = &batch;
    for (Ends& e : boundaries_) {
      e.first.assign(batch.parts.size(), !batch.loss);
      if (batch.loss && e.wire->per_sample())
        for (std::size_t m = 0; m < batch.parts.size(); ++m) e.first[m] = e.wire->first(sample_ids(m));
    }
  }
  /// A step is over everywhere.
  void end_step(bool whole) {
    for (Ends& e : boundaries_)
      if (whole)
        e.messages += batch_->parts.size();
      else
        e.wire->forget();
  }
  std::size_t bytes(Direction d, int boundary, int micro) const {
    const kernel::WireKernels& w = wire(boundary, micro);
    return (d == Direction::forward ? w.bytes : w.grad_bytes)(batch_->shape(boundary, micro));
  }
  /// Bytes that this rank's ends of a boundary keep in memory.
  std::int64_t state(int boundary) const {
    const FeedbackEnds& w = *boundaries_[at(boundary)].wire;
    return w.forward.bytes() + w.gradient.bytes();
  }
  FeedbackState::Named save(Direction d, int boundary) const {
    const Ends& e = boundaries_[at(boundary)];
    FeedbackState::Named all = (d == Direction::forward ? e.wire->forward : e.wire->gradient).save();
    all.emplace_back("boundary/message", at::scalar_tensor(static_cast<std::int64_t>(e.messages), at::kLong));
    return all;
  }
  void load(Direction d, int boundary, const FeedbackState::Named& saved) {
    Ends& e = boundaries_[at(boundary)];
    (d == Direction::forward ? e.wire->forward : e.wire->gradient).load(saved);
    for (const auto& [name, tensor] : saved)
      if (name == "boundary/message") e.messages = static_cast<std::uint64_t>(tensor.item<std::int64_t>());
  }
  /// Of training steps.
  const runtime::Traffic& sent(Direction d, int boundary) const { return traffic_[at(boundary)].training[d]; }
  const runtime::Traffic& inference(int boundary) const { return traffic_[at(boundary)].inference; }
  /// `take_back` undoes what was counted since `mark`.
  void mark() { marked_ = traffic_; }
  void take_back() { traffic_ = marked_; }

  /// Forward: the output of the stage before `boundary` -> payload; the sender keeps only the index block. Backward: the
  /// gradient of the input of the stage behind it -> payload. `both_here`: the receiver is this rank too.
  void encode_and_send(Direction d, int boundary, int micro, MicrobatchState& v, const DeviceBytes& payload,
                       bool both_here = false) {
    const kernel::WireKernels& w = wire(boundary, micro);
    const Extents s = batch_->shape(boundary, micro);
    const at::Tensor x = d == Direction::forward ? leaving(v.output) : leaving_grad(v, boundary, s);
    const c10::DeviceGuard guard(x.device());
    Ends& e = boundaries_[at(boundary)];
    if (!batch_->loss)
      w.encode(in(x), s, payload.bytes, torch_threads);
    else if (d == Direction::forward)
      e.wire->encode(visit(boundary, micro), message(e, micro), x, s, payload.bytes, both_here);
    else
      e.wire->encode_grad(visit(boundary, micro), message(e, micro), x, s, v.index_in.bytes(), payload.bytes,
                          both_here);
    Counts& counts = traffic_[at(boundary)];
    (batch_->loss ? counts.training[d] : counts.inference) +=
        {1, static_cast<std::int64_t>(payload.bytes.size()), 0, 0};
    if (d == Direction::backward) return;
    if (batch_->trains(boundary))
      v.index_out.assign({payload.bytes.first(w.index_bytes(s)), payload.device}, x.device());
    else
      v.output = at::Tensor();
  }

  /// Forward: payload -> input of the stage behind `boundary`. Backward: payload -> gradient of the output of the stage
  /// before it.
  void receive_and_decode(Direction d, int boundary, int micro, MicrobatchState& v,
                          const DeviceBytes& payload) {
    const Extents s = batch_->shape(boundary, micro);
    if (d == Direction::forward) return receive_input(boundary, micro, v, payload, s);
    const c10::DeviceGuard guard(v.output.device());
    v.output_grad = tensor_of(s, v.output.scalar_type(), v.output.suggest_memory_format(), v.output.device());
    boundaries_[at(boundary)].wire->decode_grad(visit(boundary, micro), payload.bytes, s, v.index_out.bytes(),
                                                v.output_grad);
  }

  /// Both ends of a boundary within this rank: `from` sends and `to` receives.
  void pass(Direction d, int boundary, int micro, MicrobatchState& from, MicrobatchState& to) {
    const DeviceBytes payload = local(boundary, bytes(d, boundary, micro));
    encode_and_send(d, boundary, micro, from, payload, true);
    receive_and_decode(d, boundary, micro, to, payload);
  }

  /// The tensor as the beginning of a graph, whose gradient comes to `slot`.
  at::Tensor entrance(const at::Tensor& x, at::Tensor* slot) {
    if (!anchor_.defined()) anchor_ = at::zeros({}).requires_grad_();
    return ReceivedActivation::apply(anchor_, &x, slot);
  }

 private:
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  /// One boundary: its state, the messages of all earlier steps, and which micro-batches are first visits.
  struct Ends {
    std::optional<FeedbackEnds> wire;
    std::uint64_t messages = 0;
    std::vector<char> first;
  };
  struct Counts {
    EachDirection<runtime::Traffic> training;
    runtime::Traffic inference;
  };
  const kernel::WireKernels& wire(int boundary, int micro) const {
    return boundaries_[at(boundary)].wire->wire(boundaries_[at(boundary)].first[at(micro)]);
  }
  static std::uint64_t message(const Ends& e, int micro) {
    return e.messages + static_cast<std::uint64_t>(micro);
  }
  std::span<const std::int64_t> sample_ids(std::size_t micro) const {
    const training::Microbatch& part = batch_->parts[micro];
    return std::span(batch_->sample_ids)
        .subspan(static_cast<std::size_t>(part.first), static_cast<std::size_t>(part.count));
  }
  Visit visit(int boundary, int micro) const {
    const Ends& e = boundaries_[at(boundary)];
    return {micro, e.wire->per_sample() ? sample_ids(at(micro)) : std::span<const std::int64_t>(),
            e.first[at(micro)] != 0};
  }
  at::Device device_behind(int boundary) const { return devices_[at(boundary) + 1]; }
  static at::Tensor leaving(const at::Tensor& output) {
    expect_dense(output);
    return readable(output.detach());
  }
  /// Zeros where the stage's output did not depend on its input.
  at::Tensor leaving_grad(MicrobatchState& v, int boundary, const Extents& s) const {
    const at::Tensor dy = std::exchange(v.input_grad, at::Tensor());
    if (dy.defined()) return readable(dy);
    const Activation& a = batch_->activations[at(boundary)];
    return tensor_of(s, a.dtype, at::MemoryFormat::Contiguous, device_behind(boundary)).zero_();
  }
  void receive_input(int boundary, int micro, MicrobatchState& v, const DeviceBytes& payload,
                     const Extents& s) {
    const kernel::WireKernels& w = wire(boundary, micro);
    const Activation& a = batch_->activations[at(boundary)];
    const c10::DeviceGuard guard(device_behind(boundary));
    at::Tensor x = tensor_of(s, a.dtype, a.format, device_behind(boundary));
    if (batch_->loss)
      boundaries_[at(boundary)].wire->decode(visit(boundary, micro), payload.bytes, s, x);
    else
      w.decode(payload.bytes, s, out(x), torch_threads);
    if (!batch_->trains(boundary)) {
      v.input = x;
      return;
    }
    v.index_in.assign({payload.bytes.first(w.index_bytes(s)), payload.device}, x.device());
    v.input = entrance(x, &v.input_grad);
    v.entrance = v.input.grad_fn();
  }
  /// On the device that both stages compute on, if they share one; else on the host.
  DeviceBytes local(int boundary, std::size_t size) {
    const at::Device before = devices_[at(boundary)], behind = device_behind(boundary);
    const bool together = before == behind && !before.is_cpu();
    return local_[together].sized(size, together ? before : at::Device(at::kCPU));
  }

  std::vector<Ends> boundaries_;
  std::vector<Counts> traffic_, marked_;
  std::vector<at::Device> devices_;  ///< of the stages
  const Batch* batch_ = nullptr;
  at::Tensor anchor_;
  PayloadBuffer local_[2];  ///< on the host, on a device
};

}  // namespace pcomp::detail
