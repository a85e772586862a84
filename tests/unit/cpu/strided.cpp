#include <cstring>
#include <pcomp/kernel/cpu/simd/isa.hpp>
#include <thread>

#include "../kernels/kernels.hpp"
#include "catch.hpp"
#include "wires.hpp"

namespace {

using namespace pcomp;

/// A way in which a tensor's elements may lie in memory.
struct Layout {
  const char* name;
  Extents (*strides)(const Extents&);
  bool repeats = false;
};

/// Strides for dimensions in the order `order`, innermost first, where each extent is padded by `gap`.
Extents strides_of(const Extents& e, const std::vector<int>& order, std::int64_t first = 1,
                   std::int64_t gap = 0) {
  Extents s = e;
  for (int d : order) {
    s = s.with(d, first);
    first *= e[d] + gap;
  }
  return s;
}
std::vector<int> reversed(int rank) {
  std::vector<int> order;
  for (int d = 0; d < rank; ++d) order.push_back(d);
  return order;
}
std::vector<int> row_major(int rank) {
  auto order = reversed(rank);
  std::reverse(order.begin(), order.end());
  return order;
}
std::vector<int> channels_last(int rank) {
  auto order = row_major(rank);
  if (rank > 2) std::rotate(order.begin(), order.end() - 2, order.end() - 1);
  if (rank == 2) std::swap(order[0], order[1]);
  return order;
}

const Layout layouts[] = {
    {"dense", [](const Extents& e) { return strides_of(e, row_major(e.rank())); }},
    {"channels last", [](const Extents& e) { return strides_of(e, channels_last(e.rank())); }},
    {"some channels", [](const Extents& e) { return strides_of(e, channels_last(e.rank()), 1, 3); }},
    {"a slice", [](const Extents& e) { return strides_of(e, row_major(e.rank()), 1, 2); }},
    {"every third", [](const Extents& e) { return strides_of(e, row_major(e.rank()), 3); }},
    {"rows and columns exchanged",
     [](const Extents& e) {
       auto order = row_major(e.rank());
       std::swap(order[0], order[1]);
       return strides_of(e, order);
     }},
    {"all reversed", [](const Extents& e) { return strides_of(e, reversed(e.rank())); }},
    {"one sample repeated",
     [](const Extents& e) { return strides_of(e, channels_last(e.rank())).with(0, 0); }, true}};

std::int64_t offset(const Extents& e, const Extents& strides, std::int64_t i) {
  std::int64_t at = 0;
  for (int d = e.rank(); d-- > 0; i /= e[d]) at += i % e[d] * strides[d];
  return at;
}

struct Threads {
  std::int64_t count;
  void operator()(std::int64_t n, std::int64_t, kernel::ParallelFor::Body body) const {
    std::vector<std::thread> workers;
    for (std::int64_t t = 0; t < count; ++t)
      workers.emplace_back([=, parts = count] {
        if (n * t / parts < n * (t + 1) / parts) body(n * t / parts, n * (t + 1) / parts);
      });
    for (auto& w : workers) w.join();
  }
};

/// Values of that type: floats, or the bits of a 16-bit type.
template <class T>
std::vector<T> bits(const Extents& e, kernel::DType type, unsigned rng_counter) {
  std::vector<T> x(static_cast<std::size_t>(e.size()));
  for (std::uint32_t i = 0; i < x.size(); ++i) {
    const float v = static_cast<float>(((i + rng_counter) * 2654435761u) >> 8) * 0x1p-21f - 4.0f;
    if constexpr (sizeof(T) == 4)
      x[i] = v;
    else
      x[i] = type == kernel::DType::bf16 ? detail::to_bf16(v) : detail::to_half(v);
  }
  return x;
}

/// Compares a tensor in that layout with its contiguous copy, over every wire and both ways.
template <class T>
void equal_bytes(const Extents& e, const Layout& l, kernel::DType type, kernel::ParallelFor par) {
  const Extents strides = l.strides(e);
  const auto n = static_cast<std::size_t>(e.size());
  std::vector<std::size_t> at(n);
  for (std::size_t i = 0; i < n; ++i)
    at[i] = static_cast<std::size_t>(offset(e, strides, static_cast<std::int64_t>(i)));
  const std::size_t room = *std::max_element(at.begin(), at.end()) + 1;
  const T untouched = 77;
  std::vector<T> x = bits<T>(e, type, 0), dy = bits<T>(e, type, 1000), sx(room), sdy(room), y(n), sy(room);
  for (std::size_t i = 0; i < n; ++i) sx[at[i]] = x[i], sdy[at[i]] = dy[i];
  for (std::size_t i = 0; i < n; ++i) x[i] = sx[at[i]], dy[i] = sdy[at[i]];  // where elements repeat
  const kernel::TensorView in(x.data(), type, e.size()), din(dy.data(), type, e.size());
  const kernel::TensorView strided(sx.data(), type, e, strides), dstrided(sdy.data(), type, e, strides);
  const auto arrives = [&](const auto& decode) {
    if (l.repeats) return true;
    std::fill(sy.begin(), sy.end(), untouched);
    decode(kernel::MutableTensorView(y.data(), type, e.size()));
    decode(kernel::MutableTensorView(sy.data(), type, e, strides));
    for (std::size_t i = 0; i < n; ++i) {
      if (std::memcmp(&sy[at[i]], &y[i], sizeof(T)) != 0) return false;
      sy[at[i]] = untouched;
    }
    return std::all_of(sy.begin(), sy.end(), [=](T v) { return v == untouched; });
  };
  for (const kernel::WireKernels* k : all_kernels()) {
    if (fitting(*k, e) != e) continue;  // the wire pools dimensions that this shape does not have
    INFO(k->name.view() << " on " << to_string(e) << ", " << l.name);
    std::vector<std::byte> a(k->bytes(e)), b(a.size()), g(k->grad_bytes(e)), h(g.size());
    k->encode(in, e, a, {});
    k->encode(strided, e, b, par);
    CHECK((a == b));
    CHECK(arrives([&](kernel::MutableTensorView out) { k->decode(a, e, out, par); }));
    k->encode_grad(din, e, a, g, {});
    k->encode_grad(dstrided, e, a, h, par);
    CHECK((g == h));
    CHECK(arrives([&](kernel::MutableTensorView out) { k->decode_grad(g, e, a, out, par); }));
  }
}

}  // namespace

