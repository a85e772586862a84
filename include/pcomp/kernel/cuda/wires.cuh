#pragma once
#include "../codec_calls.hpp"
#include "../rng_counter.hpp"
#include "gradient.cuh"

namespace pcomp::detail::gpu {

/// Whether these are the strides of memory without gaps: dimension `inner` innermost, the others row-major.
inline bool without_gaps(const Extents& shape, const Extents& strides, int inner) {
  std::int64_t expected = 1;
  const auto lies_next = [&](int d) {
    const bool fits = shape[d] == 1 || strides[d] == expected;
    expected *= shape[d];
    return fits;
  };
  bool fits = lies_next(inner);
  for (int d = shape.rank(); d-- > 0;)
    if (d != inner) fits = lies_next(d) && fits;
  return fits;
}

/// For an In or an Out.
template <class View>
Place place_of(const View& x) {
  const Extents& e = x.shape;
  if (x.count == 0 || e.rank() == 0 || without_gaps(e, x.strides, e.rank() - 1)) return {};
  if (e.rank() < 3 || !without_gaps(e, x.strides, 1))
    throw Error(
        "pcomp: the CUDA kernels take row-major or channels-last memory without gaps, not the strides " +
        to_string(x.strides) + " of " + to_string(e));
  return {static_cast<u32>(e[1]), static_cast<u32>(x.count / (e[0] * e[1]))};
}
inline bool takes_vectors(const void* p, kernel::DType t) {
  return reinterpret_cast<std::uintptr_t>(p) % (4 * static_cast<std::uintptr_t>(kernel::bytes_of(t))) == 0;
}

inline Source source_of(const kernel::TensorView& x) {
  Source s;
  s.data = x.data, s.dtype = x.dtype, s.n = static_cast<u32>(x.count);
  s.place = place_of(x);
  s.plain = s.place.row_major() && takes_vectors(x.data, x.dtype);
  return s;
}
inline Sink sink_of(const kernel::MutableTensorView& y) {
  const Place place = place_of(y);
  return {y.data, y.dtype, place, static_cast<u32>(y.count),
          place.row_major() && takes_vectors(y.data, y.dtype)};
}

inline void expect_aligned(const char* what, const void* p) {
  if (const auto beyond = reinterpret_cast<std::uintptr_t>(p) % 16)
    throw Error(std::string("pcomp: the CUDA kernels take ") + what +
                " at a multiple of 16 bytes, not one that lies " + std::to_string(beyond) + " beyond it");
}
inline void expect_fits(const Extents& shape, const void* payload, std::span<std::byte> workspace,
                        std::size_t needed) {
  if (shape.size() >= std::int64_t{1} << 31)
    throw Error("pcomp: the CUDA kernels take fewer than 2^31 elements, not " + to_string(shape));
  expect_aligned("a payload", payload);
  expect_aligned("a workspace", workspace.data());
  if (workspace.size() < needed)
    throw Error("pcomp: the CUDA kernels need a workspace of " + std::to_string(needed) +
                " bytes, but it has " + std::to_string(workspace.size()));
}

template <class Plan, class... A>
constexpr std::size_t slots_of(const Extents& shape, A... a) {
  Slots s;
  const Plan plan(shape, a..., s);
  static_cast<void>(plan);
  return static_cast<std::size_t>(s.bytes);
}

}  // namespace pcomp::detail::gpu

