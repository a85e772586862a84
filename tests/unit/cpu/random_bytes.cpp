#include <bit>
#include <cstring>
#include <memory>
#include <random>

#include "../kernels/kernels.hpp"
#include "catch.hpp"
#include "wires.hpp"

/// Built a second time with -fsanitize=address,undefined; no array is longer than it has to be.
namespace {

using namespace pcomp;

template <class T>
std::span<T> exactly(std::unique_ptr<T[]>& owner, std::size_t n) {
  owner.reset(new T[n]());
  return {owner.get(), n};
}

/// Divides the work into as many parts as a kernel allows.
struct Parts {
  void operator()(std::int64_t n, std::int64_t grain, kernel::ParallelFor::Body body) const {
    for (std::int64_t i = 0; i < n; i += grain) body(i, std::min(n, i + grain));
  }
};

template <class W>
void decodes_noise(W w, const Extents& given, unsigned seed) {
  const Extents e = fitting(kernels_of(w), given);
  std::mt19937 random(seed);
  std::unique_ptr<std::byte[]> forward_owner, grad_owner, index_owner;
  std::unique_ptr<float[]> y_owner, again_owner;
  const auto n = static_cast<std::size_t>(e.size());
  const auto forward = exactly(forward_owner, wire_bytes(w, e));
  const auto grad = exactly(grad_owner, grad_wire_bytes(w, e));
  const auto index = exactly(index_owner, kernel::index_bytes(w, e));
  const auto y = exactly(y_owner, n), again = exactly(again_owner, n);
  const auto noise = [&](std::span<std::byte> bytes) {
    // Set bits at three densities: index blocks with too few positions, about the right number, and too many.
    const auto density = static_cast<unsigned>(random() % 3);
    for (std::byte& b : bytes) {
      const auto r = static_cast<unsigned>(random());
      b = static_cast<std::byte>(density == 0   ? r & r >> 8 & r >> 16
                                 : density == 1 ? r
                                                : r | r >> 8 | r >> 16);
    }
  };
  INFO(name(w).view() << " on " << to_string(e) << ", seed " << seed);
  const kernel::WireKernels& k = kernels_of(w);
  noise(forward);
  noise(grad);
  noise(index);
  k.decode(forward, e, y, {});
  k.decode(forward, e, again, {});
  CHECK(std::memcmp(y.data(), again.data(), y.size_bytes()) == 0);
  k.decode_grad(grad, e, index, y, {});
  k.decode_grad(grad, e, index, again, {});
  CHECK(std::memcmp(y.data(), again.data(), y.size_bytes()) == 0);
  k.decode(forward, e, again, Parts{});
  k.decode_grad(grad, e, index, again, Parts{});
  // A sender whose kept index block was damaged still writes a whole payload from what it can reach.
  k.encode_grad(std::span<const float>(y), e, index, grad, {});
  const std::vector<std::byte> whole(grad.begin(), grad.end());
  k.encode_grad(std::span<const float>(y), e, index, grad, Parts{});
  CHECK(std::equal(whole.begin(), whole.end(), grad.begin()));
}

}  // namespace

TEST_CASE("any bytes of the right length decode within bounds", "[wire]") {
  const unsigned seed = GENERATE(range(0u, 12u));
  for_each_wire([&](auto w) {
    decodes_noise(w, Extents{2, 3, 9, 11}, seed);
    decodes_noise(w, Extents{3, 70}, seed);
    decodes_noise(w, Extents{5, 1300}, seed);
    decodes_noise(w, Extents{1, 1}, seed);
  });
}

TEST_CASE("any floats encode", "[wire]") {
  const unsigned seed = GENERATE(range(0u, 4u));
  std::mt19937 random(seed);
  const Extents e{3, 5, 9, 11};
  std::vector<float> x(static_cast<std::size_t>(e.size()));
  for (float& v : x) v = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
  for_each_wire([&](auto w) {
    const kernel::WireKernels& k = kernels_of(w);
    std::vector<std::byte> payload(k.bytes(e)), grad(k.grad_bytes(e));
    std::vector<float> y(x.size());
    k.encode(std::span<const float>(x), e, payload, {});
    k.decode(payload, e, std::span<float>(y), {});
    k.encode(kernel::TensorView(x.data(), kernel::DType::f32, e, {495, 1, 55, 5}), e, payload,
             {});  // channels-last
    k.encode_grad(std::span<const float>(x), e, payload, grad, {});
    k.decode_grad(grad, e, payload, std::span<float>(y), {});
    CHECK(y.size() == x.size());
  });
}
