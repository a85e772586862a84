// What a wire does with shapes that are small, flat or ragged: no sample mixes with another, nothing is dropped for good.
#include <algorithm>
#include <cmath>
#include <map>
#include <pcomp/cpu.hpp>

#include "../../unit/cpu/catch.hpp"

namespace {

using namespace pcomp;
using Floats = std::vector<float>;

/// Different magnitudes everywhere, so that there is one right answer.
Floats distinct(std::int64_t n, std::uint32_t rng_counter) {
  Floats x(static_cast<std::size_t>(n));
  for (std::uint32_t i = 0; i < x.size(); ++i)
    x[i] =
        static_cast<float>((i + rng_counter) * 7919u % 32749u + 1) * ((i + rng_counter) % 3 ? 0.01f : -0.01f);
  return x;
}

template <class W>
std::vector<std::byte> sent(W w, const Floats& x, const Extents& e) {
  std::vector<std::byte> payload(wire_bytes(w, e));
  encode(w, std::span<const float>(x), e, payload);
  return payload;
}
template <class W>
Floats received(W w, const Floats& x, const Extents& e) {
  Floats y(x.size(), 99.0f);
  decode(w, sent(w, x, e), e, std::span<float>(y));
  return y;
}

/// By hand: in each stretch of `segment` elements the max(1, m * n / d) of greatest magnitude stay.
Floats kept_by_hand(Floats x, std::int64_t segment, std::int64_t n, std::int64_t d) {
  const auto all = static_cast<std::int64_t>(x.size());
  for (std::int64_t b = 0; b < all; b += segment) {
    const std::int64_t m = std::min(segment, all - b), k = std::max<std::int64_t>(1, m * n / d);
    Floats magnitudes;
    for (std::int64_t i = b; i < b + m; ++i) magnitudes.push_back(std::abs(x[static_cast<std::size_t>(i)]));
    std::sort(magnitudes.begin(), magnitudes.end(), std::greater<>());
    for (std::int64_t i = b; i < b + m; ++i) {
      float& v = x[static_cast<std::size_t>(i)];
      if (std::abs(v) < magnitudes[static_cast<std::size_t>(k - 1)]) v = 0;
    }
  }
  return x;
}

template <class W>
void keeps(W w, const Extents& e, std::int64_t segment, std::int64_t n, std::int64_t d) {
  INFO(name(w).view() << " on " << to_string(e));
  const Floats x = distinct(e.size(), 3), expected = kept_by_hand(x, segment, n, d);
  CHECK(received(w, x, e) == expected);
  const auto stay = std::count_if(expected.begin(), expected.end(), [](float v) { return v != 0; });
  CHECK(wire_bytes(w, e) >= static_cast<std::size_t>(4 * stay));
  CHECK(grad_wire_bytes(w, e) == static_cast<std::size_t>(4 * stay));
  // The gradient comes back exactly where something was kept.
  const Floats dy = distinct(e.size(), 11);
  const auto payload = sent(w, x, e);
  std::vector<std::byte> grad(grad_wire_bytes(w, e));
  Floats dx(x.size(), 99.0f);
  encode_grad(w, std::span<const float>(dy), e, payload, grad);
  decode_grad(w, grad, e, payload, std::span<float>(dx));
  bool there = true;
  for (std::size_t i = 0; i < x.size(); ++i) there = there && dx[i] == (expected[i] != 0 ? dy[i] : 0.0f);
  CHECK(there);
}

}  // namespace

