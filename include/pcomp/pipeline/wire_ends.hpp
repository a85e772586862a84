#pragma once
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "../autograd/tensor.hpp"
#include "../kernel/boundary_ops.hpp"
#include "batch.hpp"
#include "entrance.hpp"
#include "live.hpp"
#include "report.hpp"

namespace pcomp::detail {

/// The two ends of every wire on one rank: tensors of a micro-batch in and out of payloads, both ways.
///
/// Law: a tensor arrives in the memory format in which it departed, as from `boundary`.
/// Bytes: counted for each boundary where a payload leaves.
class WireEnds {
 public:
  explicit WireEnds(std::vector<const BoundaryOps*> wires)
      : wires_(std::move(wires)),
        forward_(wires_.size()),
        gradient_(wires_.size()),
        inference_(wires_.size()) {}

  void begin(const Batch& batch) { batch_ = &batch; }
  void rewire(const std::vector<const BoundaryOps*>& wires) { wires_ = wires; }
  std::size_t bytes(int edge, int micro) const { return wire(edge).bytes(batch_->shape(edge, micro)); }
  std::size_t grad_bytes(int edge, int micro) const {
    return wire(edge).grad_bytes(batch_->shape(edge, micro));
  }
  const Traffic& forward(int edge) const { return forward_[at(edge)]; }
  const Traffic& gradient(int edge) const { return gradient_[at(edge)]; }
  const Traffic& inference(int edge) const { return inference_[at(edge)]; }

  /// Output of the stage before `edge` -> payload. The sender keeps the index block alone.
  void depart(int edge, int micro, Live& v, std::span<std::byte> payload) {
    const BoundaryOps& w = wire(edge);
    const at::Tensor x = v.output.detach();
    expect_dense_cpu(x);
    const Extents s = batch_->shape(edge, micro);
    w.encode(in(x), s, payload, torch_threads);
    count(batch_->loss ? forward_ : inference_, edge, payload.size());
    if (batch_->loss)
      v.index_out.assign(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(w.index_bytes(s)));
    else
      v.output = at::Tensor();
  }

  /// Payload -> input of the stage behind `edge`.
  void arrive(int edge, int micro, Live& v, std::span<const std::byte> payload) {
    const BoundaryOps& w = wire(edge);
    const Extents s = batch_->shape(edge, micro);
    const Activation& a = batch_->activations[at(edge)];
    at::Tensor x = tensor_of(s, a.dtype, a.format);
    w.decode(payload, s, out(x), torch_threads);
    if (!batch_->loss) {
      v.input = x;
      return;
    }
    v.index_in.assign(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(w.index_bytes(s)));
    if (!anchor_.defined()) anchor_ = at::zeros({}).requires_grad_();
    v.input = Entrance::apply(anchor_, &x, &v.input_grad);
    v.entrance = v.input.grad_fn();
  }

  /// Gradient of the input of the stage behind `edge` -> gradient payload.
  void depart_grad(int edge, int micro, Live& v, std::span<std::byte> payload) {
    const Extents s = batch_->shape(edge, micro);
    const at::Tensor dy =
        v.input_grad.defined() ? v.input_grad : tensor_of(s, batch_->activations[at(edge)].dtype).zero_();
    v.input_grad = at::Tensor();
    wire(edge).encode_grad(in(dy), s, v.index_in, payload, torch_threads);
    count(gradient_, edge, payload.size());
  }

  /// Gradient payload -> gradient of the output of the stage before `edge`.
  void arrive_grad(int edge, int micro, Live& v, std::span<const std::byte> payload) {
    const Extents s = batch_->shape(edge, micro);
    v.output_grad = tensor_of(s, v.output.scalar_type(), v.output.suggest_memory_format());
    wire(edge).decode_grad(payload, s, v.index_out, out(v.output_grad), torch_threads);
  }

  /// Both ends of an edge within this rank.
  void hand_over(int edge, int micro, Live& from, Live& to) {
    const auto payload = local(bytes(edge, micro));
    depart(edge, micro, from, payload);
    arrive(edge, micro, to, payload);
  }
  void hand_back(int edge, int micro, Live& from, Live& to) {
    const auto payload = local(grad_bytes(edge, micro));
    depart_grad(edge, micro, from, payload);
    arrive_grad(edge, micro, to, payload);
  }

 private:
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  const BoundaryOps& wire(int edge) const { return *wires_[at(edge)]; }
  std::span<std::byte> local(std::size_t size) {
    local_.resize(std::max(local_.size(), size));
    return std::span(local_).first(size);
  }
  static void count(std::vector<Traffic>& traffic, int edge, std::size_t bytes) {
    traffic[at(edge)] += {1, static_cast<std::int64_t>(bytes), 0, 0};
  }

  std::vector<const BoundaryOps*> wires_;
  std::vector<Traffic> forward_, gradient_, inference_;
  const Batch* batch_ = nullptr;
  at::Tensor anchor_;
  std::vector<std::byte> local_;
};

}  // namespace pcomp::detail
