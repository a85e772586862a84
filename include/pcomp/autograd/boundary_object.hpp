#pragma once
#include <torch/custom_class.h>

#include "boundary.hpp"
#include "feedback.hpp"

namespace pcomp {
namespace detail {

/// Sample identities as plain integers.
inline std::vector<std::int64_t> identities(const at::Tensor& ids, std::int64_t samples) {
  if (!ids.defined() || ids.dim() != 1 || ids.size(0) != samples || ids.scalar_type() != at::kLong)
    throw Error("pcomp: Delta needs the identities of " + std::to_string(samples) +
                " samples, a tensor of as many int64, not " +
                (ids.defined() ? ids.toString() + " " + to_string(extents_of(ids)) : std::string("none")));
  const at::Tensor plain = in_memory(ids).cpu().contiguous();
  std::vector<std::int64_t> all(plain.const_data_ptr<std::int64_t>(),
                                plain.const_data_ptr<std::int64_t>() + samples);
  std::vector<std::int64_t> sorted = all;
  std::sort(sorted.begin(), sorted.end());
  if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end())
    throw Error("pcomp: sample " + std::to_string(*twice) + " comes twice in one batch");
  return all;
}

/// The state shared by a Boundary and the graphs that it was part of.
struct BoundaryMemory : torch::CustomClassHolder {
  explicit BoundaryMemory(const BoundaryOps& ops, int number) : ends(ops, number) {}
  FeedbackEnds ends;
  std::uint64_t messages = 0;
};

/// BoundaryFunction with a memory.
class StatefulBoundaryFunction : public torch::autograd::Function<StatefulBoundaryFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& input,
                            const c10::intrusive_ptr<BoundaryMemory>& memory, std::int64_t place,
                            const std::vector<std::int64_t>& ids) {
    FeedbackEnds& ends = memory->ends;
    const Visit v{static_cast<int>(place), ids, ends.first(ids)};
    const BoundaryOps& w = ends.wire(v.first);
    const c10::DeviceGuard guard(input.device());
    const at::Tensor x = readable(input);
    const Extents shape = extents_of(x);
    w.grad_bytes(shape);  // refuses a shape before backward does
    at::Tensor payload = byte_tensor(w.bytes(shape), x.device());
    const std::uint64_t message = memory->messages++;
    ends.encode(v, message, x.detach(), shape, bytes_in(payload), true);
    at::Tensor y = at::empty_like(x);
    ends.decode(v, bytes_in(payload), shape, y);
    ctx->save_for_backward({index_block(payload, w.index_bytes(shape))});
    ctx->saved_data["memory"] = c10::IValue::make_capsule(memory);
    ctx->saved_data["format"] = static_cast<std::int64_t>(x.suggest_memory_format());
    ctx->saved_data["message"] = static_cast<std::int64_t>(message);
    ctx->saved_data["place"] = place;
    ctx->saved_data["ids"] = ids;
    ctx->saved_data["first"] = v.first;
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    expect_first_gradient();
    const auto capsule = ctx->saved_data["memory"].toCapsule();
    FeedbackEnds& ends = static_cast<BoundaryMemory&>(*capsule).ends;
    const std::vector<std::int64_t> ids = ctx->saved_data["ids"].toIntVector();
    const Visit v{static_cast<int>(ctx->saved_data["place"].toInt()), ids, ctx->saved_data["first"].toBool()};
    at::Tensor index = ctx->get_saved_variables()[0];
    const c10::DeviceGuard guard(grads[0].device());
    const at::Tensor dy = readable(grads[0]);
    const Extents shape = extents_of(dy);
    at::Tensor payload = byte_tensor(ends.wire(v.first).grad_bytes(shape), dy.device());
    const auto message = static_cast<std::uint64_t>(ctx->saved_data["message"].toInt());
    ends.encode_grad(v, message, dy, shape, bytes_in(index), bytes_in(payload), true);
    const auto format = static_cast<at::MemoryFormat>(ctx->saved_data["format"].toInt());
    at::Tensor dx = tensor_of(shape, dy.scalar_type(), format, dy.device());
    ends.decode_grad(v, bytes_in(payload), shape, bytes_in(index), dx);
    return {dx, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace detail

/// A boundary with a memory, as one op of the autograd graph: both ends of a link at once.
///
/// Law: the values and gradients of boundary `number` of a pipeline, bit for bit, if called once for each
///   micro-batch in the same order, with its place in the batch and the identities of its samples. Without grad mode it
///   evaluates: nothing is remembered, Delta sends First, and Stochastic adds noise number 0.
/// Bytes: nothing is sent; `bytes()` bytes are kept. A graph keeps the memory alive.
/// Shapes: as `boundary`; the same for every sample where the wire has feedback.
/// Errors: as `boundary`, and for Delta without identities.
/// Example: docs/feedback.md
class Boundary {
 public:
  explicit Boundary(const BoundaryOps& ops, int number = 0)
      : memory_(c10::make_intrusive<detail::BoundaryMemory>(ops, number)) {}

  at::Tensor operator()(const at::Tensor& x, int place = 0, const at::Tensor& ids = {}) {
    detail::expect_dense(x);
    const detail::FeedbackEnds& ends = memory_->ends;
    if (!at::GradMode::is_enabled()) return detail::BoundaryFunction::apply(x, &ends.wire(true));
    return detail::StatefulBoundaryFunction::apply(
        x, memory_, static_cast<std::int64_t>(place),
        ends.per_sample() ? detail::identities(ids, x.size(0)) : std::vector<std::int64_t>());
  }

  std::int64_t bytes() const { return memory_->ends.forward.bytes() + memory_->ends.gradient.bytes(); }
  /// Forgets all that is remembered; the noise sequence goes on.
  void forget() { memory_->ends.forget(); }

 private:
  c10::intrusive_ptr<detail::BoundaryMemory> memory_;
};

}  // namespace pcomp