TEST_CASE("TopK keeps at least one of every segment: tensor, sample, block and ragged last block",
          "[trust]") {
  for (const std::int64_t n : {1, 2, 10, 19, 20, 21, 39, 40, 127, 128, 129, 700, 2047, 2048, 2049, 6000}) {
    keeps(TopK<Ratio<1, 20>>, Extents{n}, n, 1, 20);
    keeps(TopK<Ratio<1, 5000>>, Extents{n}, n, 1, 5000);
    keeps(TopK<Ratio<1, 20>, PerSample>, Extents{n}, n, 1, 20);
    keeps(TopK<Ratio<1, 20>, PerSample>, Extents{3, n}, n, 1, 20);
    keeps(TopK<Ratio<1, 5000>, PerSample>, Extents{3, n}, n, 1, 5000);
    keeps(TopK<Ratio<1, 20>, PerGroup<1>>, Extents{n}, 1, 1, 20);
    keeps(TopK<Ratio<1, 20>, PerGroup<7>>, Extents{n}, 7, 1, 20);
    keeps(TopK<Ratio<1, 20>, PerGroup<64>>, Extents{n}, 64, 1, 20);
    keeps(TopK<Ratio<1, 3000>, PerGroup<2500>>, Extents{n}, 2500, 1, 3000);
  }
  CHECK(wire_bytes(TopK<Ratio<1, 20>>, Extents{0}) == 0);
  static_assert(wire_bytes(TopK<Ratio<1, 20>>, Shape<10>{}) ==
                16 + 4);  // a bitmap of 2 bytes, aligned; one float
  static_assert(wire_bytes(TopK<Ratio<1, 20>, PerGroup<10>> | Half, Shape<25>{}) == 16 + 2 * 3);
}

TEST_CASE("a selection of a gradient's list keeps at least one too", "[trust]") {
  const Extents e{10};
  const auto w = Wire<TopK<Ratio<1, 5>>, TopK<Ratio<1, 100>>>{};
  const Floats x = distinct(10, 3), dy = distinct(10, 11);
  const auto payload = sent(w, x, e);
  std::vector<std::byte> grad(grad_wire_bytes(w, e));
  Floats dx(10, 99.0f);
  encode_grad(w, std::span<const float>(dy), e, payload, grad);
  decode_grad(w, grad, e, payload, std::span<float>(dx));
  CHECK(std::count_if(dx.begin(), dx.end(), [](float v) { return v != 0; }) == 1);
}

namespace {

/// By hand and in doubles: the mean of each window of K along the given dimensions, back in every place of the window; or
/// its adjoint, the mean of the gradient over the window.
std::vector<double> pooled_by_hand(const Floats& x, const Extents& e, std::int64_t k, std::vector<int> dims) {
  const auto window_of = [&](std::int64_t i) {
    std::vector<std::int64_t> at(static_cast<std::size_t>(e.rank()));
    for (int d = e.rank(); d-- > 0; i /= e[d]) at[static_cast<std::size_t>(d)] = i % e[d];
    for (int d : dims) at[static_cast<std::size_t>(d)] /= k;
    return at;
  };
  std::map<std::vector<std::int64_t>, std::pair<double, int>> windows;
  for (std::int64_t i = 0; i < e.size(); ++i) {
    auto& [sum, count] = windows[window_of(i)];
    sum += static_cast<double>(x[static_cast<std::size_t>(i)]), ++count;
  }
  std::vector<double> y;
  for (std::int64_t i = 0; i < e.size(); ++i) {
    const auto& [sum, count] = windows[window_of(i)];
    y.push_back(sum / count);
  }
  return y;
}

bool near(const Floats& a, const std::vector<double>& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!(std::abs(static_cast<double>(a[i]) - b[i]) < 1e-3)) return false;
  return a.size() == b.size();
}

/// The functor of a caller with threads, who cuts work into pieces of any size.
struct Pieces {
  void operator()(std::int64_t n, std::int64_t, kernel::ParallelFor::Body body) const {
    for (std::int64_t i = 0; i < n; ++i) body(i, i + 1);
  }
};

