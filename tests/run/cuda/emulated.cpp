// The CUDA kernels on the CPU, thread by thread: the same source that nvcc compiles, beside the CPU kernels.
#include <cmath>
#include <cstring>
#include <pcomp/kernel/cuda/wires.cuh>
#include <random>

#include "../cpu/catch.hpp"
#include "../cpu/wires.hpp"
#include "../kernels/kernels.hpp"

namespace {

using namespace pcomp;
using detail::gpu::Emulator;

std::vector<float> values(const Extents& e, int kind, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<std::size_t>(e.size()));
  for (float& v : x) {
    v = normal(random);
    if (kind == 1) v = v > 0 ? v : 0;                                          // after a ReLU: half zeros
    if (kind == 2) v = std::round(v * 2) / 2;                                  // ties everywhere
    if (kind == 3) v = std::ldexp(v, static_cast<int>(random() % 260) - 140);  // every magnitude
    if (kind == 4 && random() % 50 == 0) {
      const float odd[] = {INFINITY, -INFINITY, NAN, -0.0f, 3.4e38f, -3.4e38f, 1e-45f};
      v = odd[random() % 7];
    }
    if (kind == 5) v = 7.25f;  // all the same
  }
  return x;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0 && !(std::isnan(a[i]) && std::isnan(b[i])))
      return false;
  return a.size() == b.size();
}

/// Device memory of exactly the right size, with anything in it.
struct Memory {
  explicit Memory(std::size_t n) : size(n), owner(new std::byte[n + 16]) {
    std::memset(owner.get(), 0xaa, n + 16);
    void* at = owner.get();
    std::size_t room = n + 16;
    begin = static_cast<std::byte*>(std::align(16, n, at, room));
  }
  std::span<std::byte> bytes() const { return {begin, size}; }
  std::size_t size;
  std::unique_ptr<std::byte[]> owner;
  std::byte* begin;
};

std::vector<std::byte> copied(const Memory& m) { return {m.begin, m.begin + m.size}; }

template <class W>
void agrees(W w, const Extents& e, int kind) {
  const auto x = values(e, kind, 1), dy = values(e, kind == 4 ? 4 : 0, 2);
  const BoundaryOps& k = kernels_of(w);
  std::vector<std::byte> payload(wire_bytes(w, e)), grad(grad_wire_bytes(w, e));
  std::vector<float> y(x.size()), dx(x.size()), got(x.size(), 99.0f);
  k.encode(std::span<const float>(x), e, payload, {});
  k.decode(payload, e, std::span<float>(y), {});
  k.encode_grad(std::span<const float>(dy), e, payload, grad, {});
  k.decode_grad(grad, e, payload, std::span<float>(dx), {});

  INFO(name(w).view() << " on " << to_string(e) << ", values of kind " << kind);
  const Memory scratch(cuda::workspace_bytes(w, e)), p(payload.size()), g(grad.size());
  cuda::encode(w, std::span<const float>(x), e, p.bytes(), scratch.bytes());
  CHECK((copied(p) == payload));
  cuda::decode(w, p.bytes(), e, std::span<float>(got), scratch.bytes());
  CHECK(same(got, y));
  cuda::encode_grad(w, std::span<const float>(dy), e, p.bytes(), g.bytes(), scratch.bytes());
  CHECK((copied(g) == grad));
  std::fill(got.begin(), got.end(), 99.0f);
  const std::span<std::byte> index = p.bytes().first(index_bytes(w, e));  // the index block alone is enough
  cuda::decode_grad(w, g.bytes(), e, index, std::span<float>(got), scratch.bytes());
  CHECK(same(got, dx));
}

}  // namespace

TEST_CASE("the GPU's kernels send and receive what the CPU's do", "[cuda]") {
  const int kind = GENERATE(0, 1, 2, 3, 4, 5);
  for_each_wire([&](auto w) {
    agrees(w, Extents{3, 5, 9, 11}, kind);
    agrees(w, Extents{2, 130}, kind);
    agrees(w, Extents{1, 1, 1, 1}, kind);
  });
}
