#pragma once
#include <ATen/ops/clamp.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/where.h>

#include "feedback_state.hpp"

namespace pcomp::detail {

/// A sum with what is remembered, which is finite: where `x` is, the sum stays within the finite values of `type`.
inline at::Tensor bounded(const at::Tensor& sum, const at::Tensor& x, at::ScalarType type) {
  const double most = largest(type);
  return at::where(at::isfinite(x), at::clamp(sum, -most, most), sum);
}

/// The sender's part of a message: `encode(tensor)` fills the payload, `decode(tensor)` reads it back.
///
/// Law: where the receiver shares the state (`shared`), an estimate is left for the receiver to update.
template <class Encode, class Decode>
void send_with(FeedbackState& state, const Visit& v, const at::Tensor& x, bool shared, Encode&& encode,
               Decode&& decode) {
  const Memory memory = state.how().memory;
  if (memory == Memory::nothing) return encode(x);
  const at::Tensor known = state.recall(v, x), wide = x.to(at::kFloat);
  at::Tensor given =
      bounded(memory == Memory::residual ? wide.add(known) : wide.sub(known), wide, at::kFloat);
  encode(given);
  if (memory != Memory::residual && shared) return;
  at::Tensor came = at::empty_like(known);
  decode(came);
  state.keep(v, memory == Memory::residual ? given.sub_(came) : bounded(came.add(known), came, at::kFloat));
}

/// The receiver's part: writes the tensor as it reconstructs it into `y`.
template <class Decode>
void receive_with(FeedbackState& state, const Visit& v, at::Tensor& y, Decode&& decode) {
  if (state.how().memory == Memory::nothing || state.how().memory == Memory::residual) return decode(y);
  at::Tensor known = state.recall(v, y), came = at::empty_like(known);
  decode(came);
  const at::Tensor sum = bounded(came.add(known), came, at::kFloat);
  state.keep(v, sum);
  y.copy_(bounded(sum, came, y.scalar_type()));
}

/// The part of a gradient that the loss depends on: `dy` through the same mask and windows, in floats.
inline at::Tensor restricted_gradient(const BoundaryOps& w, const at::Tensor& dy, const Extents& shape,
                                      std::span<const std::byte> index) {
  if (!w.linear) return dy;
  at::Tensor payload = byte_tensor(w.linear->grad_bytes(shape), dy.device());
  w.linear->encode_grad(in(dy), shape, index, bytes_in(payload), torch_threads);
  at::Tensor y =
      at::empty(dy.sizes(), dy.options().dtype(at::kFloat).memory_format(at::MemoryFormat::Contiguous));
  w.linear->decode_grad(bytes_in(payload), shape, index, out(y), torch_threads);
  return y;
}

inline In in(const at::Tensor& x, std::uint64_t noise) {
  In view = in(x);
  view.noise = noise;
  return view;
}

/// Both directions of one boundary on one rank, over the wire's kernels.
class FeedbackEnds {
 public:
  FeedbackEnds() = default;
  FeedbackEnds(const BoundaryOps& ops, int number)
      : forward(ops.forward),
        gradient(ops.backward),
        ops_(&ops),
        number_(static_cast<std::uint64_t>(number)) {}

  const BoundaryOps& ops() const { return *ops_; }
  /// The kernels that a message goes through.
  const BoundaryOps& wire(bool first) const { return first && ops_->first ? *ops_->first : *ops_; }
  bool per_sample() const { return forward.per_sample() || gradient.per_sample(); }
  bool first(std::span<const std::int64_t> ids) const {
    return (forward.per_sample() && !forward.knows(ids)) || (gradient.per_sample() && !gradient.knows(ids));
  }

  void encode(const Visit& v, std::uint64_t message, const at::Tensor& x, const Extents& s,
              std::span<std::byte> payload, bool shared) {
    const BoundaryOps& w = wire(v.first);
    send_with(
        forward, v, x, shared,
        [&](const at::Tensor& t) {
          w.encode(in(t, noise_of(number_, false, message)), s, payload, torch_threads);
        },
        [&](at::Tensor& t) { w.decode(payload, s, out(t), torch_threads); });
  }
  void decode(const Visit& v, std::span<const std::byte> payload, const Extents& s, at::Tensor& y) {
    receive_with(forward, v, y,
                 [&](at::Tensor& t) { wire(v.first).decode(payload, s, out(t), torch_threads); });
  }
  void encode_grad(const Visit& v, std::uint64_t message, const at::Tensor& dy, const Extents& s,
                   std::span<const std::byte> index, std::span<std::byte> payload, bool shared) {
    const BoundaryOps& w = wire(v.first);
    send_with(
        gradient, v, restricted_gradient(w, dy, s, index), shared,
        [&](const at::Tensor& t) {
          w.encode_grad(in(t, noise_of(number_, true, message)), s, index, payload, torch_threads);
        },
        [&](at::Tensor& t) { w.decode_grad(payload, s, index, out(t), torch_threads); });
  }
  void decode_grad(const Visit& v, std::span<const std::byte> payload, const Extents& s,
                   std::span<const std::byte> index, at::Tensor& dx) {
    receive_with(gradient, v, dx,
                 [&](at::Tensor& t) { wire(v.first).decode_grad(payload, s, index, out(t), torch_threads); });
  }
  void forget() { forward.forget(), gradient.forget(); }

  FeedbackState forward, gradient;

 private:
  const BoundaryOps* ops_ = nullptr;
  std::uint64_t number_ = 0;
};

}  // namespace pcomp::detail
