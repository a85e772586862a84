// Sizes on either side of every threshold in the kernels, with one thread and with three, aligned and not. What judges
// is written here: a selection by std::nth_element, a window by its definition.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <pcomp/cpu.hpp>
#include <random>

#include "../kernels/kernels.hpp"
#include "catch.hpp"
#include "nearest1.hpp"
#include "threads.hpp"

namespace {

using namespace pcomp;
using Floats = std::vector<float>;

Floats noise(std::int64_t n, unsigned seed) {
  Floats x(static_cast<std::size_t>(n));
  std::uint32_t state = seed;
  for (float& v : x) {  // a triangle of whole numbers times 2^-16, of both signs: fast, and with some ties
    state = state * 1664525u + 1013904223u;
    v = static_cast<float>(static_cast<int>(state >> 16) - static_cast<int>(state & 0xffffu)) * 0x1p-16f;
  }
  return x;
}

std::uint32_t magnitude(float v) { return std::bit_cast<std::uint32_t>(v) & 0x7fffffffu; }

/// The k of greatest magnitude of a whole tensor, the lowest index first among equal ones, zeros elsewhere.
Floats kept(const Floats& x, std::int64_t k) {
  std::vector<std::uint64_t> key(x.size());
  for (std::size_t i = 0; i < x.size(); ++i)
    key[i] = std::uint64_t{magnitude(x[i])} << 32 | (0xffffffffu - static_cast<std::uint32_t>(i));
  std::vector<std::uint64_t> all = key;
  const auto last = all.begin() + (k - 1);
  std::nth_element(all.begin(), last, all.end(), std::greater<>());
  Floats y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = key[i] >= *last ? x[i] : 0.0f;
  return y;
}

bool same_bits(const Floats& a, const Floats& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Selects with one thread and with three; the bytes must be the same, and what arrives what `kept` keeps.
void selects(const kernel::WireKernels& w, const Floats& x, std::int64_t k) {
  const Extents e{static_cast<std::int64_t>(x.size())};
  INFO(w.name.view() << " on " << to_string(e));
  const Floats expected = kept(x, k);
  std::vector<std::byte> one(w.bytes(e)), three(one.size()), grad(w.grad_bytes(e));
  Floats y(x.size()), dx(x.size());
  w.encode(std::span<const float>(x), e, one, {});
  w.encode(std::span<const float>(x), e, three, Threads{3});
  CHECK((one == three));
  for (const int threads : {1, 3}) {
    std::fill(y.begin(), y.end(), 9.0f);
    w.decode(one, e, std::span<float>(y), Threads{threads});
    CHECK(same_bits(y, expected));
    w.encode_grad(std::span<const float>(x), e, one, grad, Threads{threads});
    w.decode_grad(grad, e, one, std::span<float>(dx), Threads{threads});
    CHECK(same_bits(dx, expected));  // the gradient is x itself here
  }
}

}  // namespace

TEST_CASE("a selection is exact on either side of every threshold of its search", "[wire][thresholds]") {
  // Gathered whole up to 8 pieces of 2048; a bracket from there; 128 runs up to 2^16 elements; pieces are shared among
  // threads from 16 on, runs from 2^19 on, gathered keys from 2^20 on; 4096 runs from 2^21 on.
  for (const std::int64_t edge : {2048, 16384, 32768, 65536})
    for (const std::int64_t n : {edge - 1, edge, edge + 1}) {
      selects(kernels_of(TopK<Ratio<1, 10>>), noise(n, 1), n / 10);
      selects(kernels_of(TopK<Ratio<1, 2>>), noise(n, 2), n / 2);
    }
  for (const std::int64_t edge : {1 << 19, 1 << 20, 1 << 21}) {
    selects(kernels_of(TopK<Ratio<1, 10>>), noise(edge + 1029, 3), (edge + 1029) / 10);
    selects(kernels_of(TopK<Ratio<1, 2>>), noise(edge - 1, 4), (edge - 1) / 2);
  }
}

TEST_CASE("a selection of half where just under half is not zero, and where just over half is",
          "[wire][thresholds]") {
  // The cut is zero, the lower end of the bracket: many keys equal it, and those in the bracket lie above it.
  for (const std::int64_t n : {16383, 16385, 40001, 70001})
    for (const int more : {-40, -1, 0, 1, 40}) {
      Floats x(static_cast<std::size_t>(n), 0.0f);
      const Floats values = noise(n, 5);
      std::int64_t positive = 0;
      for (std::size_t i = 0; i < x.size() && positive < n / 2 + more; ++i)
        if ((i * 7919) % 97 < 52) x[i] = std::abs(values[i]) + 0.25f, ++positive;
      INFO(n << ", half and " << more);
      selects(kernels_of(TopK<Ratio<1, 2>>), x, n / 2);
    }
  // All equal; two values, of which the greater is kept just in part, just whole, or with some of the lesser.
  for (const std::int64_t n : {16385, 70001}) {
    selects(kernels_of(TopK<Ratio<1, 10>>), Floats(static_cast<std::size_t>(n), -3.0f), n / 10);
    for (const std::int64_t large : {n / 10 - 7, n / 10, n / 10 + 7}) {
      Floats x(static_cast<std::size_t>(n), 1.0f);
      for (std::int64_t i = 0; i < large; ++i) x[static_cast<std::size_t>(i * 7919 % n)] = -2.0f;
      selects(kernels_of(TopK<Ratio<1, 10>>), x, n / 10);
    }
  }
}

TEST_CASE("low bits of an index block of every width, packed in bytes and in words", "[wire][thresholds]") {
  // One in 2^b keeps about b low bits; above 8 they are packed as words. Clusters make words of 64 ones and long gaps.
  const auto one_in = [](const kernel::WireKernels& w, std::int64_t ratio, std::int64_t n) {
    Floats x = noise(n, 6);
    selects(w, x, n / ratio);
    std::int64_t k = 0;
    for (std::size_t i = 0; i < x.size(); ++i)
      if (i % 40000 > 33000 && i % 40000 < 33410 && k < n / ratio)
        x[i] = 50 + static_cast<float>(i % 64), ++k;
    selects(w, x, n / ratio);
  };
  one_in(kernels_of(TopK<Ratio<1, 2>>), 2, 20011);
  one_in(kernels_of(TopK<Ratio<1, 10>>), 10, 50021);
  one_in(kernels_of(TopK<Ratio<1, 700>>), 700, 300007);
  one_in(kernel::wire_kernels(TopK<Ratio<1, 5000>>), 5000, 1000003);
}

TEST_CASE("a damaged index block of few survivors decodes within bounds", "[wire][thresholds]") {
  // Buckets are wider than a chunk here: low bits that do not ascend point before the chunk that is being written.
  const kernel::WireKernels& w = kernel::wire_kernels(TopK<Ratio<1, 5000>>);
  const Extents e{1000000};
  std::mt19937 random(1);
  Floats x = noise(e.size(), 7), y(x.size()), again(x.size());
  std::vector<std::byte> payload(w.bytes(e)), grad(w.grad_bytes(e)), grad2(grad.size());
  const std::size_t index = w.index_bytes(e);
  for (int round = 0; round < 6; ++round) {
    w.encode(std::span<const float>(x), e, payload, {});
    // Even rounds damage the low bits alone, which lie behind the high ones; odd ones any byte.
    for (std::size_t i = round % 2 ? 0 : index / 3; i < index; ++i)
      payload[i] = static_cast<std::byte>(random());
    const std::span<const std::byte> block(payload.data(), index);
    w.decode(payload, e, std::span<float>(y), {});
    w.decode(payload, e, std::span<float>(again), {});
    CHECK(same_bits(y, again));
    w.decode(payload, e, std::span<float>(again), Threads{3});
    w.encode_grad(std::span<const float>(x), e, block, grad, {});
    w.encode_grad(std::span<const float>(x), e, block, grad2, Threads{3});
    w.decode_grad(grad, e, block, std::span<float>(again), Threads{3});
    if (round % 2 == 0) continue;
    // No positions at all: what is sent is zeros, as many as there should be.
    std::fill(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(index), std::byte{0});
    w.encode_grad(std::span<const float>(x), e, block, grad, {});
    CHECK(std::all_of(grad.begin(), grad.end(), [](std::byte b) { return b == std::byte{0}; }));
  }
}

namespace {
/// Memory for n floats that begin `offset` floats after a multiple of 64 bytes, with a canary on both sides.
struct Placed {
  explicit Placed(std::int64_t n, std::size_t offset) : all(static_cast<std::size_t>(n) + 64, -77.0f) {
    const auto at = reinterpret_cast<std::uintptr_t>(all.data()) / sizeof(float) % 16;
    begin = (16 - at) % 16 + 16 + offset, size = static_cast<std::size_t>(n);
  }
  std::span<float> values() { return {all.data() + begin, size}; }
  bool whole() const {
    return std::all_of(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(begin),
                       [](float v) { return v == -77; }) &&
           std::all_of(all.begin() + static_cast<std::ptrdiff_t>(begin + size), all.end(),
                       [](float v) { return v == -77; });
  }
  Floats all;
  std::size_t begin, size;
};
}  // namespace

TEST_CASE("a large output is written past the caches, aligned or not, to its last element",
          "[wire][thresholds]") {
  const std::int64_t edge = 1 << 21;  // elements from which on vectors are streamed
  for (const std::int64_t n : {edge - 1, edge, edge + 13}) {
    const Floats x = noise(n, 8);
    std::vector<std::byte> payload(static_cast<std::size_t>(n) * 4);
    std::memcpy(payload.data(), x.data(), payload.size());
    for (const std::size_t offset : {0u, 1u, 4u, 8u})
      for (const int threads : {1, 3}) {
        Placed y(n, offset);
        INFO(n << " floats, " << offset << " off, " << threads << " threads");
        kernels_of(Raw).decode(payload, Extents{n}, y.values(), Threads{threads});
        CHECK(std::memcmp(y.values().data(), x.data(), payload.size()) == 0);
        CHECK(y.whole());
      }
  }
  // Windows: two rows more than 2^21 elements, one whole row less; 30 windows are no whole number of vectors.
  const kernel::WireKernels& pooled = kernels_of(Downsample<2>);
  for (const std::int64_t width : {2048, 60})
    for (const std::int64_t rows : {edge / width / 2 * 2 - 2, (edge + width - 1) / width / 2 * 2 + 2}) {
      const Extents e{1, 1, rows, width};
      const Floats x = noise(rows / 2 * (width / 2), 9);
      std::vector<std::byte> payload(x.size() * 4);
      std::memcpy(payload.data(), x.data(), payload.size());
      for (const std::size_t offset : {0u, 1u, 8u})
        for (const int threads : {1, 3})
          for (const bool gradient : {false, true}) {
            Placed y(e.size(), offset);
            INFO(to_string(e) << ", " << offset << " off, " << threads << " threads");
            if (gradient)
              pooled.decode_grad(payload, e, {}, y.values(), Threads{threads});
            else
              pooled.decode(payload, e, y.values(), Threads{threads});
            const float share = gradient ? 0.25f : 1.0f;
            std::size_t wrong = 0;
            for (std::int64_t r = 0; r < rows; ++r)
              for (std::int64_t c = 0; c < width; ++c)
                wrong += y.values()[static_cast<std::size_t>(r * width + c)] !=
                         x[static_cast<std::size_t>(r / 2 * (width / 2) + c / 2)] * share;
            CHECK(wrong == 0);
            CHECK(y.whole());
          }
    }
}

TEST_CASE("a panel that more than 128 runs arrive in is written whole", "[wire][thresholds]") {
  // Windows of 7 x 7 in rows of 1500: a row arrives in two runs, a thread's share of a panel in more than 128, and the
  // panels where one thread ends and the next begins are full for neither.
  const kernel::WireKernels& w = kernels_of(Downsample<7> | Half);
  constexpr std::int64_t channels = 40, pixels = 21 * 1500;
  const Extents e{1, channels, 21, 1500}, channels_last{channels * pixels, 1, channels * 1500, channels};
  const Floats x = noise(e.size(), 10);
  std::vector<std::byte> payload(w.bytes(e));
  w.encode(std::span<const float>(x), e, payload, {});
  Floats dense(x.size()), strided(x.size());
  w.decode(payload, e, std::span<float>(dense), {});
  for (const int threads : {1, 3}) {
    std::fill(strided.begin(), strided.end(), 9.0f);
    w.decode(payload, e, kernel::MutableTensorView(strided.data(), kernel::DType::f32, e, channels_last),
             Threads{threads});
    std::size_t wrong = 0;
    for (std::int64_t c = 0; c < channels; ++c)
      for (std::int64_t p = 0; p < pixels; ++p)
        wrong += strided[static_cast<std::size_t>(p * channels + c)] !=
                 dense[static_cast<std::size_t>(c * pixels + p)];
    CHECK(wrong == 0);
  }
}

TEST_CASE("extents of 1 with any stride, and a panel's size around its limits", "[wire][thresholds]") {
  const kernel::WireKernels& w = kernels_of(Quant<8>);
  const auto equal = [&](const Extents& e, const Extents& strides) {
    std::int64_t room = 1;
    for (int d = 0; d < e.rank(); ++d) room += (e[d] - 1) * strides[d];
    const Floats memory = noise(room, 11);
    Floats dense(static_cast<std::size_t>(e.size())), y(dense.size());
    const auto at = [&](std::int64_t i) {
      std::int64_t place = 0;
      for (int d = e.rank(); d-- > 0; i /= e[d]) place += i % e[d] * strides[d];
      return static_cast<std::size_t>(place);
    };
    for (std::size_t i = 0; i < dense.size(); ++i) dense[i] = memory[at(static_cast<std::int64_t>(i))];
    std::vector<std::byte> a(w.bytes(e)), b(a.size());
    w.encode(std::span<const float>(dense), e, a, {});
    w.decode(a, e, std::span<float>(y), {});
    for (const int threads : {1, 3}) {
      INFO(to_string(e) << " with strides " << to_string(strides) << ", " << threads << " threads");
      w.encode(kernel::TensorView(memory.data(), kernel::DType::f32, e, strides), e, b, Threads{threads});
      CHECK((a == b));
      Floats out(static_cast<std::size_t>(room), 9.0f);
      w.decode(a, e, kernel::MutableTensorView(out.data(), kernel::DType::f32, e, strides), Threads{threads});
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < y.size(); ++i) wrong += out[at(static_cast<std::int64_t>(i))] != y[i];
      CHECK(wrong == 0);
    }
  };
  equal({3, 1, 40}, {40, 7, 1});
  equal({3, 1, 40}, {100, 40, 1});
  equal({1, 30, 1, 40}, {7, 1, 1, 30});
  equal({4, 30, 1, 1}, {30, 1, 30, 30});
  // A panel takes 2^15 elements and at least 16 steps, but at most 2^17; fewer than 4 steps are none.
  for (const std::int64_t pixels : {2047, 2048, 2049, 8192, 8193, 32767, 32768, 32769})
    equal({1, 21, pixels}, {21 * pixels, 1, 21});
  for (const std::int64_t channels : {3, 4, 15, 16, 17})
    equal({2, channels, 700}, {channels * 700, 1, channels});
}

