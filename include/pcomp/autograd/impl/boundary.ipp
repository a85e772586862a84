#pragma once
#include <ATen/ops/empty_like.h>
#include <c10/core/DeviceGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include "../boundary.hpp"
#include "../feedback.hpp"

namespace pcomp::detail {

/// What a sender keeps of a payload until the gradient arrives: its index block.
inline at::Tensor index_block(const at::Tensor& payload, std::size_t bytes) {
  const auto n = static_cast<std::int64_t>(bytes);
  return n == payload.numel() ? payload : payload.narrow(0, 0, n).clone();
}

inline void expect_first_gradient() {
  if (at::GradMode::is_enabled())
    throw Error(
        "pcomp: a boundary's gradient has no gradient of its own: call backward without create_graph");
}

/// Encodes and decodes, standing in for both ends of a link; keeps what a real sender keeps, the index block.
class BoundaryFunction : public torch::autograd::Function<BoundaryFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& input,
                            const kernel::WireKernels* ops) {
    const c10::DeviceGuard guard(input.device());
    const at::Tensor x = readable(input);
    const Extents shape = extents_of(x);
    ops->grad_bytes(
        shape);  // a gradient wire that does not take this shape is an error here, not in backward
    at::Tensor payload = byte_tensor(ops->bytes(shape), x.device());
    ops->encode(in(x), shape, bytes_in(payload), torch_threads);
    at::Tensor y = at::empty_like(x);  // with its strides
    ops->decode(bytes_in(payload), shape, out(y), torch_threads);
    ctx->save_for_backward({index_block(payload, ops->index_bytes(shape))});
    ctx->saved_data["format"] = static_cast<std::int64_t>(x.suggest_memory_format());
    ctx->saved_data["ops"] = reinterpret_cast<std::int64_t>(ops);
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    expect_first_gradient();
    const auto* ops = reinterpret_cast<const kernel::WireKernels*>(ctx->saved_data["ops"].toInt());
    at::Tensor index = ctx->get_saved_variables()[0];
    const c10::DeviceGuard guard(grads[0].device());
    const at::Tensor dy = readable(grads[0]);
    const Extents shape = extents_of(dy);
    at::Tensor payload = byte_tensor(ops->grad_bytes(shape), dy.device());
    ops->encode_grad(in(dy), shape, bytes_in(index), bytes_in(payload), torch_threads);
    const auto format = static_cast<at::MemoryFormat>(ctx->saved_data["format"].toInt());
    at::Tensor dx = tensor_of(shape, dy.scalar_type(), format, dy.device());
    ops->decode_grad(bytes_in(payload), shape, bytes_in(index), out(dx), torch_threads);
    return {dx, at::Tensor()};
  }
};

/// The state shared by a Boundary and the graphs that it was part of.
struct BoundaryMemory : torch::CustomClassHolder {
  explicit BoundaryMemory(const kernel::WireKernels& ops, int number) : ends(ops, number) {}
  FeedbackEnds ends;
  std::uint64_t messages = 0;
};

/// BoundaryFunction with a memory.
class StatefulBoundaryFunction : public torch::autograd::Function<StatefulBoundaryFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& input,
                            const c10::intrusive_ptr<BoundaryMemory>& memory, std::int64_t place,
                            const std::vector<std::int64_t>& sample_ids) {
    FeedbackEnds& ends = memory->ends;
    const Visit v{static_cast<int>(place), sample_ids, ends.first(sample_ids)};
    const kernel::WireKernels& w = ends.wire(v.first);
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
    ctx->saved_data["ids"] = sample_ids;
    ctx->saved_data["first"] = v.first;
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    expect_first_gradient();
    const auto capsule = ctx->saved_data["memory"].toCapsule();
    FeedbackEnds& ends = static_cast<BoundaryMemory&>(*capsule).ends;
    const std::vector<std::int64_t> sample_ids = ctx->saved_data["ids"].toIntVector();
    const Visit v{static_cast<int>(ctx->saved_data["place"].toInt()), sample_ids,
                  ctx->saved_data["first"].toBool()};
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

}  // namespace pcomp::detail

namespace pcomp {

PCOMP_IMPL at::Tensor boundary(const kernel::WireKernels& ops, const at::Tensor& x) {
  detail::expect_dense(x);
  if (ops.forward.memory != codec::Memory::nothing || ops.backward.memory != codec::Memory::nothing)
    throw Error("pcomp: " + std::string(ops.name.view()) +
                " has a memory: make a Boundary of it, boundary() has none");
  return detail::BoundaryFunction::apply(x, &ops);
}

PCOMP_IMPL Boundary::Boundary(const kernel::WireKernels& ops, int number)
    : memory_(c10::make_intrusive<detail::BoundaryMemory>(ops, number)) {}

PCOMP_IMPL at::Tensor Boundary::operator()(const at::Tensor& x, int place, const at::Tensor& sample_ids) {
  detail::expect_dense(x);
  const auto memory = c10::static_intrusive_pointer_cast<detail::BoundaryMemory>(memory_);
  const detail::FeedbackEnds& ends = memory->ends;
  if (!at::GradMode::is_enabled()) return detail::BoundaryFunction::apply(x, &ends.wire(true));
  return detail::StatefulBoundaryFunction::apply(
      x, memory, static_cast<std::int64_t>(place),
      ends.per_sample() ? detail::sample_ids_of(sample_ids, x.size(0)) : std::vector<std::int64_t>());
}

PCOMP_IMPL std::int64_t Boundary::bytes() const {
  const auto& ends = static_cast<const detail::BoundaryMemory&>(*memory_).ends;
  return ends.forward.bytes() + ends.gradient.bytes();
}

PCOMP_IMPL void Boundary::forget() { static_cast<detail::BoundaryMemory&>(*memory_).ends.forget(); }

}  // namespace pcomp
