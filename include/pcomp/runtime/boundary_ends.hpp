#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/scalar_tensor.h>
#include <c10/core/DeviceGuard.h>

#include <memory>

#include "../autograd/feedback.hpp"
#include "batch.hpp"
#include "microbatch_state.hpp"
#include "report.hpp"

namespace pcomp::detail {

[[noreturn]] inline void throw_verbatim_gradient(std::size_t output) {
  throw Error("output " + std::to_string(output) +
              " requires a gradient, and Verbatim carries none: detach it, or give it another wire");
}

/// The ends of every wire on one rank: they turn a micro-batch's tensors into messages and back, in both directions.
///
/// Law: a tensor arrives in the memory format in which it departed, as from `boundary`. A wire's state changes only in
///   training, and only when a message leaves or arrives; a failed step clears it at all ends.
/// Bytes: counted for each boundary where a message leaves: the payloads of its tensors, as `BoundaryWires` says.
class BoundaryEnds {
 public:
  explicit BoundaryEnds(const kernel::Wires& wires)
      : boundaries_(wires.size()), traffic_(wires.size()), devices_(wires.size() + 1, at::kCPU) {
    rewire(wires);
  }

  /// Wires that change start with empty state.
  void rewire(const kernel::Wires& wires) {
    for (std::size_t b = 0; b < wires.size(); ++b) {
      boundaries_[b].resize(wires[b].size());
      for (std::size_t k = 0; k < wires[b].size(); ++k)
        if (Ends& e = boundaries_[b][k]; !e.wire || &e.wire->ops() != &wires[b][k])
          e = {FeedbackEnds(wires[b][k], number(b, k)), 0, {}};
    }
  }
  /// Where a stage of this rank computes.
  void place(int stage, at::Device device) { devices_[at(stage)] = device; }
  void begin(const Batch& batch) {
    batch_ = &batch;
    for (auto& boundary : boundaries_)
      for (Ends& e : boundary) {
        e.first.assign(batch.parts.size(), !batch.loss);
        if (batch.loss && e.wire->per_sample())
          for (std::size_t m = 0; m < batch.parts.size(); ++m) e.first[m] = e.wire->first(sample_ids(m));
      }
  }
  /// A step is over everywhere.
  void end_step(bool whole) {
    for (auto& boundary : boundaries_)
      for (Ends& e : boundary)
        if (whole)
          e.messages += batch_->parts.size();
        else
          e.wire->forget();
  }
  std::size_t tensors(int boundary) const { return boundaries_[at(boundary)].size(); }
  std::size_t bytes(Direction d, int boundary, int micro) const {
    std::size_t end = 0;
    for (std::size_t k = 0; k < tensors(boundary); ++k)
      if (const std::size_t n = bytes(d, boundary, micro, k)) end = payload_start(end) + n;
    return end;
  }
  /// Bytes that this rank's ends of a boundary keep in memory.
  std::int64_t state(int boundary) const {
    std::int64_t sum = 0;
    for (const Ends& e : boundaries_[at(boundary)]) sum += e.wire->forward.bytes() + e.wire->gradient.bytes();
    return sum;
  }
  std::int64_t state() const {
    std::int64_t sum = 0;
    for (std::size_t b = 0; b < boundaries_.size(); ++b) sum += state(static_cast<int>(b));
    return sum + local_[0].capacity() + local_[1].capacity();
  }
  /// Of tensor k > 0 under "tensor<k>/".
  FeedbackState::Named save(Direction d, int boundary) const {
    FeedbackState::Named all;
    for (std::size_t k = 0; k < tensors(boundary); ++k) {
      const Ends& e = boundaries_[at(boundary)][k];
      FeedbackState::Named own = (d == Direction::forward ? e.wire->forward : e.wire->gradient).save();
      own.emplace_back("boundary/message",
                       at::scalar_tensor(static_cast<std::int64_t>(e.messages), at::kLong));
      for (auto& [name, tensor] : own) all.emplace_back(prefix(k) + name, std::move(tensor));
    }
    return all;
  }
  void load(Direction d, int boundary, const FeedbackState::Named& saved) {
    for (std::size_t k = 0; k < tensors(boundary); ++k) {
      Ends& e = boundaries_[at(boundary)][k];
      FeedbackState::Named own;
      for (const auto& [name, tensor] : saved)
        if (const std::string p = prefix(k) + "boundary/"; name.starts_with(p))
          own.emplace_back(name.substr(prefix(k).size()), tensor);
      (d == Direction::forward ? e.wire->forward : e.wire->gradient).load(own);
      for (const auto& [name, tensor] : own)
        if (name == "boundary/message") e.messages = static_cast<std::uint64_t>(tensor.item<std::int64_t>());
    }
  }
  /// Of training steps.
  const runtime::Traffic& sent(Direction d, int boundary) const { return traffic_[at(boundary)].training[d]; }
  const runtime::Traffic& inference(int boundary) const { return traffic_[at(boundary)].inference; }
  /// `take_back` undoes what was counted since `mark`.
  void mark() { marked_ = traffic_; }
  void take_back() { traffic_ = marked_; }