TEST_CASE("a group's least value is zero, of either sign, on every instruction set", "[wire]") {
  // Zeros of both signs, of which the first or the last decides where nobody makes -0 a 0.
  const std::int64_t n = 1000;
  for (const int first : {0, 1}) {
    Floats x(static_cast<std::size_t>(n)), plain(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const bool zero = i % 3 != 0 || i > 700;
      plain[i] = zero ? 0.0f : static_cast<float>(i % 31);
      x[i] = zero && (i / 2 + static_cast<std::size_t>(first)) % 2 ? -0.0f : plain[i];
    }
    const auto check = [&](const kernel::WireKernels& w) {
      const Extents e{n};
      std::vector<std::byte> expected(w.bytes(e)), got(expected.size());
      w.encode(std::span<const float>(plain), e, expected, {});
      const auto best = detail::best_isa();
      for (auto isa : {detail::Isa::baseline, detail::Isa::avx2, detail::Isa::avx512}) {
        if (isa > best) continue;
        detail::isa() = isa;
        for (const int threads : {1, 3}) {
          INFO(w.name.view() << ", instruction set " << static_cast<int>(isa));
          w.encode(std::span<const float>(x), e, got, Threads{threads});
          CHECK((got == expected));
          const Floats negative(x.size(), -0.0f), zero(x.size(), 0.0f);
          std::vector<std::byte> a(got.size()), b(got.size());
          w.encode(std::span<const float>(negative), e, a, {});
          w.encode(std::span<const float>(zero), e, b, {});
          CHECK((a == b));
        }
      }
      detail::isa() = best;
    };
    check(kernels_of(Quant<8>));
    check(kernels_of(Quant<16>));
    check(kernels_of(Quant<4, PerGroup<512>>));
    check(kernels_of(Quant<8, PerTensor>));
  }
}