TEST_CASE("a strided tensor is sent and received as its contiguous copy", "[wire]") {
  for (const Layout& l : layouts) {
    for (const Extents& e :
         {Extents{2, 20, 7, 6}, Extents{3, 5, 9, 11}, Extents{70, 33}, Extents{1, 1, 1, 1}})
      equal_bytes<float>(e, l, kernel::DType::f32, {});
    equal_bytes<float>(Extents{2, 39, 31, 33}, l, kernel::DType::f32, Threads{3});
    equal_bytes<std::uint16_t>(Extents{2, 19, 17, 30}, l, kernel::DType::bf16, Threads{2});
    equal_bytes<std::uint16_t>(Extents{2, 3, 4, 5, 6}, l, kernel::DType::f16, {});
  }
}

TEST_CASE("strided tensors are the same bytes for every instruction set", "[wire]") {
  const auto best = detail::best_isa();
  for (auto isa : {detail::Isa::baseline, detail::Isa::avx2, detail::Isa::avx512}) {
    if (isa >= best) continue;
    detail::isa() = isa;
    equal_bytes<float>(Extents{2, 35, 19, 33}, layouts[1], kernel::DType::f32, Threads{2});
    equal_bytes<std::uint16_t>(Extents{2, 20, 17, 30}, layouts[1], kernel::DType::f16, {});
  }
  detail::isa() = best;
}

TEST_CASE("panels larger than a cache, and images of many panels", "[wire]") {
  for (const Extents& e : {Extents{1, 21, 100, 130}, Extents{1, 6, 260, 200}, Extents{1, 300, 5, 40}})
    equal_bytes<float>(e, layouts[1], kernel::DType::f32, Threads{2});
}

TEST_CASE("strides that do not fit are one clear error", "[wire]") {
  std::vector<float> x(24);
  std::vector<std::byte> payload(wire_bytes(Raw, Extents{4, 6}));
  CHECK_THROWS_WITH(kernel::TensorView(x.data(), kernel::DType::f32, {4, 6}, {6}),
                    "pcomp: the shape 4x6 takes a stride for each extent, not 1");
  CHECK_THROWS_WITH(kernel::MutableTensorView(x.data(), kernel::DType::f32, {4, 6}, {0, 1}),
                    "pcomp: an output's elements must not overlap: a stride is 0");
  CHECK_THROWS_WITH(kernels_of(Raw).encode(kernel::TensorView(x.data(), kernel::DType::f32, {6, 4}, {1, 6}),
                                           {4, 6}, payload, {}),
                    "pcomp: the input has the shape 6x4, not 4x6");
}