  /// Forward: the output of the stage before `boundary` -> payload; the sender keeps only the index block. Backward: the
  /// gradient of the input of the stage behind it -> payload. `both_here`: the receiver is this rank too.
  void encode_and_send(Direction d, int boundary, int micro, MicrobatchState& v, const DeviceBytes& message,
                       bool both_here = false) {
    if (d == Direction::forward) v.sent.clear();
    each(d, boundary, micro, message, [&](std::size_t k, const DeviceBytes& payload) {
      if (d == Direction::forward)
        send_output(boundary, micro, k, v, payload, both_here);
      else if (!wire(boundary, micro, k).verbatim)
        send_grad(boundary, micro, k, v, payload, both_here);
    });
    Counts& counts = traffic_[at(boundary)];
    (batch_->loss ? counts.training[d] : counts.inference) +=
        {1, static_cast<std::int64_t>(message.bytes.size()), 0, 0};
    if (d == Direction::backward)
      v.graph.clear_inputs();
    else if (!batch_->trains(boundary) || v.recomputes)
      v.graph.outputs.clear();
  }

  /// Forward: payload -> input of the stage behind `boundary`. Backward: payload -> gradient of the output of the stage
  /// before it.
  void receive_and_decode(Direction d, int boundary, int micro, MicrobatchState& v,
                          const DeviceBytes& message) {
    if (d == Direction::forward)
      v.graph.clear_inputs();
    else
      v.graph.output_grads.assign(tensors(boundary), at::Tensor());
    each(d, boundary, micro, message, [&](std::size_t k, const DeviceBytes& payload) {
      if (d == Direction::forward)
        receive_input(boundary, micro, k, v, payload);
      else if (!wire(boundary, micro, k).verbatim)
        receive_grad(boundary, micro, k, v, payload);
    });
  }
  /// Keeps what the stage behind `boundary` was given, so that it can be given it again.
  void keep(int boundary, MicrobatchState& v, const DeviceBytes& message) {
    v.given.clear();
    if (remembers(boundary))
      for (const at::Tensor& x : v.graph.inputs) v.given.push_back(x.detach().clone());
    else
      v.payload.assign(message, device_behind(boundary));
  }
  void give_again(int boundary, int micro, MicrobatchState& v) {
    if (!remembers(boundary))
      return receive_and_decode(Direction::forward, boundary, micro, v, v.payload.held());
    v.graph.clear_inputs();
    for (std::size_t k = 0; k < v.given.size(); ++k)
      v.graph.enter(v.given[k], batch_->trains(boundary) && !wire(boundary, micro, k).verbatim);
    v.given.clear();
  }

  /// Both ends of a boundary within this rank: `from` sends and `to` receives. The message stays until the next one.
  /// `between` is called once `from` has sent.
  template <class F>
  DeviceBytes pass(Direction d, int boundary, int micro, MicrobatchState& from, MicrobatchState& to,
                   F between) {
    const DeviceBytes message = local(boundary, bytes(d, boundary, micro));
    encode_and_send(d, boundary, micro, from, message, true);
    between();
    receive_and_decode(d, boundary, micro, to, message);
    return message;
  }

