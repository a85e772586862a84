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
  std::size_t bytes(int boundary, int micro) const {
    return wire(boundary, micro).bytes(batch_->shape(boundary, micro));
  }
  std::size_t grad_bytes(int boundary, int micro) const {
    return wire(boundary, micro).grad_bytes(batch_->shape(boundary, micro));
  }
  /// Bytes that this rank's ends of a boundary keep in memory.
  std::int64_t state(int boundary) const {
    return boundaries_[at(boundary)].wire->forward.bytes() + boundaries_[at(boundary)].wire->gradient.bytes();
  }
  FeedbackState::Named save(int boundary, bool gradient) const {
    const Ends& e = boundaries_[at(boundary)];
    FeedbackState::Named all = (gradient ? e.wire->gradient : e.wire->forward).save();
    all.emplace_back("boundary/message", at::scalar_tensor(static_cast<std::int64_t>(e.messages), at::kLong));
    return all;
  }
  void load(int boundary, bool gradient, const FeedbackState::Named& saved) {
    Ends& e = boundaries_[at(boundary)];
    (gradient ? e.wire->gradient : e.wire->forward).load(saved);
    for (const auto& [name, tensor] : saved)
      if (name == "boundary/message") e.messages = static_cast<std::uint64_t>(tensor.item<std::int64_t>());
  }
  const runtime::Traffic& forward(int boundary) const { return traffic_[at(boundary)].forward; }
  const runtime::Traffic& gradient(int boundary) const { return traffic_[at(boundary)].gradient; }
  const runtime::Traffic& inference(int boundary) const { return traffic_[at(boundary)].inference; }
  /// `take_back` undoes what was counted since `mark`.
  void mark() { marked_ = traffic_; }
  void take_back() { traffic_ = marked_; }

  /// Output of the stage before `boundary` -> payload. The sender keeps only the index block.
  void encode_and_send(int boundary, int micro, MicrobatchState& v, const DeviceBytes& payload,
                       bool both_here = false) {
    const kernel::WireKernels& w = wire(boundary, micro);
    expect_dense(v.output);
    const at::Tensor x = readable(v.output.detach());
    const c10::DeviceGuard guard(x.device());
    const Extents s = batch_->shape(boundary, micro);
    if (batch_->loss)
      boundaries_[at(boundary)].wire->encode(visit(boundary, micro), message(boundary, micro), x, s,
                                             payload.bytes, both_here);
    else
      w.encode(in(x), s, payload.bytes, torch_threads);
    count(batch_->loss ? &Counts::forward : &Counts::inference, boundary, payload.bytes.size());
    if (batch_->trains(boundary))
      v.index_out.assign({payload.bytes.first(w.index_bytes(s)), payload.device}, x.device());
    else
      v.output = at::Tensor();
  }

  /// Payload -> input of the stage after `boundary`.
  void receive_and_decode(int boundary, int micro, MicrobatchState& v, const DeviceBytes& payload) {
    const kernel::WireKernels& w = wire(boundary, micro);
    const Extents s = batch_->shape(boundary, micro);
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

  /// The tensor as the beginning of a graph, whose gradient comes to `slot`.
  at::Tensor entrance(const at::Tensor& x, at::Tensor* slot) {
    if (!anchor_.defined()) anchor_ = at::zeros({}).requires_grad_();
    return ReceivedActivation::apply(anchor_, &x, slot);
  }

  /// Gradient of the input of the stage after `boundary` -> gradient payload.
  void encode_and_send_grad(int boundary, int micro, MicrobatchState& v, const DeviceBytes& payload,
                            bool both_here = false) {
    const Extents s = batch_->shape(boundary, micro);
    const at::Tensor dy = v.input_grad.defined() ? readable(v.input_grad) : no_gradient(boundary, s);
    const c10::DeviceGuard guard(dy.device());
    v.input_grad = at::Tensor();
    boundaries_[at(boundary)].wire->encode_grad(visit(boundary, micro), message(boundary, micro), dy, s,
                                                v.index_in.bytes(), payload.bytes, both_here);
    count(&Counts::gradient, boundary, payload.bytes.size());
  }

  /// Gradient payload -> gradient of the output of the stage before `boundary`.
  void receive_and_decode_grad(int boundary, int micro, MicrobatchState& v, const DeviceBytes& payload) {
    const Extents s = batch_->shape(boundary, micro);
    const c10::DeviceGuard guard(v.output.device());
    v.output_grad = tensor_of(s, v.output.scalar_type(), v.output.suggest_memory_format(), v.output.device());
    boundaries_[at(boundary)].wire->decode_grad(visit(boundary, micro), payload.bytes, s, v.index_out.bytes(),
                                                v.output_grad);
  }

  /// Both ends of a boundary within this rank.
  void pass_on(int boundary, int micro, MicrobatchState& from, MicrobatchState& to) {
    const DeviceBytes payload = local(boundary, bytes(boundary, micro));
    encode_and_send(boundary, micro, from, payload, true);
    receive_and_decode(boundary, micro, to, payload);
  }
  void pass_back(int boundary, int micro, MicrobatchState& from, MicrobatchState& to) {
    const DeviceBytes payload = local(boundary, grad_bytes(boundary, micro));
    encode_and_send_grad(boundary, micro, from, payload, true);
    receive_and_decode_grad(boundary, micro, to, payload);
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
    runtime::Traffic forward, gradient, inference;
  };
  const kernel::WireKernels& wire(int boundary, int micro) const {
    return boundaries_[at(boundary)].wire->wire(boundaries_[at(boundary)].first[at(micro)]);
  }
  std::uint64_t message(int boundary, int micro) const {
    return boundaries_[at(boundary)].messages + static_cast<std::uint64_t>(micro);
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
  at::Tensor no_gradient(int boundary, const Extents& s) const {
    const Activation& a = batch_->activations[at(boundary)];
    return tensor_of(s, a.dtype, at::MemoryFormat::Contiguous, device_behind(boundary)).zero_();
  }
  /// On the device that both stages compute on, if they share one; else on the host.
  DeviceBytes local(int boundary, std::size_t size) {
    const at::Device before = devices_[at(boundary)], behind = device_behind(boundary);
    const bool together = before == behind && !before.is_cpu();
    return local_[together].sized(size, together ? before : at::Device(at::kCPU));
  }
  void count(runtime::Traffic Counts::*direction, int boundary, std::size_t bytes) {
    traffic_[at(boundary)].*direction += {1, static_cast<std::int64_t>(bytes), 0, 0};
  }

  std::vector<Ends> boundaries_;
  std::vector<Counts> traffic_, marked_;
  std::vector<at::Device> devices_;  ///< of the stages
  const Batch* batch_ = nullptr;
  at::Tensor anchor_;
  PayloadBuffer local_[2];  ///< on the host, on a device
};

}  // namespace pcomp::detail