namespace pcomp::cuda {

/// The same wires on a GPU: the same bytes, from and to device memory.

/// The most scratch that any of the four calls below needs: device memory, with any contents.
///
/// Law: a constant expression where the shape is one.
/// Bytes: none for a coder alone; a third of a float tensor for TopK<1/10>, up to twice the tensor for TopK<9/10>, and
///   8 kB for each segment of more than 8192.
/// Shapes: any that the wire takes.
/// Example: docs/gpu.md
template <codec::AnyWire W>
constexpr std::size_t workspace_bytes(W, const Extents& shape) {
  using V = detail::as_wire<W>;
  std::size_t most = 0;
  for (const std::size_t s :
       {detail::gpu::slots_of<detail::gpu::EncodePlan<typename V::Forward>>(shape, false),
        detail::gpu::slots_of<detail::gpu::DecodePlan<typename V::Forward>>(shape),
        detail::gpu::slots_of<detail::gpu::EncodeGradPlan<V>>(shape),
        detail::gpu::slots_of<detail::gpu::DecodeGradPlan<V>>(shape)})
    most = s > most ? s : most;
  return most;
}

/// Enqueues the encoding of a tensor on its stream, `x.gpu.stream`.
///
/// Law: the bytes of pcomp::encode on the CPU. Nothing waits for the GPU, so a CUDA graph can capture it.
/// Bytes: exactly wire_bytes(w, shape) in device memory, at a multiple of 16.
/// Shapes: `x` has shape.size() elements, fewer than 2^31; row-major, or channels-last by its strides.
/// Errors: `Error` for a wrong element or byte count, other strides, too small a workspace, or what CUDA reports.
/// Example: docs/gpu.md
template <codec::AnyWire W>
void encode(W w, const kernel::TensorView& x, const Extents& shape, std::span<std::byte> payload,
            std::span<std::byte> workspace) {
  using E = typename detail::as_wire<W>::Forward;
  detail::expect_shape("the input", x, shape);
  detail::expect_bytes("the payload", payload.size(), static_cast<std::int64_t>(wire_bytes(w, shape)),
                       name(w), shape);
  detail::gpu::Slots s;
  const detail::gpu::EncodePlan<E> plan(shape, false, s);
  detail::gpu::expect_fits(shape, payload.data(), workspace, static_cast<std::size_t>(s.bytes));
  detail::gpu::encode_chain(detail::gpu::Queue(x.gpu.stream), detail::gpu::source_of(x), shape, plan,
                            payload.data(), workspace.data(), detail::fold_counter(x.noise));
}

/// Enqueues the decoding of a payload on the stream of `y`.
///
/// Law: the values of pcomp::decode on the CPU; no payload of the right length causes an out-of-bounds access.
/// Bytes, Shapes, Errors: as encode.
/// Example: docs/gpu.md
template <codec::AnyWire W>
void decode(W w, std::span<const std::byte> payload, const Extents& shape, const kernel::MutableTensorView& y,
            std::span<std::byte> workspace) {
  using E = typename detail::as_wire<W>::Forward;
  detail::expect_shape("the output", y, shape);
  detail::expect_bytes("the payload", payload.size(), static_cast<std::int64_t>(wire_bytes(w, shape)),
                       name(w), shape);
  detail::gpu::Slots s;
  const detail::gpu::DecodePlan<E> plan(shape, s);
  detail::gpu::expect_fits(shape, payload.data(), workspace, static_cast<std::size_t>(s.bytes));
  detail::gpu::decode_chain(detail::gpu::Queue(y.gpu.stream), payload.data(), shape, plan,
                            detail::gpu::sink_of(y), workspace.data());
}

/// Enqueues the encoding of a gradient on its stream; `payload` is the forward payload or its index block.
///
/// Law, Bytes, Shapes, Errors: as pcomp::encode_grad and encode above.
/// Example: docs/gpu.md
template <codec::AnyWire W>
void encode_grad(W w, const kernel::TensorView& dy, const Extents& shape, std::span<const std::byte> payload,
                 std::span<std::byte> grad_payload, std::span<std::byte> workspace) {
  using V = detail::as_wire<W>;
  detail::expect_payloads(w, dy, shape, payload.size(), grad_payload.size());
  detail::gpu::Slots s;
  const detail::gpu::EncodeGradPlan<V> plan(shape, s);
  detail::gpu::expect_fits(shape, grad_payload.data(), workspace, static_cast<std::size_t>(s.bytes));
  detail::gpu::expect_fits(shape, payload.data(), workspace, 0);
  detail::gpu::encode_restricted(detail::gpu::Queue(dy.gpu.stream), detail::gpu::source_of(dy), shape, plan,
                                 payload.data(), grad_payload.data(), workspace.data(),
                                 detail::fold_counter(dy.noise));
}

/// Enqueues the decoding of a gradient payload on the stream of `dx`.
///
/// Law, Bytes, Shapes, Errors: as pcomp::decode_grad and encode above.
/// Example: docs/gpu.md
template <codec::AnyWire W>
void decode_grad(W w, std::span<const std::byte> grad_payload, const Extents& shape,
                 std::span<const std::byte> payload, const kernel::MutableTensorView& dx,
                 std::span<std::byte> workspace) {
  using V = detail::as_wire<W>;
  detail::expect_payloads(w, dx, shape, payload.size(), grad_payload.size());
  detail::gpu::Slots s;
  const detail::gpu::DecodeGradPlan<V> plan(shape, s);
  detail::gpu::expect_fits(shape, grad_payload.data(), workspace, static_cast<std::size_t>(s.bytes));
  detail::gpu::expect_fits(shape, payload.data(), workspace, 0);
  detail::gpu::decode_restricted(detail::gpu::Queue(dx.gpu.stream), grad_payload.data(), shape, plan,
                                 payload.data(), detail::gpu::sink_of(dx), workspace.data());
}

}  // namespace pcomp::cuda