 private:
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  /// One tensor's wire on one boundary: its state, the messages of all earlier steps, and which micro-batches are first
  /// visits.
  struct Ends {
    std::optional<FeedbackEnds> wire;
    std::uint64_t messages = 0;
    std::vector<char> first;
  };
  struct Counts {
    EachDirection<runtime::Traffic> training;
    runtime::Traffic inference;
  };
  /// By which a wire's noise differs from that of the others; tensor 0's is the boundary's number.
  static int number(std::size_t boundary, std::size_t tensor) {
    return static_cast<int>(boundary + (tensor << 20));
  }
  static std::string prefix(std::size_t tensor) {
    return tensor ? "tensor" + std::to_string(tensor) + "/" : std::string();
  }
  const kernel::WireKernels& wire(int boundary, int micro, std::size_t k) const {
    const Ends& e = boundaries_[at(boundary)][k];
    return e.wire->wire(e.first[at(micro)]);
  }
  FeedbackEnds& feedback(int boundary, std::size_t k) { return *boundaries_[at(boundary)][k].wire; }
  /// Whether what a payload decodes to depends on earlier ones.
  bool remembers(int boundary) const {
    return std::any_of(boundaries_[at(boundary)].begin(), boundaries_[at(boundary)].end(), [](const Ends& e) {
      const codec::Memory memory = e.wire->forward.how().memory;
      return memory == codec::Memory::estimate || memory == codec::Memory::samples;
    });
  }
  std::size_t bytes(Direction d, int boundary, int micro, std::size_t k) const {
    const kernel::WireKernels& w = wire(boundary, micro, k);
    const Extents s = batch_->shape(boundary, micro, k);
    return d == Direction::forward ? payload_bytes(w, s, batch_->activation(boundary, k).dtype)
                                   : w.grad_bytes(s);
  }
  /// Calls f(tensor, payload) for each part of a message.
  template <class F>
  void each(Direction d, int boundary, int micro, const DeviceBytes& message, F f) {
    std::size_t end = 0;
    for (std::size_t k = 0; k < tensors(boundary); ++k) {
      const std::size_t n = bytes(d, boundary, micro, k), begin = n ? payload_start(end) : end;
      if (begin > end) zero({message.bytes.subspan(end, begin - end), message.device});  // it is sent too
      f(k, DeviceBytes{message.bytes.subspan(begin, n), message.device});
      end = begin + n;
    }
  }
  std::uint64_t message(int boundary, std::size_t k, int micro) const {
    return boundaries_[at(boundary)][k].messages + static_cast<std::uint64_t>(micro);
  }
  std::span<const std::int64_t> sample_ids(std::size_t micro) const {
    const training::SampleRange& part = batch_->parts[micro];
    return std::span(batch_->sample_ids)
        .subspan(static_cast<std::size_t>(part.first), static_cast<std::size_t>(part.count));
  }
  Visit visit(int boundary, std::size_t k, int micro) const {
    const Ends& e = boundaries_[at(boundary)][k];
    return {micro, e.wire->per_sample() ? sample_ids(at(micro)) : std::span<const std::int64_t>(),
            e.first[at(micro)] != 0};
  }
  at::Device device_behind(int boundary) const { return devices_[at(boundary) + 1]; }

