// What needs kernels of its own: an index block of few survivors, a user's score, and few blocks for many tiles.
#include <cstring>
#include <pcomp/cpu.hpp>
#include <pcomp/cuda.hpp>
#include <random>

#include "../../unit/cpu/catch.hpp"
#include "../../unit/cpu/nearest1.hpp"
#include "device.hpp"

namespace {

using namespace pcomp;
using device::Bytes;
using Floats = std::vector<float>;

Floats values(std::int64_t n) {
  Floats x(static_cast<std::size_t>(n));
  std::uint32_t state = 3;
  for (float& v : x)
    v = static_cast<float>(static_cast<std::int32_t>(state = state * 1664525u + 1013904223u) >> 16);
  return x;
}

}  // namespace

TEST_CASE("a damaged index block of few survivors decodes within bounds and as on the CPU's side", "[cuda]") {
  const auto w = TopK<Ratio<1, 5000>>;
  const Extents e{200000};
  const Floats x = values(e.size());
  std::vector<std::byte> payload(wire_bytes(w, e)), grad(grad_wire_bytes(w, e));
  const std::size_t index = kernel::index_bytes(w, e);
  std::mt19937 random(1);
  const Bytes from(x), to(x.size() * 4), g(grad.size()), workspace(cuda::workspace_bytes(w, e));
  const kernel::TensorView in(from.data(), kernel::DType::f32, e.size(), device::gpu());
  const kernel::MutableTensorView out(to.data(), kernel::DType::f32, e.size(), device::gpu());
  for (int round = 0; round < 4; ++round) {
    encode(w, std::span<const float>(x), e, payload);
    // Round 0: undamaged. Then the low bits alone, any byte, and no positions at all.
    for (std::size_t i = round == 1 ? index / 3 : 0; i < index && round; ++i)
      payload[i] = static_cast<std::byte>(round == 3 ? 0 : random());
    const Bytes p(payload);
    cuda::decode(w, p.all(), e, out, workspace.all());
    if (round == 0) {
      Floats y(x.size());
      decode(w, payload, e, std::span<float>(y));
      CHECK(to.read<float>() == y);
    }
    cuda::encode_grad(w, in, e, p.all(), g.all(), workspace.all());
    encode_grad(w, std::span<const float>(x), e, payload, grad);
    if (round != 1 && round != 2) CHECK((g.read() == grad));
    cuda::decode_grad(w, g.all(), e, p.all(), out, workspace.all());
    device::wait();
    CHECK(device::trouble() == "");
    CHECK((p.whole() && g.whole() && to.whole() && workspace.whole()));
  }
}

TEST_CASE("a selection with a score of its own agrees with the CPU", "[cuda]") {
  const Nearest1 w;
  for (const int kind : {0, 1, 2})
    // Segments that fit into a block, of several tiles, and sampled; whole ones, and a last one that is shorter.
    for (const Extents& e : {Extents{20, 100}, Extents{2, 8193}, Extents{301}, Extents{1, 150001}}) {
      const Floats x = nearest1_values(e.size(), kind);
      std::vector<std::byte> payload(wire_bytes(w, e));
      encode(w, std::span<const float>(x), e, payload);
      const Bytes from(x), p(payload.size()), workspace(cuda::workspace_bytes(w, e));
      cuda::encode(w, kernel::TensorView(from.data(), kernel::DType::f32, e.size(), device::gpu()), e,
                   p.all(), workspace.all());
      INFO(to_string(e) << ", values of kind " << kind);
      CHECK((p.read() == payload));
      CHECK((p.whole() && workspace.whole()));
    }
}

TEST_CASE("few blocks go over many tiles", "[cuda]") {
  // A large tensor has more tiles than blocks; here a small one has.
  using Select = ops::TopK<Ratio<1, 10>, PerTensor>;
  for (const std::int64_t n : {20001, 140001}) {
    const Extents e{n};
    const Floats x = values(n);
    const detail::Layout l = detail::layout<Select>(e);
    auto plan = detail::gpu::SelectPlan::of<Select>(l);
    detail::gpu::Slots slots;
    plan.take_zeros(slots);
    plan.take_rest(slots, l.sent);
    const Bytes from(x), workspace(static_cast<std::size_t>(slots.bytes));
    std::vector<std::uint32_t> positions[2];
    const auto source =
        detail::gpu::source_of(kernel::TensorView(from.data(), kernel::DType::f32, n, device::gpu()));
    for (std::size_t few : {0u, 1u}) {
      if (few) plan.blocks_each = 3;
      std::memset(workspace.data(), 0, workspace.all().size());
      const auto kept = detail::gpu::select<Select>(detail::gpu::Queue(nullptr), source, plan,
                                                    static_cast<std::byte*>(workspace.data()));
      positions[few].assign(kept.position, kept.position + l.sent);
      CHECK(workspace.whole());
    }
    INFO(n);
    CHECK(positions[0] == positions[1]);
  }
}

TEST_CASE("a rotation whose blocks take two words of signs agrees with the CPU", "[cuda]") {
  const auto w = Hadamard<64, codec::RandomSigns> | Half;
  const Extents e{1000};
  const Floats x = values(e.size());
  std::vector<std::byte> payload(wire_bytes(w, e));
  Floats y(x.size());
  encode(w, std::span<const float>(x), e, payload);
  decode(w, payload, e, std::span<float>(y));
  const Bytes from(x), p(payload.size()), to(x.size() * 4), workspace(cuda::workspace_bytes(w, e));
  cuda::encode(w, kernel::TensorView(from.data(), kernel::DType::f32, e.size(), device::gpu()), e, p.all(),
               workspace.all());
  CHECK((p.read() == payload));
  cuda::decode(w, p.all(), e,
               kernel::MutableTensorView(to.data(), kernel::DType::f32, e.size(), device::gpu()),
               workspace.all());
  CHECK(to.read<float>() == y);
}