template <class W>
void pools(W w, const Extents& e, std::int64_t k, const std::vector<int>& dims) {
  INFO(name(w).view() << " on " << to_string(e));
  const Floats x = distinct(e.size(), 3), dy = distinct(e.size(), 11);
  std::int64_t n = 1;
  for (int d = 0; d < e.rank(); ++d)
    n *= std::find(dims.begin(), dims.end(), d) == dims.end() ? e[d] : (e[d] + k - 1) / k;
  CHECK(wire_bytes(w, e) == static_cast<std::size_t>(4 * n));
  CHECK(grad_wire_bytes(w, e) == static_cast<std::size_t>(4 * n));
  CHECK(near(received(w, x, e), pooled_by_hand(x, e, k, dims)));
  const auto payload = sent(w, x, e);
  std::vector<std::byte> again(payload.size()), grad(payload.size());
  encode(w, std::span<const float>(x), e, again, Pieces{});
  CHECK((payload == again));
  Floats dx(x.size(), 99.0f);
  encode_grad(w, std::span<const float>(dy), e, payload, grad);
  decode_grad(w, grad, e, payload, std::span<float>(dx), Pieces{});
  CHECK(near(dx, pooled_by_hand(dy, e, k, dims)));
}

template <class A, class B>
void same_payloads(A a, B b, const Extents& e) {
  INFO(name(a).view() << " and " << name(b).view() << " on " << to_string(e));
  const Floats x = distinct(e.size(), 3);
  const auto payload = sent(a, x, e);
  CHECK((payload == sent(b, x, e)));
  std::vector<std::byte> ga(grad_wire_bytes(a, e)), gb(grad_wire_bytes(b, e));
  encode_grad(a, std::span<const float>(x), e, payload, ga);
  encode_grad(b, std::span<const float>(x), e, payload, gb);
  CHECK((ga == gb));
  CHECK(received(a, x, e) == received(b, x, e));
}

template <class W, class S>
concept HasBytes = requires(W w, S s) { wire_bytes(w, s); };
template <class W, class S>
concept HasGradBytes = requires(W w, S s) { grad_wire_bytes(w, s); };
template <class W, class S>
concept Encodes =
    requires(W w, S s, std::span<const float> x, std::span<std::byte> p) { encode(w, x, s, p); };
using Down = ops::Downsample<2>;

}  // namespace

TEST_CASE("Downsample pools the last two of four or more dimensions and no others", "[trust]") {
  pools(Downsample<2>, Extents{3, 2, 5, 7}, 2, {2, 3});
  pools(Downsample<2>, Extents{2, 3, 2, 6, 64}, 2, {3, 4});
  pools(Downsample<3>, Extents{2, 1, 1, 1}, 3, {2, 3});
  const Floats x = distinct(64, 1);
  std::vector<std::byte> payload(1024);
  Floats y(64);
  for (const Extents& e : {Extents{64}, Extents{8, 8}, Extents{4, 4, 4}}) {
    INFO(to_string(e));
    CHECK_THROWS_AS(wire_bytes(Downsample<2>, e), Error);
    CHECK_THROWS_AS(grad_wire_bytes(Downsample<2>, e), Error);
    CHECK_THROWS_AS(grad_wire_bytes(Wire<Quant<8>, Downsample<2>>{}, e), Error);
    CHECK_THROWS_AS(wire_bytes(Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>, e), Error);
    CHECK_THROWS_AS(encode(Downsample<2>, std::span<const float>(x), e, payload), Error);
    CHECK_THROWS_AS(decode(Downsample<2>, payload, e, std::span<float>(y)), Error);
    CHECK_THROWS_AS(encode_grad(Downsample<2>, std::span<const float>(x), e, payload, payload), Error);
    CHECK_THROWS_AS(decode_grad(Downsample<2>, payload, e, payload, std::span<float>(y)), Error);
  }
  CHECK_THROWS_WITH(wire_bytes(Downsample<2> | Half, Extents{16, 32}),
                    Catch::Contains("Downsample<2>") && Catch::Contains("16x32") &&
                        Catch::Contains("Downsample<2, Axes<1>>"));
  // Where the shape is a type, code can ask.
  static_assert(HasBytes<Down, Shape<8, 3, 4, 4>> && HasGradBytes<Down, Shape<8, 3, 4, 4>> &&
                Encodes<Down, Shape<8, 3, 4, 4>>);
  static_assert(!HasBytes<Down, Shape<8, 16>> && !HasGradBytes<Down, Shape<8, 16>> &&
                !Encodes<Down, Shape<8, 16>>);
  static_assert(!HasBytes<Down, Shape<64>> && !HasBytes<Down, Shape<4, 8, 16>>);
  static_assert(HasBytes<Wire<Quant<8>, Downsample<2>>, Shape<8, 16>> &&
                !HasGradBytes<Wire<Quant<8>, Downsample<2>>, Shape<8, 16>>);
  static_assert(HasBytes<ops::Downsample<2, Axes<1>>, Shape<8, 16>> &&
                !HasBytes<ops::Downsample<2, Axes<2>>, Shape<8, 16>>);
}

