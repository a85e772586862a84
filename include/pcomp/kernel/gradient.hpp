#pragma once
#include "../wire/bytes.hpp"
#include "cpu/restricted.hpp"
#include "noise.hpp"

namespace pcomp {

/// The bytes at the front of a forward payload that the gradient calls read: the index block, 0 without a
/// selection.
///
/// Law: encode_grad and decode_grad depend on these bytes alone, so a sender keeps nothing else.
/// Bytes: that of the index block.
/// Shapes: any that the wire takes.
/// Example: examples/020-bytes
template <AnyWire W>
constexpr std::size_t index_bytes(W, const Extents& shape) {
  return static_cast<std::size_t>(detail::layout<typename detail::as_wire<W>::Forward>(shape).index.bytes);
}

namespace detail {
template <AnyWire W, class View>
void expect_payloads(W w, const View& gradient, const Extents& shape, std::size_t payload,
                     std::size_t grad_payload) {
  expect_shape("the gradient", gradient, shape);
  if (payload < index_bytes(w, shape))
    expect_bytes("the forward payload", payload, static_cast<std::int64_t>(wire_bytes(w, shape)), name(w),
                 shape);
  expect_bytes("the gradient payload", grad_payload, static_cast<std::int64_t>(grad_wire_bytes(w, shape)),
               name(w), shape);
}
}  // namespace detail

/// Writes the gradient payload: dy restricted by the adjoint of the forward selection and shape, then coded.
///
/// Law: decode_grad(encode_grad(dy)) is the adjoint of the wire's linear part applied to dy, up to the
///   coder's bound.
/// Bytes: exactly grad_wire_bytes(w, shape).
/// Shapes: `dy` has shape.size() elements; `payload` is the forward payload, or its first index_bytes(w,
///   shape) bytes.
/// Errors: `Error` for another element or byte count.
/// Example: examples/020-bytes
template <AnyWire W>
void encode_grad(W w, In dy, const Extents& shape, std::span<const std::byte> payload,
                 std::span<std::byte> grad_payload, ParallelFor par = {}) {
  detail::expect_payloads(w, dy, shape, payload.size(), grad_payload.size());
  detail::encode_restricted<detail::as_wire<W>>(detail::DenseSource(dy), shape, payload.data(),
                                                grad_payload.data(), par, detail::salt_of(dy.noise));
}

/// Reads a gradient payload back: each value at its place of the forward mask, spread by the adjoint of the
/// shape codec.
///
/// Law, Bytes, Errors: as encode_grad.
/// Shapes: `dx` has shape.size() elements, each written once.
/// Example: examples/020-bytes
template <AnyWire W>
void decode_grad(W w, std::span<const std::byte> grad_payload, const Extents& shape,
                 std::span<const std::byte> payload, Out dx, ParallelFor par = {}) {
  detail::expect_payloads(w, dx, shape, payload.size(), grad_payload.size());
  detail::decode_restricted<detail::as_wire<W>>(grad_payload.data(), shape, payload.data(),
                                                detail::DenseSink(dx), par);
}

}  // namespace pcomp
