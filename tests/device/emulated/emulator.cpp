// What only the emulator can show: kernels without races give the same result in every order of their threads.
#include <pcomp/kernel/cuda/queue.cuh>

#include "../../unit/cpu/catch.hpp"
#include "../../unit/kernels/kernels.hpp"
#include "device.hpp"

namespace {

using namespace pcomp::detail::gpu;

/// Reads a neighbour's word, with or without waiting for it.
struct Neighbour {
  u32* out;
  bool waits;
  void operator()() const {
    PCOMP_SHARED u32 words[block_threads];
    words[thread()] = 0;
    sync_block();
    words[thread()] = static_cast<u32>(thread());
    if (waits) sync_block();
    out[thread()] = words[(thread() + 1) % block_threads];
  }
};
struct Divergent {
  void operator()() const {
    if (lane() < 16) ballot(true);
    sync_block();
  }
};

std::vector<u32> run(bool waits, Emulator::Order order) {
  std::vector<u32> out(block_threads);
  Emulator::order() = order;
  Queue(nullptr).launch(Neighbour{out.data(), waits}, 1);
  Emulator::order() = Emulator::Order::forward;
  return out;
}

}  // namespace

TEST_CASE("the emulator tells a race and a divergent exchange", "[cuda]") {
  CHECK(run(true, Emulator::Order::forward) == run(true, Emulator::Order::backward));
  CHECK(run(false, Emulator::Order::forward) != run(false, Emulator::Order::backward));
  CHECK_THROWS_WITH(Queue(nullptr).launch(Divergent{}, 1),
                    "pcomp: some threads wait for others that do not come");
}

TEST_CASE("the bytes do not depend on the order of the threads", "[cuda]") {
  using namespace pcomp;
  const Extents e{2, 3, 41, 37};
  std::vector<float> x(static_cast<std::size_t>(e.size()));
  for (std::uint32_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 2654435761u >> 20) - 2000.0f;
  const device::Bytes from(x);
  const kernel::TensorView in(from.data(), kernel::DType::f32, e.size(), device::gpu());
  for (std::size_t i = 0; i < device::kernels().size(); ++i) {
    const kernel::GpuWireKernels& ops = *device::kernels()[i];
    const kernel::WireKernels& k = *all_kernels()[i];
    INFO(ops.name.view());
    std::vector<std::byte> first[2];
    std::vector<float> values[2];
    for (const auto order :
         {Emulator::Order::forward, Emulator::Order::backward, Emulator::Order::scattered}) {
      Emulator::order() = order;
      const device::Bytes p(k.bytes(e)), g(k.grad_bytes(e)), to(x.size() * 4);
      const kernel::MutableTensorView out(to.data(), kernel::DType::f32, e.size(), device::gpu());
      ops.encode(in, e, p.all());
      ops.encode_grad(in, e, p.all(), g.all());
      ops.decode(p.all(), e, out);
      const auto y = to.read<float>();
      ops.decode_grad(g.all(), e, p.all(), out);
      if (order == Emulator::Order::forward) {
        first[0] = p.read(), first[1] = g.read(), values[0] = y, values[1] = to.read<float>();
        continue;
      }
      CHECK((p.read() == first[0]));
      CHECK((g.read() == first[1]));
      CHECK((y == values[0]));
      CHECK((to.read<float>() == values[1]));
    }
    Emulator::order() = Emulator::Order::forward;
  }
}