TEST_CASE("Downsample<K, Axes<...>> pools the named dimensions, and never the batch", "[trust]") {
  for (const std::int64_t n : {1, 2, 5, 8}) {
    pools(Downsample<2, Axes<1>>, Extents{3, n}, 2, {1});
    pools(Downsample<2, Axes<1>>, Extents{3, n, 9}, 2, {1});
    pools(Downsample<2, Axes<1>>, Extents{2, n, 3, 4}, 2, {1});
    pools(Downsample<3, Axes<2>>, Extents{2, 3, n}, 3, {2});
    pools(Downsample<3, Axes<2>>, Extents{2, 3, n, 5}, 3, {2});
    pools(Downsample<2, Axes<1, 2>>, Extents{2, n, 3, 65}, 2, {1, 2});
    pools(Downsample<2, Axes<1, 3>>, Extents{2, n, 3, 7}, 2, {1, 3});
    pools(Downsample<2, Axes<1, 2, 3>>, Extents{2, n, 3, 7}, 2, {1, 2, 3});
    pools(Downsample<2, Axes<2, 3, 4>>, Extents{2, 2, n, 4, 5}, 2, {2, 3, 4});
    pools(Downsample<2, Axes<-1>>, Extents{2, 3, n}, 2, {2});
    pools(Downsample<2, Axes<-2>>, Extents{2, n, 3}, 2, {1});
    pools(Downsample<4, Axes<1, -1>>, Extents{2, n, 3, 10}, 4, {1, 3});
  }
  pools(Downsample<2, Axes<1>>, Extents{2, 33, 1500}, 2, {1});  // rows longer than one stretch
  pools(Downsample<3, Axes<2>>, Extents{2, 3, 5000}, 3, {2});
  pools(Downsample<256, Axes<1, 2>>, Extents{1, 300, 600}, 256, {1, 2});
  for (const Extents& e : {Extents{3, 2, 5, 7}, Extents{2, 3, 64, 66}, Extents{1, 1, 1, 1}}) {
    same_payloads(Downsample<2>, Downsample<2, Axes<2, 3>>, e);
    same_payloads(Downsample<2>, Downsample<2, Axes<-2, -1>>, e);
    same_payloads(Downsample<5>, Downsample<5, Axes<2, 3>>, e);
    same_payloads(Downsample<2> | TopK<Ratio<1, 3>> | Quant<8>,
                  Downsample<2, Axes<2, 3>> | TopK<Ratio<1, 3>> | Quant<8>, e);
  }
  static_assert(Downsample<2, Axes<3, 2>> == Downsample<2, Axes<2, 3>>);
  static_assert(Downsample<2, Axes<-1, 1>> == Downsample<2, Axes<1, -1>>);
  static_assert(!(Downsample<2, Axes<2, 3>> == Downsample<2>));
  static_assert(name(Downsample<2, Axes<3, 2>>) == "Downsample<2, Axes<2, 3>>");
  static_assert(name(Downsample<2, Axes<-1, 1>> | Quant<8>) == "Downsample<2, Axes<1, -1>> | Quant<8>");
  for (const Extents& e : {Extents{8}, Extents{8, 16}}) {
    CHECK_THROWS_AS(wire_bytes(Downsample<2, Axes<2>>, e), Error);
    CHECK_THROWS_AS(wire_bytes(Downsample<2, Axes<-2>>, e), Error);     // the batch, or nothing
    CHECK_THROWS_AS(wire_bytes(Downsample<2, Axes<1, -1>>, e), Error);  // one dimension twice
  }
}