TEST_CASE("a selection with a score of its own is exact in segments of every length", "[wire][thresholds]") {
  const Nearest1 w;
  const auto best = detail::best_isa();
  for (const int kind : {0, 1, 2})
    // Segments within a piece, gathered whole, sampled; whole ones, and a last one that is shorter.
    for (const Extents& e : {Extents{60, 100}, Extents{3, 2048}, Extents{2, 5000}, Extents{2, 40001},
                             Extents{29}, Extents{6001}, Extents{20003}, Extents{100003}}) {
      const Floats x = nearest1_values(e.size(), kind), expected = nearest1_kept(x, Nearest1::segment(e));
      for (auto isa : {detail::Isa::baseline, detail::Isa::avx2, detail::Isa::avx512}) {
        if (isa > best) continue;
        detail::isa() = isa;
        INFO(to_string(e) << ", values of kind " << kind << ", instruction set " << static_cast<int>(isa));
        std::vector<std::byte> payload(wire_bytes(w, e)), three(payload.size());
        Floats y(x.size());
        encode(w, std::span<const float>(x), e, payload);
        encode(w, std::span<const float>(x), e, three, Threads{3});
        CHECK((payload == three));
        decode(w, payload, e, std::span<float>(y), Threads{3});
        CHECK(same_bits(y, expected));
      }
      detail::isa() = best;
    }
}