  void send_output(int boundary, int micro, std::size_t k, MicrobatchState& v, const DeviceBytes& payload,
                   bool both_here) {
    const kernel::WireKernels& w = wire(boundary, micro, k);
    const Extents s = batch_->shape(boundary, micro, k);
    const at::Tensor& output = v.graph.outputs[k];
    expect_sendable(output, w);
    v.sent.push_back({output.scalar_type(), output.suggest_memory_format(), output.device()});
    const c10::DeviceGuard guard(output.device());
    if (w.verbatim) {
      if (output.requires_grad()) throw_verbatim_gradient(k);
      const at::Tensor plain = in_memory(output).contiguous();
      return copy_bytes(bytes_of(plain), payload);
    }
    const at::Tensor x = readable(output.detach());
    if (!batch_->loss)
      w.encode(in(x), s, payload.bytes, torch_threads);
    else
      feedback(boundary, k)
          .encode(visit(boundary, k, micro), message(boundary, k, micro), x, s, payload.bytes, both_here);
    if (!batch_->trains(boundary)) return;
    if (v.index_out.size() <= k) v.index_out.resize(k + 1);
    v.index_out[k].assign({payload.bytes.first(w.index_bytes(s)), payload.device}, x.device());
  }
  /// Zeros where the stage's output did not depend on its input.
  void send_grad(int boundary, int micro, std::size_t k, MicrobatchState& v, const DeviceBytes& payload,
                 bool both_here) {
    const Extents s = batch_->shape(boundary, micro, k);
    const at::Tensor came = v.graph.take_input_grad(k);
    const at::Tensor dy = came.defined() ? readable(came)
                                         : tensor_of(s, batch_->activation(boundary, k).dtype,
                                                     at::MemoryFormat::Contiguous, device_behind(boundary))
                                               .zero_();
    const c10::DeviceGuard guard(dy.device());
    feedback(boundary, k)
        .encode_grad(visit(boundary, k, micro), message(boundary, k, micro), dy, s, v.index_in[k].bytes(),
                     payload.bytes, both_here);
  }
  void receive_input(int boundary, int micro, std::size_t k, MicrobatchState& v, const DeviceBytes& payload) {
    const kernel::WireKernels& w = wire(boundary, micro, k);
    const Extents s = batch_->shape(boundary, micro, k);
    const Activation& a = batch_->activation(boundary, k);
    const c10::DeviceGuard guard(device_behind(boundary));
    at::Tensor x = tensor_of(s, a.dtype, a.format, device_behind(boundary));
    if (w.verbatim) {
      const at::Tensor plain = tensor_of(s, a.dtype, at::MemoryFormat::Contiguous, device_behind(boundary));
      copy_bytes(payload, bytes_of(plain));
      x = plain.contiguous(a.format);
    } else if (batch_->loss)
      feedback(boundary, k).decode(visit(boundary, k, micro), payload.bytes, s, x);
    else
      w.decode(payload.bytes, s, out(x), torch_threads);
    const bool learns = batch_->trains(boundary) && !w.verbatim;
    v.graph.enter(x, learns);
    if (!learns) return;
    if (v.index_in.size() <= k) v.index_in.resize(k + 1);
    v.index_in[k].assign({payload.bytes.first(w.index_bytes(s)), payload.device}, x.device());
  }
  void receive_grad(int boundary, int micro, std::size_t k, MicrobatchState& v, const DeviceBytes& payload) {
    const Extents s = batch_->shape(boundary, micro, k);
    const MicrobatchState::Form& form = v.sent[k];
    const c10::DeviceGuard guard(form.device);
    at::Tensor& dx = v.graph.output_grads[k];
    dx = tensor_of(s, form.dtype, form.format, form.device);
    feedback(boundary, k)
        .decode_grad(visit(boundary, k, micro), payload.bytes, s, v.index_out[k].bytes(), dx);
  }
  static DeviceBytes bytes_of(const at::Tensor& plain) {
    auto* data = static_cast<std::byte*>(const_cast<void*>(plain.const_data_ptr()));
    return {{data, plain.nbytes()}, plain.device()};
  }
  /// On the device that both stages compute on, if they share one; else on the host.
  DeviceBytes local(int boundary, std::size_t size) {
    const at::Device before = devices_[at(boundary)], behind = device_behind(boundary);
    const bool together = before == behind && !before.is_cpu();
    return local_[together].sized(size, together ? before : at::Device(at::kCPU));
  }

  std::vector<std::vector<Ends>> boundaries_;  ///< by boundary and tensor
  std::vector<Counts> traffic_, marked_;
  std::vector<at::Device> devices_;  ///< of the stages
  const Batch* batch_ = nullptr;
  PayloadBuffer local_[2];  ///< on the host, on a device
};

}  // namespace pcomp::detail
